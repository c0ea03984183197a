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


@pytest.mark.parametrize(
    ("asked", "needed"),
    [
        ({}, False),
        ({"quantization": None, "optimizer": "adamw_torch", "backend": "auto"}, False),
        ({"quantization": "none"}, False),
        ({"quantization": "int4"}, True),
        ({"quantization": "int8"}, True),
        ({"optimizer": "paged_adamw_32bit"}, True),
        ({"optimizer": "adamw_bnb_8bit"}, True),
        ({"backend": "unsloth"}, True),
    ],
)
def test_bitsandbytes_is_needed_by_what_is_held_in_few_bits(asked, needed):
    assert process.in_few_bits(asked) is needed


def test_a_process_that_is_spared_bitsandbytes_takes_it_for_not_installed():
    code = (
        "from importlib.util import find_spec; from nbtrain.runs import process; "
        "process.spare_bitsandbytes(); print(find_spec('bitsandbytes'))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "None"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux keeps such limits")
def test_a_process_that_may_take_no_more_is_refused_what_is_beyond():
    code = """
from nbtrain.runs import process
process.GPUS = process.Path('/nowhere')
process.take_no_more(200 * 2**20)
kept = bytearray(50 * 2**20)
try:
    bytearray(400 * 2**20)
except MemoryError:
    print('refused')
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "refused", done.stderr


def test_a_process_tells_what_it_holds_and_held_at_most():
    code = """
from nbtrain.runs import process
before = process.memory()
kept = bytearray(b'1') * (100 * 2**20)
del kept
now, peak = process.memory()
print(peak - before[1] > 80 * 2**20, peak >= now, process.memory(__import__('os').getpid()) >= (1, 1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "True"], done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has priorities of another kind")
def test_a_worker_lets_others_go_first_however_often_it_is_told():
    code = """
import os
from pathlib import Path
from nbtrain.runs import process
process.give_way(), process.give_way()
session = Path("/proc/self/autogroup")
number = session.read_text().split()[-1] if session.exists() else "15"
if number != "15":
    try:
        session.write_text("15")
    except OSError:  # nobody may set it here
        number = "15"
print(os.getpriority(os.PRIO_PROCESS, 0), number)
"""
    told = subprocess.run([sys.executable, "-c", code], start_new_session=True, capture_output=True, text=True)
    assert told.stdout.split() == ["15", "15"], told.stderr
