import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrain.events import (
    Changed,
    Evaluated,
    Failed,
    Finished,
    Logged,
    Resumed,
    Sampled,
    Saved,
    Started,
    Stopped,
    Warned,
)
from nbtrain.runs.record import Record, lower_is_better


def point(step, loss, **others):
    return Logged(time=float(step), step=step, epoch=step / 10, values={"loss": loss, **others})


STORY = [
    Started(time=0.0, room="llm", method="sft", total_steps=30, facts={"device": "cpu"}),
    Sampled(time=0.1, step=0, samples=({"prompt": "p", "output": "?"},), label="base"),
    point(10, 3.0, lr=0.1),
    Evaluated(time=11.0, step=10, values={"loss": 2.9, "accuracy": 0.5}),
    Saved(time=12.0, step=10, path="checkpoints/checkpoint-10"),
    Warned(time=13.0, message="slow"),
    Changed(time=14.0, step=15, name="lr", old=0.1, new=0.01),
    point(20, 2.0, lr=0.01),
    Evaluated(time=21.0, step=20, values={"loss": 2.1, "accuracy": 0.4}),
]


def test_a_run_of_which_nothing_is_known_is_starting():
    record = Record()
    assert (record.state, record.step, record.metrics, record.best(), record.total_steps) == (
        "starting",
        0,
        {},
        None,
        None,
    )
    assert record.facts() == {}


def test_the_record_holds_what_the_events_say():
    record = Record.of(STORY)
    assert (record.state, record.step, record.epoch, record.total_steps) == ("running", 20, 2.0, 30)
    assert (record.first_time, record.last_time) == (0.0, 21.0)
    assert record.series == {"loss": [(10, 3.0), (20, 2.0)], "lr": [(10, 0.1), (20, 0.01)]}
    assert record.metrics == {"loss": 2.1, "accuracy": 0.4}
    assert record.facts() == {"device": "cpu"}
    assert [len(each) for each in (record.samples, record.saved, record.notices, record.changes)] == [1, 1, 1, 1]


def test_the_best_evaluation_is_the_lowest_loss_and_the_highest_accuracy():
    record = Record.of(STORY)
    assert record.best() == (20, 2.1)
    assert record.best("accuracy") == (10, 0.5)
    assert record.best("never measured") is None


def test_an_evaluation_that_is_not_a_number_is_not_the_best():
    record = Record.of([Evaluated(step=1, values={"loss": math.nan}), Evaluated(step=2, values={"loss": 5.0})])
    assert record.best() == (2, 5.0)
    assert Record.of([Evaluated(step=1, values={"loss": math.nan})]).best() is None


def test_without_an_evaluation_the_last_values_of_training_stand():
    assert Record.of([point(1, 3.0), point(2, 2.0, lr=0.1)]).metrics == {"loss": 2.0, "lr": 0.1}


def test_what_came_after_the_checkpoint_is_dropped_when_the_run_goes_on_from_it():
    record = Record.of([*STORY, Failed(step=25, error={"what": "killed"})])
    assert record.state == "failed"
    record.add(Resumed(step=10, checkpoint="checkpoints/checkpoint-10"))
    assert (record.state, record.step, record.end) == ("running", 10, None)
    assert record.series == {"loss": [(10, 3.0)], "lr": [(10, 0.1)]}
    assert [row["step"] for row in record.evaluations] == [10]
    for event in STORY[7:]:
        record.add(event)
    assert record.series["loss"] == [(10, 3.0), (20, 2.0)]
    assert len(record.samples) == 1 and len(record.resumed) == 1


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (Finished(step=30, values={"loss": 2.0}), "finished"),
        (Stopped(step=21, reason="asked to stop"), "stopped"),
        (Failed(step=21, error={"what": "NaN"}), "failed"),
    ],
)
def test_the_end_is_the_one_that_was_told_until_the_run_goes_on(end, state):
    record = Record.of([*STORY, end])
    assert (record.state, record.end) == (state, end)
    record.add(STORY[0])
    assert (record.state, record.end) == ("running", None)


@given(st.lists(st.integers(1, 50), max_size=8), st.integers(1, 8), st.integers(0, 50))
def test_a_killed_and_resumed_run_draws_the_curve_of_one_that_was_not(gaps, save_every, killed_after):
    steps = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    whole = [point(step, 1 / step) for step in steps]
    cut = whole[:killed_after]
    saved = max((event.step for event in cut[::save_every]), default=0)
    again = [event for event in whole if event.step > saved]
    record = Record.of([*cut, Resumed(step=saved, checkpoint="c"), *again])
    assert record.series == Record.of(whole).series
    assert record.step == max(steps, default=0)


@pytest.mark.parametrize("metric", ["loss", "eval_loss", "rmse", "rmse/age", "perplexity", "kl", "Loss"])
def test_of_losses_the_lower_is_better(metric):
    assert lower_is_better(metric)


@pytest.mark.parametrize("metric", ["reward", "reward/letters", "f1_weighted", "accuracy", "rewards/margins", "map_50"])
def test_of_rewards_the_higher_is_better(metric):
    assert not lower_is_better(metric)


def test_a_paused_time_is_no_time_of_training():
    pause = [Changed(time=30.0, step=20, name="state", old="running", new="paused")]
    record = Record.of([*STORY, *pause])
    assert record.state == "paused" and record.step == 20
    record.add(Changed(time=90.0, step=20, name="state", old="paused", new="running"))
    assert record.state == "running" and record.paused == 60.0


def test_a_change_after_the_checkpoint_is_due_again_until_somebody_wants_it_otherwise():
    back = Resumed(time=40.0, step=10, checkpoint="checkpoints/checkpoint-10")
    record = Record.of([*STORY, back, back])
    assert record.changes == [] and [change.step for change in record.undone] == [15]
    again = Record.of([*STORY, back, Changed(time=50.0, step=15, name="lr", old=0.1, new=0.01)])
    assert [change.step for change in again.changes] == [15] and again.undone == []
    otherwise = Record.of([*STORY, back, Changed(time=50.0, step=12, name="lr", old=0.1, new=0.5), back])
    assert [(change.step, change.new) for change in otherwise.undone] == [(12, 0.5)]
