"""A saved model measured by name: at the end of a run and by `run.evaluate`; what does not fit is refused first."""

import json

import pytest

from nbtrain import fit, measuring
from nbtrain.errors import MissingExtra, ParamError, RunError
from nbtrain.params import words
from nbtrain.run import Run
from nbtrain.trainers import load

ROWS = [{"a": n % 7, "b": n * 5 % 11, "target": ["low", "high"][n % 7 + n * 5 % 11 > 8]} for n in range(60)]
TABULAR = {"model": "tiny", "valid_fraction": 0.2}


def count(predictions, references):
    return {
        "rows": len(predictions),
        "right": sum(p["labels"] == r for p, r in zip(predictions, references, strict=True)),
    }


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture(scope="module")
def trained(rows, tmp_path_factory):
    """Trains a table, in a folder of its own."""

    def train(**values):
        place = tmp_path_factory.mktemp("run") / "run"
        params = load("tabular").Params(**{**TABULAR, "data_path": str(rows), "project_name": str(place), **values})
        folder = fit.prepare(params)
        fit.fit(folder)
        return Run(folder)

    return train


@pytest.fixture(scope="module")
def measured(trained):
    return trained(use_enhanced_eval=True, eval_metrics="accuracy, F1", eval_function=count, eval_save_predictions=True)


def test_the_values_stand_in_the_table_the_report_and_the_end(measured):
    ended, report = measured.record.end.values, json.loads(measured.folder.report.read_text())
    found = report["enhanced_evaluation"]["values"]
    assert measured.status == "finished" and found.keys() == {"accuracy", "f1", "rows", "right"}
    assert found["rows"] == 12 and found["right"] / 12 == pytest.approx(found["accuracy"]) == ended["accuracy"]
    assert measured.metrics["f1"] == found["f1"] and "logloss" in measured.metrics  # beside what the room measures


def test_each_row_is_kept_with_what_was_expected_and_said(measured):
    kept = [json.loads(line) for line in measured.folder.predictions.read_text().splitlines()]
    assert len(kept) == 12 and kept[0].keys() == {"input", "expected", "predicted"}
    right = sum(line["expected"] == line["predicted"]["labels"] for line in kept)
    assert right == measured.record.end.values["right"]
    assert kept[0]["input"].keys() >= {"a", "b"} and "target" not in kept[0]["input"]


def test_other_rows_are_measured_under_names_of_their_own(trained, rows):
    run = trained(use_enhanced_eval=True, eval_metrics=["accuracy"], eval_dataset_path=str(rows), eval_rows=7)
    assert 0 <= run.record.end.values["test_accuracy"] <= 1
    assert run.metrics["test_accuracy"] == run.record.end.values["test_accuracy"] != run.metrics.get("accuracy")


def test_a_run_is_measured_later_by_names_and_functions(measured, rows):
    found = measured.evaluate(metrics="accuracy,mcc")
    assert found.keys() == {"accuracy", "mcc"} and found["accuracy"] == measured.metrics["accuracy"]
    everything = measured.evaluate(str(rows), metrics=["accuracy", count, lambda said, right: 0.5])
    assert everything["rows"] == 60 and everything["right"] / 60 == pytest.approx(everything["accuracy"])
    assert everything["lambda"] == 0.5
    with pytest.raises(ParamError, match="bleu is for a model that writes texts .*; one of tabular tells classes"):
        measured.evaluate(metrics=["bleu"])
    with pytest.raises(RunError, match="the metric bad gives 'much'"):
        measured.evaluate(metrics=[bad])


def bad(predictions, references):
    return "much"


def test_a_function_may_be_named_by_its_place(measured, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def half(predictions, references):\n    return len(predictions) / 2\n")
    assert measured.evaluate(metrics=[f"{tmp_path}/mine.py:half"]) == {"half": 6.0}


@pytest.mark.parametrize(
    ("room", "values", "told"),
    [
        ("tabular", {"eval_metrics": "rouge"}, "rouge is for a model that writes texts"),
        ("tabular", {"eval_metrics": "acuracy"}, "Did you mean accuracy?"),
        ("tabular", {"eval_benchmark": "arc_easy"}, "measures language models"),
        ("llm", {"trainer": "sft", "eval_metrics": '["bleu", "rmse"]'}, "rmse is for a model that gives numbers"),
        ("llm", {"trainer": "reward", "eval_metrics": "bleu"}, "one of llm tells the better of two"),
        ("sentence-transformers", {"eval_metrics": "recall@1"}, "one of sentence-transformers tells how alike texts"),
        ("llm", {"trainer": "dpo", "eval_metrics": "ppl"}, "perplexity is for a model that writes texts; one of llm"),
        ("generic", {"eval_metrics": "accuracy"}, "generic measures its model while it trains"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(room, values, told):
    with pytest.raises(ParamError) as caught:
        measuring.check(load(room).Params(use_enhanced_eval=True, **values))
    assert told in str(caught.value)


def test_words_of_it_without_the_switch_are_told_to_have_no_effect():
    params = load("tabular").Params(eval_metrics="rouge")
    assert params.notices == ["eval_metrics only applies with --use-enhanced-eval, will be ignored"]
    measuring.check(params)


@pytest.mark.parametrize("line", ["--eval-metrics bleu,rouge", """--eval-metrics '["bleu", "rouge"]'"""])
def test_metrics_are_read_from_a_line_in_both_forms_and_written_back(line):
    room = load("llm").Params
    params = room.read(words.read_line(words.split(f"--use-enhanced-eval {line}", {}).tokens, room))[0]
    assert params.eval_metrics == ["bleu", "rouge"]
    assert room.read(words.read_line(words.split(words.write_line(params), {}).tokens, room))[0] == params


def test_metrics_in_text_that_is_no_list_are_refused():
    with pytest.raises(ParamError, match="--eval-metrics takes JSON"):
        load("llm").Params(use_enhanced_eval=True, eval_metrics='["bleu"')


def test_what_goes_wrong_at_the_end_is_told_and_the_run_is_what_it_is(trained, tmp_path):
    run = trained(use_enhanced_eval=True, eval_dataset_path=str(tmp_path / "missing.csv"))
    assert run.status == "finished" and run.folder.model.exists()
    told = [notice.message for notice in run.record.notices if "could not be measured" in notice.message]
    assert len(told) == 1 and "missing.csv" in told[0]


def test_a_benchmark_without_the_harness_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(measuring.benchmark.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="lm-evaluation-harness") as caught:
        measuring.check(load("llm").Params(use_enhanced_eval=True, eval_benchmark="arc_easy"))
    assert "nbtrain[benchmarks]" in caught.value.fix
