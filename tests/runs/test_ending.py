import os
import subprocess
import sys
import threading
import time

import pytest

from nbtrain.errors import TrainingError, WorkerDied
from nbtrain.events import Failed, Finished
from nbtrain.runs import ending, folder, status
from nbtrain.runs.journal import Journal, story


@pytest.fixture
def run(workdir):
    place = folder.claim("run", "llm", "sft")
    status.begin(place, os.getpid())
    status.write(place, state="running", step=7)
    return place


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (-9, "killed by SIGKILL: often the system ran out of memory"),
        (-11, "killed by SIGSEGV: a crash in native code; the log has the Python frames"),
        (-63, "killed by signal 63"),
        (0, "exit 0 in the middle of the run: something in it called os._exit or sys.exit"),
        (7, "exit 7 before the run could say why"),
        (None, status.GONE),
    ],
)
def test_an_exit_code_is_told_in_words(code, told):
    assert ending.words(code) == told


def test_a_death_is_written_once_into_journal_and_status(run):
    for _ in range(2):
        ending.fail(run, ending.died(run, -9))
    (event,) = story(run.events)
    assert isinstance(event, Failed) and event.step == 7
    assert (
        event.error["kind"] == "WorkerDied" and "SIGKILL" in event.error["why"] and "resume run" in event.error["fix"]
    )
    now = status.read(run)
    assert (now.state, now.pid) == ("failed", None) and "SIGKILL" in now.cause


def test_the_last_line_of_the_log_is_part_of_the_cause_and_its_secrets_are_not(run):
    run.log.parent.mkdir()
    run.log.write_bytes(b"x" * 9000 + b"\nTraceback\nImportError: no module \xff hf_" + b"a" * 30 + b"\n\n")
    died = ending.died(run, 1)
    assert isinstance(died, WorkerDied)
    assert died.why.endswith("Last in its log: ImportError: no module � [secret]")


def test_a_run_that_ended_by_itself_is_not_made_a_failure(run):
    status.write(run, state="finished")
    ending.fail(run, ending.died(run, -9))
    assert status.read(run).state == "finished" and not run.events.exists()


def test_a_run_whose_journal_has_the_end_gets_it_into_its_status(run):
    with Journal(run.events) as journal:
        journal.append(Finished(step=9))
    ending.fail(run, ending.died(run, -9))
    assert status.stored(run).state == "finished"
    assert len(story(run.events)) == 1


def test_a_run_that_somebody_trains_is_left_alone(run):
    with folder.lock(run):
        ending.fail(run, TrainingError("another worker was refused"))
    assert status.read(run).state == "running" and not run.events.exists()


def test_the_end_is_written_also_where_the_dead_process_lets_go_of_its_lock_a_moment_later(run):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    status.begin(run, child.pid)
    child.wait()
    held = threading.Event()

    def dying():
        with folder.lock(run):
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=dying)
    thread.start()
    held.wait()
    ending.fail(run, ending.died(run, -9))
    thread.join()
    assert isinstance(story(run.events)[-1], Failed) and status.stored(run).state == "failed"
