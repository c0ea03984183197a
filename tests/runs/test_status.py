import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time

import pytest

from nbtrain.errors import TrainingError
from nbtrain.events import Failed, Finished, Logged, Stopped
from nbtrain.runs import control, folder, process, status
from nbtrain.runs.journal import Journal
from nbtrain.runs.status import GONE, Heartbeat, Status


@pytest.fixture
def run(workdir):
    return folder.claim("run", "llm", "sft")


def until(found, seconds=20.0):
    end = time.monotonic() + seconds
    while not found() and time.monotonic() < end:
        time.sleep(0.01)
    return found()


TRAINS = """
import sys, time
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.status import Heartbeat, write
run = RunFolder(sys.argv[1])
with Heartbeat(run):
    write(run, state="running", step=5)
    print("going", flush=True)
    time.sleep(60)
"""


def trainer(run):
    child = subprocess.Popen([sys.executable, "-c", TRAINS, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "going\n"
    return child


def test_a_run_that_nobody_took_up_is_starting(run):
    assert status.read(run) == Status()


def test_what_is_written_is_read_and_the_rest_stays(run):
    status.begin(run, os.getpid())
    status.write(run, state="running", step=3)
    status.write(run, step=4)
    now = status.read(run)
    assert (now.state, now.step, now.pid, now.host) == ("running", 4, os.getpid(), platform.node())


def test_a_run_whose_process_was_killed_has_failed_and_says_why(run):
    child = trainer(run)
    assert status.read(run).state == "running"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    now = status.read(run)
    assert (now.state, now.step, now.cause) == ("failed", 5, GONE)
    assert json.loads(run.status.read_text())["state"] == "running"  # reading changes nothing


def test_a_zombie_and_a_recycled_pid_are_dead(run):
    child = trainer(run)
    child.kill()
    assert until(lambda: status.read(run).state == "failed") and child.returncode is None
    child.communicate()
    status.begin(run, os.getpid())
    status.write(run, state="running")
    assert status.read(run).state == "running"
    status.write(run, pid_start="an earlier process")
    assert status.read(run).state == "failed"


@pytest.mark.parametrize(
    ("end", "state", "cause"),
    [
        (Finished(step=9), "finished", ""),
        (Stopped(step=9, reason="asked to stop"), "stopped", ""),
        (Failed(step=9, error=TrainingError("the loss is NaN").record()), "failed", "the loss is NaN"),
    ],
)
def test_a_process_killed_between_its_last_event_and_its_last_status_ended_as_the_journal_says(run, end, state, cause):
    status.begin(run, os.getpid())
    status.write(run, state="running", pid_start="a dead one")
    with Journal(run.events) as journal:
        journal.append(dataclasses.replace(end, time=time.time()))
    now = status.read(run)
    assert (now.state, now.cause) == (state, cause)


def test_the_end_of_an_earlier_life_is_not_that_of_this_one(run):
    with Journal(run.events) as journal:
        journal.append(Finished(step=9))
    time.sleep(0.01)
    status.begin(run, os.getpid())
    status.write(run, state="running", pid_start="a dead one")
    assert status.read(run).state == "failed"


def test_a_running_state_without_a_process_has_failed(run):
    status.write(run, state="running")
    assert status.read(run).state == "failed"


def test_on_another_machine_silence_is_death(run):
    status.begin(run, os.getpid())
    status.write(run, state="running", host="elsewhere", pid=2**22 + 1)
    assert status.read(run).state == "running"
    status.write(run, heartbeat=time.time() - 120)
    now = status.read(run)
    assert now.state == "failed" and "no sign of life from elsewhere" in now.cause


def test_a_run_that_was_left_before_it_ran_is_not_starting_for_ever(run):
    with pytest.raises(MemoryError), Heartbeat(run):
        raise MemoryError
    assert status.read(run).state == "failed"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00\x00", '{"state": "running", "of_a_later_version": 1}'])
def test_a_status_that_is_torn_or_foreign_is_no_crash_and_no_success(run, text):
    run.status.write_text(text)
    assert status.read(run).state in ("starting", "failed")


def test_the_heart_beats_while_training_and_no_longer(run, monkeypatch):
    monkeypatch.setattr(status, "BEAT_SECONDS", 0.02)
    with Heartbeat(run) as heart:
        first = status.read(run)
        assert (first.pid, first.pid_start) == (os.getpid(), process.start_of(os.getpid()))
        assert until(lambda: status.read(run).heartbeat > first.heartbeat)
        status.write(run, state="finished")
    last = status.read(run)
    assert (last.state, last.pid) == ("finished", None)
    assert not heart._thread.is_alive()


def test_the_heart_goes_on_when_the_disk_was_full_for_a_while(run, monkeypatch):
    monkeypatch.setattr(status, "BEAT_SECONDS", 0.01)
    true_write, refused = status.write, []

    def full_three_times(place, **changes):
        if threading.current_thread().name == "nbtrain-heartbeat" and len(refused) < 3:
            refused.append(changes)
            raise OSError("No space left on device")
        true_write(place, **changes)

    monkeypatch.setattr(status, "write", full_three_times)
    with Heartbeat(run):
        before = status.read(run).heartbeat
        assert until(lambda: status.read(run).heartbeat > before) and len(refused) == 3
        true_write(run, state="stopped")


def test_a_run_left_without_an_end_has_failed(run):
    with pytest.raises(TrainingError), Heartbeat(run):
        status.write(run, state="running")
        raise TrainingError("The journal cannot be written", why="disk full")
    now = status.read(run)
    assert now.state == "failed" and "journal cannot be written" in now.cause
    with Heartbeat(run):
        status.write(run, state="running")
    assert status.read(run).state == "failed"


def test_the_heartbeat_and_the_trainer_do_not_undo_each_other(run, monkeypatch):
    monkeypatch.setattr(status, "BEAT_SECONDS", 0.0005)
    with Heartbeat(run):
        for step in range(200):
            status.write(run, step=step)
            assert status.stored(run).step == step
        status.write(run, state="finished")


def test_a_new_life_forgets_the_cause_of_the_last_death_and_what_was_asked_of_it(run):
    status.write(run, state="failed", cause="killed", stage="old", step=7)
    control.ask(run, "stop")
    status.begin(run, os.getpid())
    now = status.read(run)
    assert (now.state, now.cause, now.stage, now.step) == ("starting", "", "", 7)
    assert control.Control(run).take() == set()


def test_what_is_asked_while_the_process_starts_is_not_forgotten(run):
    status.begin(run, os.getpid())  # by the one who started it
    control.ask(run, "stop")
    since = status.read(run).since
    status.begin(run, os.getpid())  # by itself
    assert control.Control(run).take() == {"stop"}
    assert status.read(run).since == since


def test_an_event_of_a_living_run_is_not_its_end(run):
    status.begin(run, os.getpid())
    status.write(run, state="running", pid_start="a dead one")
    with Journal(run.events) as journal:
        journal.append(Logged(step=1, values={"loss": 1.0}))
    assert status.read(run).state == "failed"
