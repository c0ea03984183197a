"""A run from its table to its folder: the library's own predictions, a report, a script that does the same again."""

import json
import subprocess
import sys

import numpy
import pytest

from nbtrain import trainers
from nbtrain.errors import DataError, ParamError
from nbtrain.trainers.tabular import judging

ROOM = trainers.load("tabular")
XGBOOST = {"model": "xgboost", "num_trials": 1, "model_params": {"n_estimators": 25, "max_depth": 3}}


def report(run):
    return json.loads(run.folder.report.read_text())


@pytest.fixture
def numbers(flowers):
    return flowers[["size", "noise", "target"]]


def test_a_plain_xgboost_script_gives_the_same_predictions(trained, numbers):
    from xgboost import XGBClassifier

    run = trained(numbers, **XGBOOST)
    rows = judging.judge(run.params, run.folder.data)
    settings = report(run)["members"][0]["settings"]
    columns = ["size", "noise"]
    y = (rows.train.frame["target"] == "tulip").astype(int)
    plain = XGBClassifier(**settings, random_state=42, n_jobs=1).fit(rows.train.frame[columns].to_numpy(), y)
    ours = run.model.of_rows(numbers)
    assert numpy.array_equal(ours, plain.predict_proba(numbers[columns].to_numpy()).astype("float64"))
    assert settings["n_estimators"] == 25


def test_a_plain_script_opens_the_model_and_agrees(trained, numbers):
    import xgboost

    run = trained(numbers, **XGBOOST)
    model = xgboost.XGBClassifier()
    model.load_model(run.folder.model / "xgboost.ubj")
    said = model.predict_proba(numbers[["size", "noise"]].to_numpy())[:, 1]
    assert [row["tulip"] for row in run.predict(numbers, probabilities=True)] == said.astype("float64").tolist()


def test_the_exported_script_trains_to_the_same_bytes(trained, flowers, tmp_path):
    run = trained(flowers, model="xgboost", num_trials=3, project_name="first")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, str(run.folder.script)], cwd=elsewhere, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    again = elsewhere / "first" / "model"
    assert {path.name for path in again.iterdir()} == {path.name for path in run.folder.model.iterdir()}
    for path in run.folder.model.iterdir():
        if path.suffix != ".skops":  # a zip, which holds the time of its making
            assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_auto_compares_families_and_ends_with_a_mixture_that_is_no_worse(trained, flowers, monkeypatch):
    compared = ("lightgbm", "extra_trees", "logistic_regression", "knn")
    monkeypatch.setattr("nbtrain.trainers.tabular.training.COMPARED", compared)
    run = trained(flowers, model="auto", num_trials=6)
    told = report(run)
    assert set(told["families"]) == set(compared)
    assert sum(told["ensemble"]["weights"].values()) == pytest.approx(1)
    assert told["ensemble"]["score"] <= min(told["families"].values())
    assert [member["family"] for member in told["members"]] == list(told["ensemble"]["weights"])
    mixed = sum(
        member.weight
        * run.model.of_member(member, run.model.preparers[member.family.view].transform(table(run, flowers)))
        for member in run.model.members
    )
    assert numpy.allclose(mixed, run.model.of_rows(flowers))


def table(run, frame):
    from nbtrain.trainers.tabular import kinds

    return kinds.typed(frame, run.model.columns)


def test_the_report_has_what_matters_and_where_it_errs(trained, flowers):
    run = trained(flowers, valid_fraction=0.25)
    told = report(run)
    assert list(told["importances"])[0] in ("size", "colour") and set(told["importances"]) == set(told["columns"])
    counts = numpy.array(told["targets"]["target"]["confusion"])
    assert counts.sum() == 30 and counts.trace() / 30 == pytest.approx(told["values"]["accuracy"])
    assert sum(row["rows"] for row in told["targets"]["target"]["calibration"]) == 30
    assert {path.name for path in run.folder.figures.iterdir()} == {
        "importances.png",
        "calibration.png",
        "confusion.png",
    }
    lines = [json.loads(line) for line in run.folder.predictions.read_text().splitlines()]
    right = sum(line["predicted"] == line["truth"] for line in lines)
    assert len(lines) == 30 and right / 30 == pytest.approx(told["values"]["accuracy"])
    assert run.samples[0]["prompt"].startswith("what the model goes by") and run.samples[1]["expected"] in (
        "rose",
        "tulip",
    )


def test_a_regression_has_residuals(trained, prices):
    run = trained(prices, task="regression", target_columns="price", model="ridge")
    left = report(run)["targets"]["price"]
    lines = [json.loads(line) for line in run.folder.predictions.read_text().splitlines()]
    errors = [float(line["truth"]) - line["predicted"] for line in lines]
    assert left["mean"] == pytest.approx(numpy.mean(errors)) and left["deviation"] == pytest.approx(numpy.std(errors))
    assert (run.folder.figures / "residuals.png").stat().st_size > 1_000
    assert run.metrics["r2"] > 0.99


