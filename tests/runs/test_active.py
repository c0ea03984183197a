import os
import time

import pytest

from nbtrain.errors import TrainingError
from nbtrain.events import Failed, Finished, Logged, Resumed, Started, Stopped, Warned
from nbtrain.runs import active, control, folder, status
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.journal import Journal, story


@pytest.fixture
def run(workdir):
    place = folder.claim("run", "llm", "sft")
    status.begin(place, os.getpid())
    return place


@pytest.fixture
def journal(run):
    with Journal(run.events) as book:
        yield book


def test_an_event_is_in_the_journal_before_a_sink_hears_of_it(run, journal):
    heard = []
    alive = ActiveRun(run, journal, sinks=[lambda event: heard.append((event, story(run.events)[-1]))])
    events = [Started(room="llm"), Logged(step=1, values={"loss": 2.0}), Warned(message="slow")]
    for event in events:
        alive.emit(event)
    assert heard == [(event, event) for event in events]


def test_a_sink_that_raises_is_dropped_with_a_notice_and_the_run_goes_on(run, journal):
    heard, calls = [], []

    def broken(event):
        calls.append(event)
        raise ValueError("no network")

    alive = ActiveRun(run, journal, sinks=[broken, heard.append])
    alive.emit(Logged(step=1, values={"loss": 2.0}))
    alive.emit(Logged(step=2, values={"loss": 1.0}))
    assert len(calls) == 1
    assert [event.step for event in heard if isinstance(event, Logged)] == [1, 2]
    (notice,) = [event for event in story(run.events) if isinstance(event, Warned)]
    assert "broken raised ValueError (no network)" in notice.message
    assert notice in heard


def test_sinks_that_all_raise_are_each_dropped_once(run, journal):
    def first(event):
        raise ValueError("1")

    def second(event):
        raise KeyError("2")

    alive = ActiveRun(run, journal, sinks=[first, second])
    alive.emit(Logged(step=1, values={"loss": 2.0}))
    assert len([event for event in story(run.events) if isinstance(event, Warned)]) == 2


def test_a_journal_that_cannot_be_written_ends_the_run_and_no_sink_hears(run, journal):
    heard = []
    alive = ActiveRun(run, journal, sinks=[heard.append])
    journal.close()
    with pytest.raises(TrainingError, match="journal cannot be written"):
        alive.emit(Logged(step=1, values={"loss": 2.0}))
    assert heard == []


@pytest.mark.parametrize(
    ("event", "state", "cause"),
    [
        (Started(room="llm"), "running", ""),
        (Resumed(step=4, checkpoint="checkpoints/checkpoint-4"), "running", ""),
        (Finished(step=9), "finished", ""),
        (Stopped(step=9, reason="asked to stop"), "stopped", ""),
        (Failed(step=9, error=TrainingError("the loss is NaN").record()), "failed", "the loss is NaN"),
    ],
)
def test_the_status_follows_beginnings_and_ends_at_once(run, journal, event, state, cause):
    alive = ActiveRun(run, journal)
    alive.stage("loading the model")
    assert status.read(run).stage == "loading the model"
    alive.emit(event)
    now = status.read(run)
    assert (now.state, now.cause, now.stage, now.step) == (state, cause, "", event.step or 0)


def test_the_status_is_written_twice_a_second_at_most(run, journal, monkeypatch):
    clock, written = [100.0], []
    monkeypatch.setattr(active.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(active.status, "write", lambda place, **changes: written.append(changes))
    alive = ActiveRun(run, journal)
    for step in range(1, 101):
        clock[0] += 0.05
        alive.emit(Logged(step=step, values={"loss": 1.0}))
    assert 9 <= len(written) <= 11
    assert written[0] == {"step": 1}


def test_a_status_that_cannot_be_written_does_not_end_the_run(run, journal, monkeypatch):
    def full(*arguments, **changes):
        raise OSError(28, "No space left on device")

    alive = ActiveRun(run, journal)
    monkeypatch.setattr(active.status, "write", full)
    alive.stage("loading")
    alive.emit(Finished(step=1))
    assert isinstance(story(run.events)[-1], Finished)


def test_a_stop_stays_asked_and_other_requests_are_told_once(run, journal):
    alive = ActiveRun(run, journal)
    assert alive.requests() == set() and alive.stopped == ""
    control.ask(run, "save")
    assert alive.requests() == {"save"} and alive.requests() == set()
    control.ask(run, "stop")
    control.ask(run, "sample")
    assert alive.requests() == {"stop", "sample"}
    assert alive.requests() == {"stop"} and alive.stopped == "asked to stop"


def test_a_stop_is_asked_when_the_time_is_up(run, journal):
    alive = ActiveRun(run, journal, max_minutes=60)
    assert alive.deadline == pytest.approx(time.time() + 3600, abs=60)
    assert alive.requests() == set()
    alive.deadline = time.time() - 1
    assert alive.requests() == {"stop"}
    assert "time is up" in alive.stopped


def test_a_look_for_a_stop_loses_no_other_request(run, journal):
    alive = ActiveRun(run, journal)
    control.ask(run, "save")
    assert not alive.stop_asked()
    control.ask(run, "stop")
    assert alive.stop_asked() and alive.stop_asked()
    assert alive.requests() == {"save", "stop"}
