import subprocess
import sys

import pytest

from nbtrain.errors import RunError
from nbtrain.runs import control, folder
from nbtrain.runs.control import Control


@pytest.fixture
def run(workdir):
    return folder.claim("run", "llm", "sft")


def test_what_is_asked_is_taken_once(run):
    taker = Control(run)
    assert taker.take() == set()
    control.ask(run, "save")
    control.ask(run, "save")
    control.ask(run, "sample")
    assert taker.take() == {"save", "sample"}
    assert taker.take() == set()


def test_what_is_asked_before_training_begins_is_taken(run):
    control.ask(run, "stop")
    assert Control(run).take() == {"stop"}


def test_requests_asked_right_after_each_other_are_all_taken(run):
    taker = Control(run)
    for _ in range(300):
        control.ask(run, "sample")
        assert taker.take() == {"sample"}


def test_a_request_from_another_process_is_taken(run):
    source = "import sys; from nbtrain.runs import control, folder; control.ask(folder.RunFolder(sys.argv[1]), 'stop')"
    subprocess.run([sys.executable, "-c", source, run.path], check=True)
    assert Control(run).take() == {"stop"}


def test_what_is_cleared_is_not_taken(run):
    control.ask(run, "stop")
    control.clear(run)
    assert Control(run).take() == set()


@pytest.mark.parametrize("request_", ["stopp", "", "../../stop", "STOP"])
def test_a_request_that_does_not_exist_is_refused(run, request_):
    with pytest.raises(RunError, match="cannot be asked"):
        control.ask(run, request_)
    assert not run.control.exists() or list(run.control.iterdir()) == []


def test_a_stranger_in_the_folder_is_left_alone(run):
    taker = Control(run)
    (run.control / "notes.txt").write_text("mine")
    assert taker.take() == set()
    assert (run.control / "notes.txt").exists()


def test_of_several_changes_the_last_counts_and_it_is_given_once(run):
    taker = Control(run)
    for value in (1e-3, 1e-5):
        control.change(run, "lr", value)
    assert taker.take() == set() and taker.values == {"lr": 1e-5}
    taker.values.clear()
    assert taker.take() == set() and taker.values == {} and not list(run.control.iterdir())


@pytest.mark.parametrize("text", ["", "fast", "NaN", "-1", "0", "1e999", '"1"', "[1]"])
def test_a_change_that_nobody_could_have_asked_for_is_dropped(run, text):
    taker = Control(run)
    (run.control / "lr").write_text(text)
    assert taker.take() == set() and taker.values == {} and not list(run.control.iterdir())


def test_what_cannot_be_changed_is_refused(run):
    with pytest.raises(RunError, match="batch_size cannot be changed"):
        control.change(run, "batch_size", 8)


def test_of_pause_and_go_the_last_counts(run):
    taker = Control(run)
    for request in ("pause", "go"):
        control.ask(run, request)
    assert taker.take() == {"go"}
    for request in ("go", "pause"):
        control.ask(run, request)
    assert taker.take() == {"pause"}
