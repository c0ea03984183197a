"""wandb as the one who proposes: a stand-in of its four calls shows what it is asked and told."""

import json

import pytest

from nbtrain import sweep
from nbtrain.errors import MissingExtra, ParamError
from nbtrain.sweep import wandb
from nbtrain.sweep.space import Dial

STAND_IN = """
import json, os, random
from types import SimpleNamespace

def _note(**what):
    with open(os.environ["WANDB_TOLD"], "a") as file:
        file.write(json.dumps(what) + "\\n")

def sweep(settings, project=None, entity=None):
    print("Create sweep with ID: abc")
    _note(made=settings, project=project, entity=entity)
    return "abc"

def agent(id, function=None, project=None, entity=None, count=None):
    taken = sum('"taken"' in line for line in open(os.environ["WANDB_TOLD"]))
    _note(taken=id, count=count)
    if taken < int(os.environ["WANDB_TRIALS"]):
        globals()["_values"] = {"lr": 0.001 * (taken + 1), "size": taken + 2}
        function()

def init():
    return SimpleNamespace(config=_values, log=lambda values: _note(log=values, of=_values["size"]),
                           finish=lambda exit_code=0: _note(finished=exit_code, of=_values["size"]))
"""
RANGES = {"lr": {"type": "loguniform", "low": 1e-4, "high": 1e-1}, "size": {"low": 2, "high": 9}}


@pytest.fixture
def server(tmp_path, monkeypatch):
    import os

    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "wandb.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'packages'}{os.pathsep}{os.environ['PYTHONPATH']}")
    monkeypatch.setenv("WANDB_TOLD", str(tmp_path / "told"))
    monkeypatch.setenv("WANDB_TRIALS", "9")
    return lambda: [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]


def test_it_proposes_the_values_and_hears_the_course_and_the_end_of_each_trial(searched, server, tmp_path):
    run = searched(
        tmp_path / "sweep", sweep_backend="wandb", sweep_params=RANGES, sweep_n_trials=2, sweep_workers=1,
        wandb_sweep_project="p", wandb_sweep_entity="e",
    )  # fmt: skip
    assert run.status == "finished"
    assert [trial.given for trial in run.record.trials.values()] == [{"lr": 0.001, "size": 2}, {"lr": 0.002, "size": 3}]
    told = server()
    assert (told[0]["project"], told[0]["entity"]) == ("p", "e")
    assert told[0]["made"]["metric"] == {"name": "eval_loss", "goal": "minimize"}
    first = [line for line in told if line.get("of") == 2]
    assert [line["log"].get("evaluation") for line in first[:-1]] == [1, 2, 3, 4, 5, None]
    assert first[-2]["log"]["eval_loss"] == run.record.trials[0].value and first[-1]["finished"] == 0


def test_a_search_that_is_there_goes_on_and_a_failed_trial_is_told(searched, server, tmp_path):
    (tmp_path / "told").touch()
    run = searched(
        tmp_path / "sweep", sweep_backend="wandb", sweep_params=RANGES, sweep_n_trials=1, wandb_sweep_id="mine",
        way="fails",
    )  # fmt: skip
    assert run.status == "failed"
    told = server()
    assert told[0] == {"taken": "mine", "count": 1} and told[-1] == {"finished": 1, "of": 2}


def test_a_server_that_has_no_more_ends_the_sweep_with_what_it_has(searched, server, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_TRIALS", "1")
    run = searched(tmp_path / "sweep", sweep_backend="wandb", sweep_params=RANGES, sweep_n_trials=3, sweep_workers=1)
    assert run.status == "failed" and "wandb proposes nothing" in run.error.what
    assert [trial.state for trial in run.record.trials.values()] == ["complete"]


def test_without_the_package_it_is_refused_before_anything_starts(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="wandb, which is not installed"):
        sweep.prepare(asked(tmp_path / "none", sweep_backend="wandb"))
    assert not (tmp_path / "none").exists()
    with pytest.raises(ParamError, match="Did you mean wandb?"):
        asked(tmp_path / "none", sweep_backend="wandbb")


def test_ranges_are_said_in_its_words_and_its_values_are_fitted_into_them():
    dials = [
        Dial("lr", low=1e-5, high=1e-3, log=True), Dial("n", low=1, high=9, whole=True), Dial("s", values=(True, 1)),
        Dial("w", low=0.0, high=1.0, step=0.25), Dial("d", low=0.0, high=0.5),
    ]  # fmt: skip
    assert wandb.settings(dials, "loss", "minimize")["parameters"] == {
        "lr": {"min": 1e-5, "max": 1e-3, "distribution": "log_uniform_values"},
        "n": {"min": 1, "max": 9, "distribution": "int_uniform"},
        "s": {"values": [True, 1]},
        "w": {"min": 0.0, "max": 1.0, "distribution": "q_uniform", "q": 0.25},
        "d": {"min": 0.0, "max": 0.5, "distribution": "uniform"},
    }
    fitted = [wandb._fitting(dial, value) for dial, value in zip(dials, (0.01, 3.0, 1, 0.3, 0), strict=True)]
    assert fitted == [1e-3, 3, 1, 0.25, 0.0] and fitted[2] is not True and isinstance(fitted[1], int)
