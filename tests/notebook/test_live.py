"""The view follows a run from its files alone, draws into one display, takes interrupts, and never harms the run."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nbtrain import events
from nbtrain.notebook import live
from nbtrain.notebook.live import Live, watch
from nbtrain.runs import control, status
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal


class Training:
    """A run that is trained by this process, in a thread, a step each time it is told to."""

    def __init__(self, path):
        path.mkdir()
        self.folder = RunFolder(path)
        self.journal = Journal(self.folder.events)
        self.step = 0
        status.begin(self.folder, os.getpid())

    def start(self, steps=100):
        self.journal.append(events.Started(room="llm", method="sft", name=self.folder.name, total_steps=steps))
        status.write(self.folder, state="running")

    def log(self, loss=2.0):
        self.step += 1
        self.journal.append(events.Logged(step=self.step, values={"loss": loss}))

    def evaluate(self, loss):
        self.journal.append(events.Evaluated(step=self.step, values={"loss": loss}))

    def end(self, event):
        self.journal.append(event)
        status.write(self.folder, state=event.kind, pid=None, pid_start=None)


class Cell:
    """What the cell was given to show."""

    def __init__(self):
        self.bundles, self.again = [], []

    def __call__(self, bundle, again):
        self.bundles.append(bundle)
        self.again.append(again)

    @property
    def page(self):
        return self.bundles[-1]["text/html"]


@pytest.fixture
def training(tmp_path):
    run = Training(tmp_path / "a-run")
    yield run
    run.journal.close()


@pytest.fixture
def cell():
    return Cell()


def in_thread(target):
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def wait_until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def test_one_display_is_drawn_again_until_the_run_ends(training, cell):
    def train():
        training.start()
        for _ in range(30):
            training.log()
            time.sleep(0.02)
        training.evaluate(1.5)
        training.end(events.Finished(step=30))

    thread = in_thread(train)
    assert Live(training.folder, display=cell).follow() == "finished"
    thread.join()
    assert len(cell.bundles) >= 3
    assert cell.again == [False] + [True] * (len(cell.again) - 1)
    assert ["image/png" in bundle for bundle in cell.bundles] == [False] * (len(cell.bundles) - 1) + [True]
    assert "30 of 100" in cell.page and "finished" in cell.page


def test_evaluations_and_samples_are_drawn_at_once_and_steps_when_it_is_time(training, cell):
    view = Live(training.folder, display=cell, pace=3600)
    training.start()
    view.look()
    drawn = len(cell.bundles)
    assert drawn == 1
    for _ in range(5):
        training.log()
        view.look()
    assert len(cell.bundles) == drawn
    training.evaluate(1.25)
    view.look()
    assert len(cell.bundles) == drawn + 1 and "1.250" in cell.page
    training.journal.append(events.Sampled(step=5, samples=({"prompt": "Why?", "output": "Because."},)))
    view.look()
    assert len(cell.bundles) == drawn + 2 and "Because." in cell.page


def test_a_drawing_that_costs_much_comes_seldom(training, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    drawn = []

    def slow(bundle, again):
        now[0] += 0.5
        drawn.append(now[0])

    view = Live(training.folder, display=slow)
    training.start()
    view.look()
    for _ in range(250):
        training.log()
        now[0] += 0.1
        view.look()
    assert len(drawn) == 3
    assert drawn[1] - drawn[0] >= 20 * 0.5


def test_what_is_done_before_the_first_step_is_shown(training, cell):
    status.write(training.folder, stage="loading the model")
    Live(training.folder, display=cell).look()
    assert "loading the model" in cell.page and "a-run" in cell.page


def test_one_interrupt_asks_the_run_to_stop_and_the_view_says_so(training, cell):
    def train():
        training.start()
        wait_until(lambda: cell.bundles)
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: (training.folder.control / "stop").exists())
        wait_until(lambda: "finishing the step and saving" in cell.page)
        assert control.Control(training.folder).take() == {"stop"}
        training.end(events.Stopped(step=3, reason="asked to stop", checkpoint="checkpoints/checkpoint-3"))

    before = signal.getsignal(signal.SIGINT)
    thread = in_thread(train)
    assert Live(training.folder, display=cell).follow() == "stopped"
    thread.join()
    assert "checkpoints/checkpoint-3" in cell.page and "finishing the step" not in cell.page
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_ends_the_worker(tmp_path, cell):
    folder = RunFolder(tmp_path / "a-run")
    folder.path.mkdir()
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    status.begin(folder, process.pid)

    class Worker:
        def kill(self):
            process.kill()
            process.wait()

    def interrupt():
        wait_until(lambda: cell.bundles)
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: (folder.control / "stop").exists())
        os.kill(os.getpid(), signal.SIGINT)

    try:
        in_thread(interrupt)
        assert Live(folder, display=cell).follow(Worker()) == "failed"
    finally:
        process.kill()
        process.wait()
    assert "failed" in cell.page and "process" in cell.page


def test_a_process_that_dies_without_a_word_is_a_failure_in_the_view(tmp_path, cell):
    folder = RunFolder(tmp_path / "a-run")
    folder.path.mkdir()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    status.begin(folder, process.pid)
    with Journal(folder.events) as journal:
        journal.append(events.Started(room="llm", name="a-run", total_steps=9))
    view = Live(folder, display=cell)
    assert not view.look()
    process.communicate(b"\n")
    assert view.look()
    assert "failed" in cell.page and "The process that trained a-run died" in cell.page
    assert "image/png" not in cell.bundles[-1], "there was nothing to draw"


def test_a_view_that_raises_falls_silent_and_the_run_goes_on(training, capfd):
    def broken(bundle, again):
        raise ValueError("no such front end")

    def train():
        training.start()
        training.log()
        time.sleep(0.3)
        training.end(events.Finished(step=1))

    in_thread(train)
    assert Live(training.folder, display=broken).follow() == "finished"
    log = (training.folder.log.parent / "view.log").read_text()
    assert "no such front end" in log and log.count("Traceback") == 1
    assert capfd.readouterr() == ("", "")


def test_a_watched_run_is_shown_at_once_and_drawn_again_from_a_thread(training, cell, capfd):
    training.start()
    watch(training.folder, display=cell)
    assert len(cell.bundles) == 1
    training.evaluate(0.75)
    wait_until(lambda: "0.7500" in cell.page)
    training.end(events.Finished(step=1))
    wait_until(lambda: "image/png" in cell.bundles[-1] or "finished" in cell.page)
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "nbtrain-view-a-run"])
    assert capfd.readouterr() == ("", "")


def test_a_run_can_be_shown_once(training, cell):
    training.start()
    watch(training.folder, display=cell, follow=False)
    assert not [thread for thread in threading.enumerate() if thread.name == "nbtrain-view-a-run"]
    assert len(cell.bundles) == 1


def test_a_view_ends_when_it_is_no_longer_wanted(training, cell):
    training.start()
    watch(training.folder, display=cell, until=lambda: True)
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "nbtrain-view-a-run"])


def test_the_last_frame_is_drawn_once(training, cell):
    training.start()
    training.log()
    training.end(events.Finished(step=1))
    view = Live(training.folder, display=cell)
    assert view.look() and view.look() and view.follow() == "finished"
    assert len(cell.bundles) == 1


def test_where_there_is_no_notebook_the_terminal_is_told(training, capsys):
    training.start()
    training.journal.append(events.Evaluated(step=4, values={"loss": 1.5}))
    training.end(events.Finished(step=4, seconds=2.0))
    assert Live(training.folder).follow() == "finished"
    said = capsys.readouterr()
    assert said.out == "" and "step 4: evaluation: loss 1.500" in said.err
