"""Whole sweeps in real processes: trials are runs, the best one is the result, causes are told, a stop is no loss."""

import json
import math

import pytest

from nbtrain import sweep, trainers
from nbtrain.errors import ParamError
from nbtrain.run import Run
from nbtrain.runs.folder import read_params


def test_a_sweep_is_a_run_whose_trials_are_runs(swept, trials):
    assert swept.status == "finished" and swept.record.step == 8
    assert [each["state"] for each in trials(swept)] == ["complete"] * 8
    assert [trial.status for trial in swept.trials] == ["finished"] * 8
    assert all(trial.folder.script.exists() and trial.folder.report.exists() for trial in swept.trials)
    first = read_params(swept.trials[0].folder)["params"]
    assert (first["use_sweep"], first["lr"], first["size"]) == (False, 0.1, 4)  # the values that stand there go first
    assert len({trial.params.lr for trial in swept.trials}) == 8


def test_its_best_trial_is_its_result(swept, trials):
    values = {each["trial"]: each["value"] for each in trials(swept)}
    number = min(values, key=values.get)
    ended = swept.record.end.values
    assert ended["trial"] == number and ended["loss"] == values[number] == swept.best[1]
    assert ended["complete"] == 8 and ended["failed"] == ended["pruned"] == 0
    assert swept.best_run.name == f"trial-{number}"
    best = swept.best_run.params
    assert values[number] == pytest.approx((math.log10(best.lr) + 2) ** 2 + best.size / 10 + 0.2)


def test_only_the_best_keeps_its_model_and_the_sweep_has_it_too(swept):
    assert [trial.name for trial in swept.trials if trial.folder.model.exists()] == [swept.best_run.name]
    best = swept.best_run.params
    assert (swept.folder.model / "weights").read_text() == f"{best.lr} {best.size}"


def test_more_models_are_kept_where_that_is_asked(searched, tmp_path):
    run = searched(tmp_path / "kept", sweep_n_trials=4, sweep_keep=2)
    values = {trial.trial: trial.value for trial in run.record.trials.values()}
    best = sorted(values, key=values.get)[:2]
    assert {trial.name for trial in run.trials if trial.folder.model.exists()} == {f"trial-{n}" for n in best}


def test_its_script_trains_the_best_trial_again(swept):
    text = (swept.path / "best.py").read_text()
    assert f"lr={swept.best_run.params.lr}" in text and "use_sweep" not in text
    assert compile(text, "best.py", "exec")
    assert "use_sweep=True" in swept.folder.script.read_text()


def test_its_card_tells_of_the_best_trial(swept):
    card = swept.folder.card.read_text()
    assert f"`{swept.best_run.params.lr}`" in card and "sweep_n_trials" not in card


def test_what_is_tried_depends_on_the_seed(searched, trials, swept, tmp_path):
    assert trials(searched(tmp_path / "again")) == trials(swept)
    assert trials(searched(tmp_path / "other", seed=1))[1:] != trials(swept)[1:]


def test_a_trial_that_fails_is_told_by_cause_and_the_sweep_goes_on(searched, tmp_path):
    ranges = {"way": ["good", "fails", "nan"]}
    run = searched(tmp_path / "some", sweep_params=ranges, sweep_n_trials=8)
    assert run.status == "finished"
    told = {trial.given["way"]: (trial.state, trial.cause) for trial in run.record.trials.values()}
    assert told == {
        "good": ("complete", ""),
        "fails": ("failed", "the numbers do not fit"),
        "nan": ("failed", "loss is not a number"),
    }
    assert run.best_run.params.way == "good"


def test_a_trial_that_hangs_is_ended_and_one_cause_for_all_is_the_error(searched, tmp_path):
    run = searched(tmp_path / "silent", way="hangs", sweep_silence=0.02, sweep_n_trials=2)
    assert run.status == "failed" and "none of the 2 trials" in run.error.what
    assert "2 of them: it hung: nothing was heard of it for 0.02 minutes" in run.error.why
    assert [trial.status for trial in run.trials] == ["stopped", "stopped"]


def test_values_that_do_not_go_together_fail_their_trial_only(searched, tmp_path):
    script = trainers.load("llm").Params(
        use_sweep=True, sweep_params={"quantization": ["int4"], "peft": [False]}, sweep_n_trials=1,
        project_name=str(tmp_path / "clash"),
    )  # fmt: skip
    folder = sweep.prepare(script)
    assert sweep.fit(folder) == "failed"
    assert "--quantization only works with --peft" in Run(folder).error.why


