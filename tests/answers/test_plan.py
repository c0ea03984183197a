"""What a run would take: from measured steps to bytes, seconds and what would make it fit."""

import math

import pytest

import nbtrain
from nbtrain import trainers
from nbtrain.answers import plan as plans
from nbtrain.answers.rehearsed import rehearse
from nbtrain.errors import RunError, TrainingError
from nbtrain.runs import launch

MB = 10**6
FOUND = {
    "steps": 100, "step_seconds": 0.5, "rows": 400, "valid_rows": 40, "evaluation_seconds": 2.0, "sample_seconds": 1.0,
    "parameters": 100 * MB, "gradients": 100 * MB, "optimizer": 200 * MB, "trainable": 25 * MB,
    "device": "cpu", "loaded": 600 * MB, "trained": 1500 * MB, "peak": 1550 * MB, "room": 8000 * MB,
    "launched": 1000.0, "ready": 1005.0, "bytes_a_second": 100 * MB,
}  # fmt: skip


@pytest.fixture
def planned(monkeypatch):
    """A plan from what three steps are said to have taken."""

    def make(found=None, **asked):
        monkeypatch.setattr(plans, "rehearse", lambda params, what: {**FOUND, **(found or {})})
        monkeypatch.setattr(plans.doctor, "memory", lambda: (16_000 * MB, 8000 * MB))
        return plans.plan(nbtrain.LLMTrainingParams(**{"trainer": "sft", "batch_size": 8, **asked}))

    return make


def test_memory_is_told_by_what_holds_it_and_adds_up(planned):
    held = planned().held
    assert held["libraries and rows"] == 500 * MB
    assert held["activations"] == (1500 - 500 - 100 - 100 - 200) * MB
    assert held["evaluation and samples"] == 50 * MB
    assert held["opening the saved model"] == 100 * MB
    assert planned().peak == 1650 * MB


def test_time_is_steps_evaluations_samples_and_what_is_written(planned):
    seconds = planned(epochs=2).seconds
    assert (seconds["before the first step"], seconds["steps"]) == (5.0, 50.0)
    assert seconds["evaluations"] == (2 + 1) * 2.0, "each epoch, and after the first step"
    assert seconds["samples"] == 3.0, "at the start, and at each evaluation but that of the first step"
    assert seconds["saving"] == pytest.approx(2 * (100 + 2 * 300) / 100), "written and read again"


def test_the_disk_holds_the_model_and_one_checkpoint_more_than_is_kept(planned):
    assert planned(epochs=3).disk == {"model": 100 * MB, "checkpoints, 2 at most": 600 * MB}
    assert planned(save_strategy="no").disk == {"model": 100 * MB}
    adapter = planned({"optimizer": 8 * MB, "trainable": MB}, peft=True, merge_adapter=False)
    assert adapter.disk["model"] == 4 * MB


def test_what_fits_offers_no_changes_and_what_does_not_offers_the_gentlest_first(planned):
    assert planned().fits and not planned().changes
    tight = planned({"trained": 12_600 * MB, "peak": 12_600 * MB})
    assert not tight.fits and "does not fit" in tight.verdict()
    first, *others = tight.changes
    assert first.flags == "--batch-size 4 --gradient-accumulation 2"
    assert first.peak == pytest.approx(tight.peak - tight.held["activations"] / 2)
    assert first.peak <= 0.9 * tight.free
    assert [each.flags for each in others] == ["--peft", "--block-size 512"]


def test_a_gpu_offers_what_only_a_gpu_has(planned):
    changes = planned({"device": "cuda", "trained": 9000 * MB, "peak": 9000 * MB, "loaded": 100 * MB}).changes
    flags = [each.flags for each in changes]
    assert "--optimizer adamw_bnb_8bit" in flags and "--peft --quantization int4" in flags


def test_steps_that_do_not_fit_are_reckoned_from_those_of_one_row(monkeypatch):
    asked = []

    def rehearse(params, what):
        asked.append(params.batch_size)
        if params.batch_size > 1:
            raise TrainingError("out of memory in this process: the peak was 8.0 GB")
        return {**FOUND, "trained": 1000 * MB, "peak": 1000 * MB, "steps": 400, "step_seconds": 0.1}

    monkeypatch.setattr(plans, "rehearse", rehearse)
    found = plans.plan(nbtrain.LLMTrainingParams(trainer="sft", batch_size=8))
    assert asked == [8, 1]
    assert found.held["activations"] == 8 * 100 * MB, "one row took 100 MB"
    assert (found.steps, found.seconds["steps"]) == (50, pytest.approx(40.0))
    assert "out of memory" in found.notes[-1]


def test_what_is_wrong_with_the_run_is_the_answer(monkeypatch, workdir):
    def rehearse(params, what):
        raise TrainingError("something else")

    monkeypatch.setattr(plans, "rehearse", rehearse)
    with pytest.raises(TrainingError, match="something else"):
        plans.plan(nbtrain.LLMTrainingParams(trainer="sft"))


@pytest.mark.parametrize(("room", "why"), [("tabular", "--time-limit"), ("generic", "script of your own")])
def test_rooms_without_steps_refuse_with_a_reason(room, why, workdir):
    with pytest.raises(RunError, match="cannot look into") as caught:
        nbtrain.plan(trainers.load(room).Params())
    assert why in caught.value.why


@pytest.mark.parametrize(("count", "words"), [(640, "1 kB"), (12.4e9, "12.4 GB"), (640e6, "640 MB")])
def test_bytes_are_told_as_people_say_them(count, words):
    assert plans.size(count) == words


def test_an_interrupt_ends_the_process_and_leaves_nothing_behind(workdir, monkeypatch, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    workers, launched = [], launch.launch
    monkeypatch.setattr(
        launch, "launch", lambda *given, **named: workers.append(launched(*given, **named)) or workers[0]
    )

    def interrupted(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse(nbtrain.LLMTrainingParams(trainer="sft", max_samples=40), {"kind": "plan"}, news=interrupted)
    assert workers[0].poll() is not None
    assert [*workdir.iterdir(), *temporary.iterdir()] == []


def test_a_plan_of_a_worker_counts_the_weights_and_leaves_nothing_behind(workdir):
    asked = nbtrain.LLMTrainingParams(trainer="sft", max_samples=40, batch_size=4, sample_max_new_tokens=2)
    found = nbtrain.plan(asked)
    assert found.steps == math.ceil(36 / 4)
    assert found.held["gradients"] == pytest.approx(found.held["parameters"], rel=0.01)
    assert found.held["optimizer"] == pytest.approx(2 * found.held["gradients"], rel=0.01)
    assert found.fits and found.seconds["steps"] > 0
    assert list(workdir.iterdir()) == []
