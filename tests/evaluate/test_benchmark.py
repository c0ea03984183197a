"""The lm-evaluation-harness: tasks by name, a task of the user's own; by a stand-in, and for real where it is."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import nbtrain
from nbtrain.errors import MissingExtra, ParamError
from nbtrain.evaluate import benchmark

TINY = Path(nbtrain.__file__).parent / "models" / "tiny" / "llm"
TASK = """\
task: capitals
dataset_path: json
dataset_kwargs: {{data_files: {rows}}}
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture
def harness(monkeypatch):
    """A stand-in that knows two tasks, and keeps what it was asked."""
    asked = []

    def evaluate(**given):
        asked.append(given)
        return {"results": {"arc": {"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.1, "sample_len": 7}}}

    tasks = ModuleType("lm_eval.tasks")
    tasks.TaskManager = lambda include_path: SimpleNamespace(all_tasks=["arc", "hellaswag"], place=include_path)
    package = ModuleType("lm_eval")
    package.simple_evaluate, package.tasks = evaluate, tasks
    monkeypatch.setitem(sys.modules, "lm_eval", package)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", tasks)
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: True)
    return asked


def test_its_values_are_named_by_task_and_metric(harness, tmp_path):
    found = benchmark.measured(f"{tmp_path}:arc, hellaswag", TINY, batch_size=3, device="cpu")
    assert found == {"arc_acc": 0.5}
    (asked,) = harness
    assert (asked["tasks"], asked["batch_size"], asked["device"]) == (["arc", "hellaswag"], 3, "cpu")
    assert asked["model_args"] == {"pretrained": str(TINY)} and asked["task_manager"].place == str(tmp_path)


@pytest.mark.parametrize(
    ("asked", "room", "told"),
    [
        ("hellaswg", "llm", "no task 'hellaswg'. Did you mean hellaswag?"),
        ("/nowhere:arc", "llm", "no folder /nowhere"),
        ("arc", "tabular", "measures language models; a model of tabular is none"),
    ],
)
def test_what_it_cannot_measure_is_refused(harness, asked, room, told):
    with pytest.raises(ParamError) as caught:
        benchmark.check(asked, room)
    assert told in caught.value.what
    benchmark.check("arc,hellaswag", "llm")


def test_without_it_the_user_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="not installed"):
        benchmark.check("arc", "llm")


def test_a_task_of_the_users_own_is_measured_for_real(tmp_path):
    pytest.importorskip("lm_eval")
    rows = [{"question": f"{land}'s capital is", "choices": [" Paris", " Rome"], "answer": n} for n, land in
            enumerate(("France", "Italy"))]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "capitals.yaml").write_text(TASK.format(rows=tmp_path / "rows.jsonl"))
    found = benchmark.measured(f"{tmp_path}:capitals", TINY, batch_size=2, device="cpu")
    assert found.keys() == {"capitals_acc"} and found["capitals_acc"] in (0.0, 0.5, 1.0)