def test_a_trial_behind_the_others_is_pruned(searched, tmp_path):
    run = searched(
        tmp_path / "pruned", sweep_pruner="median", sweep_n_trials=12, sweep_workers=1, pause=0.05,
        sweep_params={"lr": {"type": "loguniform", "low": 1e-6, "high": 1e2}},
    )  # fmt: skip
    pruned = [trial for trial in run.record.trials.values() if trial.state == "pruned"]
    assert pruned and all("is behind that of the others" in trial.cause for trial in pruned)
    for trial in pruned:
        runs = next(each for each in run.trials if each.name == f"trial-{trial.trial}")
        assert runs.status == "stopped" and not runs.folder.model.exists()
    assert run.record.end.values["pruned"] == len(pruned)


def test_a_trial_that_is_through_is_never_pruned(searched, tmp_path):
    run = searched(tmp_path / "once", sweep_pruner="halving", sweep_n_trials=6, sweep_workers=1, evaluations=1)
    assert [trial.state for trial in run.record.trials.values()] == ["complete"] * 6


def test_a_metric_that_the_room_does_not_measure_ends_the_sweep_with_those_that_it_does(searched, tmp_path):
    run = searched(tmp_path / "wrong", sweep_metric="eval_acuracy")
    assert run.status == "failed" and isinstance(run.error, ParamError)
    assert "no acuracy. Did you mean accuracy?" in run.error.what and "accuracy, loss" in run.error.fix


def test_a_metric_of_which_more_is_better_is_maximised(searched, trials, tmp_path):
    run = searched(tmp_path / "high", sweep_metric="accuracy", sweep_n_trials=4)
    best = max(each["value"] for each in trials(run))
    assert run.record.end.values["accuracy"] == best == run.best[1]
    assert run.record.facts()["goal"] == "maximize accuracy"


def test_the_user_says_which_values_are_better(searched, trials, tmp_path):
    run = searched(tmp_path / "worst", sweep_direction="maximize", sweep_n_trials=3)
    assert run.record.end.values["loss"] == max(each["value"] for each in trials(run))


def test_a_room_without_a_loss_is_compared_by_its_own_metric(searched, trials, tmp_path):
    run = searched(tmp_path / "own", own="rmse", sweep_n_trials=3)
    assert run.record.end.values["rmse"] == min(each["value"] for each in trials(run)) == run.best[1]
    assert any("measures no loss: trials are compared by rmse" in notice.message for notice in run.record.notices)


def test_the_script_of_the_user_hears_of_each_trial(searched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (
        "import os; e = os.environ; open('told', 'a').write(e['NBTRAIN_TRIAL_STATE'] + e['NBTRAIN_TRIAL_VALUE'] + ' ')"  # noqa: E501
    )
    run = searched(tmp_path / "told-of", sweep_n_trials=2, post_trial_script=f'python -c "{code}"')
    assert sorted((tmp_path / "told").read_text().split()) == sorted(
        f"complete{trial.value!r}" for trial in run.record.trials.values()
    )
    run = searched(tmp_path / "no-script", sweep_n_trials=1, post_trial_script="no-such-program")
    assert run.status == "finished"
    assert any("--post-trial-script cannot be run" in notice.message for notice in run.record.notices)


def test_a_sweep_that_is_stopped_keeps_what_it_has_and_goes_on_later(asked, swept, trials, tmp_path):
    def stop_early(event):
        if event.kind == "tried" and event.state == "complete":
            Run(folder).stop()

    folder = sweep.prepare(asked(tmp_path / "halted"))
    assert sweep.fit(folder, sinks=(stop_early,)) == "stopped"
    run = Run(folder)
    assert run.best_run is not None and len(run.record.evaluations) < 8
    assert sweep.fit(folder, resume=True) == "finished"
    assert trials(Run(folder)) == trials(swept)
    assert not any("from the beginning" in notice.message for notice in Run(folder).record.notices)


def test_what_cannot_be_a_sweep_leaves_no_folder(asked, tmp_path):
    for given in ({"sweep_params": {"siez": [1]}}, {"sweep_storage": "postgresql://a:" + "b@c/d"}):
        with pytest.raises(ParamError, match="--sweep"):
            sweep.prepare(asked(tmp_path / "none", **given))
    with pytest.raises(ParamError, match="eval-strategy"):
        llm = trainers.load("llm").Params
        sweep.prepare(llm(use_sweep=True, eval_strategy="no", project_name=str(tmp_path / "none")))
    assert not (tmp_path / "none").exists()


def test_its_journal_has_every_trial_and_its_last_line_the_counts(swept):
    lines = [json.loads(line) for line in swept.folder.events.read_text().splitlines()]
    ended = [line["trial"] for line in lines if line["event"] == "tried" and line["state"] == "complete"]
    assert sorted(ended) == list(range(8))
    assert lines[-1]["event"] == "finished" and lines[-1]["values"]["complete"] == 8
