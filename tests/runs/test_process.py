import os
import subprocess
import sys
import time

import pytest

from nbtrain.runs import process


def sleeper():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_this_process_lives_and_its_start_does_not_change():
    start = process.start_of(os.getpid())
    assert start and start == process.start_of(os.getpid())
    assert process.alive(os.getpid(), start)


def test_a_killed_process_is_dead_even_while_it_is_a_zombie():
    child = sleeper()
    start = process.start_of(child.pid)
    assert process.alive(child.pid, start)
    child.kill()
    until = time.monotonic() + 20
    while process.alive(child.pid, start) and time.monotonic() < until:
        time.sleep(0.01)
    assert child.returncode is None  # nobody has reaped it: the pid is still taken
    assert process.start_of(child.pid) is None
    child.wait()
    assert not process.alive(child.pid)


def test_a_pid_that_went_to_another_process_is_not_taken_for_alive():
    child = sleeper()
    try:
        assert process.alive(child.pid, None)
        assert not process.alive(child.pid, process.start_of(os.getpid()))
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_name_with_spaces_and_parentheses_is_read_over(tmp_path):
    named = tmp_path / "a) Z (b"
    named.symlink_to("/bin/sleep")
    child = subprocess.Popen([named, "60"])
    try:
        assert process.start_of(child.pid).partition("+")[2].isdecimal()
    finally:
        child.kill()
        child.wait()
    assert process.start_of(child.pid) is None