def test_several_labels_are_predicted_at_once(trained, flowers):
    labels = flowers.assign(big=(flowers["size"] > 0).astype(int), red=(flowers["colour"] == "red").astype(int))
    run = trained(labels.drop(columns="target"), target_columns="big, red", num_trials=1)
    assert run.metrics["exact_match"] > 0.9 and run.metrics["f1_micro"] > 0.9
    assert run.predict({"size": 2.0, "colour": "red", "noise": 0, "grown": None}) == {"big": 1, "red": 1}


def test_rows_are_predicted_in_every_form(trained, flowers, tmp_path):
    run = trained(flowers, num_trials=1)
    path = tmp_path / "rows.csv"
    flowers.drop(columns="target").to_csv(path, index=False)
    from_frame = run.predict(flowers)
    assert run.predict(str(path)) == from_frame == run.predict(flowers.to_dict("records"))
    assert run.predict(flowers.iloc[0].to_dict()) == from_frame[0]
    chances = run.predict(flowers.head(2), probabilities=True)
    assert [sum(row.values()) for row in chances] == pytest.approx([1, 1])
    new = {"size": "unknown", "colour": "never seen", "noise": numpy.inf, "grown": "soon"}
    assert run.predict(new) in ("rose", "tulip")
    with pytest.raises(DataError, match="no column 'colour'"):
        run.predict([{"size": 1}])


def test_whole_numbers_come_back_as_classes_of_whole_numbers(trained, flowers):
    run = trained(flowers.assign(target=(flowers["target"] == "rose") * 1.0), num_trials=1)
    assert set(run.predict(flowers)) == {0, 1}


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"numeric_scaler": "minmax"}, "MinMaxScaler"),
        ({"numeric_scaler": "robust"}, "RobustScaler"),
        ({"numeric_scaler": "normal"}, "QuantileTransformer"),
        ({"numeric_scaler": "standard"}, "StandardScaler"),
        ({"numerical_imputer": "most_frequent"}, "strategy='most_frequent'"),
        ({"numerical_imputer": "zero"}, "fill_value=0.0"),
        ({"categorical_imputer": "most_frequent"}, "missing_values=''"),
    ],
)
def test_what_is_asked_of_gaps_and_scales_is_in_the_preparer(trained, flowers, change, seen):
    run = trained(flowers, num_trials=1, **change)
    text = "".join(str(step) for _, step, _ in run.model.preparers["filled"].transformers_)
    assert seen in text


def test_an_id_is_not_learnt_from_and_text_dates_and_odd_names_are(trained, flowers, tmp_path):
    odd = flowers.assign(
        id=range(7, 127), note=[f"a {word} of the garden {at}" for at, word in enumerate(flowers["colour"])]
    )
    odd = odd.rename(columns={"size": "size [cm] <1>"})
    run = trained(odd, model="xgboost", num_trials=1, model_params={"n_estimators": 5})
    kinds = report(run)["columns"]
    assert "id" not in kinds and kinds["note"] == "text" and kinds["grown"] == "date" and "size [cm] <1>" in kinds
    assert len(run.predict(odd)) == 120


def test_the_target_may_be_named_by_the_mapping_and_a_demo_is_built_in(trained, flowers):
    run = trained(flowers.rename(columns={"target": "kind"}), column_mapping={"target": "kind"}, num_trials=1)
    assert set(run.predict(flowers)) == {"rose", "tulip"}
    assert trained("demo", num_trials=1).metrics["accuracy"] > 0.9


def test_settings_of_one_model_and_auto_exclude_each_other(trained, flowers):
    with pytest.raises(ParamError, match="--model-params are settings of one model"):
        trained(flowers, model="auto", model_params={"max_depth": 3})


def test_the_check_says_what_would_be_tried(params, flowers, tmp_path):
    told = ROOM.check(params(data_path=flowers), tmp_path)
    assert told[-1] == "To be tried: decision_tree." and told[0].startswith("Rows: train 108, valid 12")


WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        gone = name.partition(".")[0] in ("torch", "transformers", "datasets", "trl", "peft", "accelerate")
        return None if gone else PathFinder.find_spec(name, path, target)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
import pandas
from nbtrain import TabularParams, train

sizes = [at % 7 / 2 for at in range(60)]
frame = pandas.DataFrame({"size": sizes, "row": range(60), "target": [size > 1.5 for size in sizes]})
run = train(TabularParams(data_path=frame, model="auto", num_trials=8, folds=2))
print(run.status, run.predict(frame.head(2)), "torch" in sys.modules)
"""


def test_the_room_needs_neither_torch_nor_transformers_nor_datasets(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.stdout.strip() == "finished ['False', 'False'] False", done.stderr
    assert "neural_net is not compared: torch is not installed" in done.stderr
