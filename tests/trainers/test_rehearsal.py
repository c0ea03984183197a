"""A run that is only looked at: three steps of it, or a rate that rises; nothing of it is kept."""

import json

import pytest
import torch

from nbtrain import fit, trainers
from nbtrain.errors import NbtrainError, from_record
from nbtrain.events import Failed, Logged
from nbtrain.run import Run
from nbtrain.runs.journal import story
from nbtrain.trainers import _probe, _rehearsal

SMALL = {"max_samples": 24, "batch_size": 4}


@pytest.fixture
def rehearse(workdir):
    """What a rehearsal found, in this process."""

    def done(asked, room="llm", **given):
        folder = fit.prepare(trainers.load(room).Params(**{**SMALL, **given}))
        fit.fit(folder, train=_rehearsal.instead(asked))
        end = story(folder.events)[-1]
        if isinstance(end, Failed):
            raise from_record(dict(end.error))
        return Run(folder), json.loads(folder.report.read_text())[_rehearsal.REPORTED]

    return done


def test_three_steps_tell_of_the_whole_run(rehearse):
    run, found = rehearse({"kind": "plan"}, trainer="sft", sample_max_new_tokens=2, epochs=3)
    assert (found["rows"], found["valid_rows"], found["steps"]) == (22, 2, 18)
    assert found["gradients"] == 4 * found["trainable"] and found["device"] == "cpu"
    assert found["optimizer"] == pytest.approx(2 * found["gradients"], rel=0.01), "two moments a weight"
    assert found["loaded"] <= found["trained"] <= found["peak"]
    assert min(found[name] for name in ("step_seconds", "evaluation_seconds", "sample_seconds")) > 0
    assert not run.folder.model.exists() and not list(run.folder.checkpoints.glob("*"))
    assert not any(isinstance(event, Logged) for event in story(run.folder.events))


def test_no_memory_is_told_as_such_wherever_it_ends(rehearse, monkeypatch):
    def no_room(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("nbtrain.models.load.causal_model", no_room)
    with pytest.raises(NbtrainError, match="^out of memory in this process"):
        rehearse({"kind": "plan"}, trainer="sft")


def test_an_adapter_has_gradients_of_its_own_only(rehearse):
    _, found = rehearse({"kind": "plan"}, trainer="sft", peft=True, sample_max_new_tokens=2)
    assert found["gradients"] < 0.3 * found["parameters"]


@pytest.mark.parametrize(
    ("room", "given"),
    [
        ("text-classification", {}),
        ("image-classification", {}),
        ("seq2seq", {}),
        ("llm", {"trainer": "dpo"}),
        ("llm", {"trainer": "sft", "gradient_accumulation": 3}),
        ("llm", {"trainer": "ppo", "rl_reward_fn": "length", "rl_max_new_tokens": 4}),
        ("llm", {"trainer": "grpo", "rl_reward_fn": "length", "rl_max_new_tokens": 4, "rl_num_generations": 2}),
    ],
    ids=str,
)
def test_rooms_and_methods_are_looked_into_alike(rehearse, room, given):
    _, found = rehearse({"kind": "plan"}, room, **given)
    assert found["steps"] >= 1 and found["step_seconds"] > 0
    assert found["optimizer"] > found["gradients"] > 0


def test_a_rate_rises_by_one_factor_and_its_losses_are_told(rehearse):
    asked = {"kind": "lr-find", "lowest": 1e-5, "highest": 1e-1, "steps": 9}
    run, found = rehearse(asked, trainer="sft")
    assert found["rates"] == pytest.approx([1e-5 * 10 ** (step / 2) for step in range(9)])
    logged = [event.values for event in story(run.folder.events) if isinstance(event, Logged)]
    assert [each["loss"] for each in logged] == found["losses"]
    assert [each["learning_rate"] for each in logged] == found["rates"]
    assert not run.folder.model.exists()


def test_a_test_ends_where_the_loss_bursts(rehearse):
    torch.manual_seed(0)
    asked = {"kind": "lr-find", "lowest": 1e-3, "highest": 1e4, "steps": 60}
    _, found = rehearse(asked, trainer="sft")
    assert len(found["rates"]) < 60
    assert found["losses"][-1] > 4.5


def test_a_loss_is_the_loss_of_the_run_at_its_first_step(rehearse, workdir):
    _, found = rehearse({"kind": "lr-find", "lowest": 1e-9, "highest": 1e-8, "steps": 2}, trainer="sft")
    folder = fit.prepare(trainers.load("llm").Params(trainer="sft", max_steps=1, **SMALL))
    fit.fit(folder)
    first = next(event for event in story(folder.events) if isinstance(event, Logged))
    assert found["losses"][0] == pytest.approx(first.values["loss"], rel=1e-4)


# how steps are chosen and reckoned


def test_the_largest_batch_is_the_second_and_the_others_are_usual():
    sizes = _probe._Sizes([[0, 1], [2, 3], [4, 5]], [10, 10, 50, 2, 12, 14], flat=True)
    assert [sizes.of(batch) for batch in sizes.batches] == [20, 52, 26]
    assert sizes.chosen(1) == [[4, 5], [2, 3], [4, 5]]
    assert sizes.chosen(2) == [[4, 5], [4, 5], [2, 3], [4, 5], [4, 5], [4, 5]]


def test_a_padded_batch_is_as_large_as_its_longest_row_times_its_rows():
    sizes = _probe._Sizes([[0, 1], [2]], [10, 4, 30], flat=False)
    assert [sizes.of(batch) for batch in sizes.batches] == [20, 30]


@pytest.mark.parametrize(
    ("size", "sizes", "seconds", "expected"),
    [
        (15, [20, 10], [2.0, 1.0], 1.5),
        (15, [20, 10], [1.0, 1.0], 1.0),
        (15, [20, 10], [0.5, 1.0], 1.0),  # the larger was quicker: by chance
        (5, [20, 10], [9.0, 1.0], 0.5),  # so steep that nothing would be left at size 0: in proportion
        (7, [7, 7], [3.0, 2.0], 2.0),
    ],
)
def test_seconds_lie_on_the_line_through_two_steps(size, sizes, seconds, expected):
    assert _probe._at(size, sizes, seconds) == pytest.approx(expected)
