"""Whatever ends a run, it is told as what it was, and what was saved is enough to go on to the same weights."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import nbtrain
from nbtrain.errors import DataError, TrainingError, WorkerDied
from nbtrain.fit import fit
from nbtrain.run import Run, start, train_here

FAULT = """
import os, signal, sys

if "nbtrain.worker" in sys.orig_argv:
    from transformers import Trainer

    whole = Trainer.training_step

    def training_step(self, *arguments, **settings):
        if self.state.global_step == 5:
            {action}
        return whole(self, *arguments, **settings)

    Trainer.training_step = training_step
"""


def asked(**values):
    values = {
        "trainer": "sft",
        "lr": 1e-3,
        "batch_size": 4,
        "max_samples": 64,
        "max_steps": 12,
        "save_strategy": "steps",
        "save_steps": 3,
        "eval_strategy": "no",
    } | values
    return nbtrain.LLMTrainingParams(**values)


def weights(run):
    return hashlib.sha256((run.folder.model / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def fault(tmp_path, monkeypatch):
    """A worker in which `action` happens in place of the sixth step."""

    def plant(action):
        folder = tmp_path / "fault"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(FAULT.format(action=action))
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setenv("NBTRAIN_STANDBY", "0")

    return plant


def ended(run):
    """The error of a run that fails, after it is told in every place where a state is told."""
    with pytest.raises(nbtrain.NbtrainError) as caught:
        run.wait(120)
    assert run.status == "failed"
    assert Run(run.path).status == "failed"
    shown = "\n".join(caught.value._render_traceback_())
    assert len(shown.splitlines()) <= 24
    return caught.value


def last_event(run):
    return json.loads(run.folder.events.read_text().splitlines()[-1])["event"]


def test_an_exception_in_a_step_is_a_failure_with_its_cause(workdir, fault):
    fault('raise ValueError("the sixth step is cursed")')
    run = start(asked())
    error = ended(run)
    assert isinstance(error, TrainingError)
    assert "the sixth step is cursed" in str(error)
    assert last_event(run) == "failed"
    assert "the sixth step is cursed" in run.folder.error.read_text()


def test_a_process_that_leaves_with_zero_in_the_middle_has_failed(workdir, fault):
    fault("os._exit(0)")
    error = ended(start(asked()))
    assert isinstance(error, WorkerDied)
    assert "exit" in str(error)


def test_a_killed_process_has_failed_and_says_by_what(workdir, fault):
    fault("os.kill(os.getpid(), signal.SIGKILL)")
    error = ended(start(asked()))
    assert isinstance(error, WorkerDied)
    assert "SIGKILL" in str(error)


def test_a_missing_column_is_told_with_the_columns_there_are(workdir):
    (workdir / "rows.jsonl").write_text('{"headline": "a", "body": "b"}\n' * 20)
    error = ended(start(asked(data_path="rows.jsonl", text_column="bodies")))
    assert isinstance(error, DataError)
    assert "headline" in str(error)


def test_a_file_that_is_not_there_is_told_by_name(workdir):
    error = ended(start(asked(data_path="nowhere.jsonl")))
    assert isinstance(error, DataError)
    assert "nowhere.jsonl" in str(error)


def test_a_template_that_breaks_is_told_as_such(workdir):
    error = ended(start(asked(chat_template="{{ messages[99]['content'] }}")))
    assert isinstance(error, DataError)
    assert "template" in str(error)


def test_the_command_fails_with_the_run(workdir):
    done = subprocess.run(
        [sys.executable, "-m", "nbtrain", "llm", "--trainer", "sft", "--data-path", "nowhere.jsonl"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "nowhere.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_with_nothing_left_to_train_ends_as_it_was(workdir):
    # a kill may fall between the last checkpoint and the end; the last step is in the middle of an epoch
    run = train_here(asked(max_steps=4, save_steps=2, eval_strategy="steps", eval_steps=2, scheduler="constant"))
    before, curve = weights(run), run.record.series["loss"]
    shutil.rmtree(run.folder.model)
    assert fit(run.folder, resume=True) == "finished"
    again = Run(run.path)
    assert weights(again) == before
    assert again.record.series["loss"] == curve
    assert [row["step"] for row in again.record.evaluations] == [1, 2, 4]
    assert again.metrics == run.metrics


def test_a_run_killed_at_any_moment_and_resumed_ends_with_the_same_weights(workdir):
    straight = train_here(asked(project_name="straight"))
    assert straight.error is None
    for moment in (0.4, 1.1):
        run = start(asked(project_name=f"killed-{moment}"))
        while run.record.step < 2 and run.status in ("starting", "running"):
            time.sleep(0.02)
        time.sleep(moment)
        os.kill(run.worker.pid, signal.SIGKILL)
        run.worker.wait(10)
        if run.status != "finished":
            run.resume().wait(120)
        assert run.status == "finished"
        assert weights(run) == weights(straight)
        steps = [step for step, _ in run.record.series["loss"]]
        assert steps == [step for step, _ in straight.record.series["loss"]]
        assert run.record.series["loss"] == straight.record.series["loss"]
