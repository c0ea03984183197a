"""Trials: within number and time, live, the best so far at a stop, and gone on with as if nothing had been."""

import json

import pytest

from nbtrain import fit, trainers
from nbtrain.events import Logged
from nbtrain.run import Run
from nbtrain.runs import checkpoints, control
from nbtrain.runs.journal import story
from nbtrain.trainers.tabular import search

ROOM = trainers.load("tabular")


def scores(run):
    return [(trial["family"], trial["score"], trial["settings"]) for trial in report(run)["trials"]]


def report(run):
    return json.loads(run.folder.report.read_text())


def files(run):
    """What was saved, to the byte; but for skops, whose zip holds the time of its making."""
    return {path.name: path.read_bytes() for path in run.folder.model.iterdir() if path.suffix != ".skops"}


@pytest.fixture
def cut(tmp_path, params, flowers):
    """A run of `changes` that is interrupted, as by a crash, after `trials`; then taken up again."""

    def go(trials, crash=True, **changes):
        folder = fit.prepare(params(data_path=flowers, **changes), root=tmp_path / "cut")

        class Killed(BaseException):
            pass

        def kill(event):
            if isinstance(event, Logged) and event.step == trials:
                if crash:
                    raise Killed
                control.ask(folder, "stop")

        if crash:
            emit = search.ActiveRun.emit

            def emitted(self, event):
                emit(self, event)
                kill(event)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(search.ActiveRun, "emit", emitted)
                fit.fit(folder)
        else:
            fit.fit(folder, sinks=(kill,))
        return Run(folder)

    return go


@pytest.mark.parametrize("model", ["xgboost", "auto"])
def test_a_run_that_was_killed_goes_on_to_the_same_trials_and_the_same_model(trained, cut, flowers, model, monkeypatch):
    monkeypatch.setattr("nbtrain.trainers.tabular.training.COMPARED", ("xgboost", "logistic_regression", "knn"))
    changes = {"model": model, "num_trials": 7}
    whole = trained(flowers, **changes)
    half = cut(4, **changes)
    assert half.status == "failed" and len(list(half.folder.checkpoints.glob("checkpoint-*"))) == 1
    assert checkpoints.newest(half.folder).name == "checkpoint-4"
    assert fit.fit(half.folder, resume=True) == "finished"
    assert scores(half) == scores(whole)
    assert files(half) == files(whole)
    assert half.predict(flowers, probabilities=True) == whole.predict(flowers, probabilities=True)
    assert half.record.step == 7 and len(half.record.resumed) == 1


def test_a_stop_ends_with_the_best_so_far(cut):
    run = cut(3, crash=False, num_trials=50)
    assert run.status == "stopped" and run.record.step == 3
    assert run.metrics["logloss"] == report(run)["values"]["logloss"]
    assert len(run.predict([{"size": 1.0, "colour": "red", "noise": 0.0, "grown": "2024-01-05"}])) == 1


def test_a_stop_before_the_first_trial_leaves_a_model_of_the_first_settings(tmp_path, params, flowers):
    folder = fit.prepare(params(data_path=flowers, model="xgboost"), root=tmp_path)
    fit.fit(folder, sinks=(lambda event: control.ask(folder, "stop") if event.kind == "started" else None,))
    run = Run(folder)
    assert run.status == "stopped" and run.record.step == 0 and run.metrics["accuracy"] > 0.5


def test_the_trials_are_live_events_with_the_best_so_far(trained, flowers):
    run = trained(flowers, num_trials=6)
    logged = [event for event in story(run.folder.events) if event.kind == "logged"]
    assert [event.step for event in logged] == [1, 2, 3, 4, 5, 6]
    values = [event.values.get("cv_logloss", float("inf")) for event in logged]
    assert [event.values["best"] for event in logged] == [min(values[: at + 1]) for at in range(6)]
    started = run.record.started
    assert (started.metric, started.curve, started.total_steps) == ("logloss", "cv_logloss", 6)


def test_the_best_trial_is_the_one_that_is_fitted(trained, flowers):
    run = trained(flowers, num_trials=6)
    best = min(
        (trial for trial in report(run)["trials"] if trial["state"] == "complete"), key=lambda each: each["score"]
    )
    recipe = json.loads((run.folder.model / "recipe.json").read_text())
    assert recipe["members"][0]["settings"] == best["settings"]
    depth = recipe["members"][0]["settings"]["max_depth"]
    assert run.model.members[0].models[0].model.get_params()["max_depth"] == depth


def test_worse_trials_are_cut_short_fold_by_fold(trained, flowers):
    run = trained(flowers, num_trials=14, folds=4)
    states = [trial["state"] for trial in report(run)["trials"]]
    assert set(states) == {"complete", "pruned"} and states[:3] == ["complete"] * 3


def test_the_time_ends_the_search_but_not_before_one_trial(trained, flowers, monkeypatch):
    monkeypatch.setattr(search.Search, "_left", lambda self: -1.0)
    run = trained(flowers, num_trials=20, time_limit=5)
    assert run.status == "finished" and run.record.step == 1
    assert report(run)["search"] == "the time is up (--time-limit 5)"


def test_max_steps_bounds_the_trials(trained, flowers):
    assert trained(flowers, num_trials=5, max_steps=3).record.step == 3
    assert trained(flowers, model="tiny", num_trials=5).record.step == 1


def test_a_metric_of_the_users_choice_decides(trained, flowers):
    run = trained(flowers, metric="auc", num_trials=5)
    values = [trial["score"] for trial in report(run)["trials"] if trial["score"] is not None]
    assert report(run)["ensemble"]["score"] == max(values) and run.record.started.metric == "auc"


def test_a_family_that_fails_does_not_end_a_comparison(trained, flowers, monkeypatch):
    from nbtrain.trainers.tabular import boosters

    def broken(*_):
        raise ValueError("no such thing")

    monkeypatch.setattr("nbtrain.trainers.tabular.training.COMPARED", ("lightgbm", "knn", "logistic_regression"))
    library = search.estimators.LIBRARIES["lightgbm"]._replace(fit=broken)
    monkeypatch.setitem(search.estimators.LIBRARIES, "lightgbm", library)
    run = trained(flowers, model="auto", num_trials=4)
    assert [trial["state"] for trial in report(run)["trials"]][0] == "fail"
    assert any("lightgbm is left out: ValueError: no such thing" in each.message for each in run.record.notices)
    assert boosters.PATIENCE == 50
