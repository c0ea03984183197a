"""Code runs apart: within its limits, without what it must not reach."""

import pytest

from nbtrain.trainers.rl import sandbox
from nbtrain.trainers.rl.rewards import named

isolated = pytest.mark.skipif(not sandbox.isolated(), reason="this machine lets no process be isolated")


def test_a_program_ends_well_or_says_why():
    assert sandbox.run("print(6 * 7)") == (True, "42\n", "")
    found = sandbox.run("raise ValueError('no')")
    assert not found.passed and "ValueError: no" in found.output and found.why == "ended with 1"
    assert not sandbox.run("import sys; sys.exit(0)").passed  # it left before its last line
    assert not sandbox.run("def broken(:").passed


def test_time_memory_and_output_are_limited():
    assert sandbox.run("while True: pass", seconds=0.5).why == "longer than 0.5 seconds"
    assert "MemoryError" in sandbox.run("x = bytearray(10**9)", megabytes=256).output
    assert not sandbox.run("while True: print('x' * 10000)", seconds=3).passed


def test_it_knows_nothing_of_this_process(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "hf_secret" not in sandbox.run("import os; print(os.environ)").output


@isolated
def test_it_has_no_network_and_writes_no_file(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    program = (
        f"import os\ntry:\n    os.remove({str(kept)!r})\nexcept OSError as error:\n    print('refused', error.errno)"
    )
    assert sandbox.run(program).output.startswith("refused")
    assert kept.read_text() == "as it was"
    reached = sandbox.run("import socket; socket.create_connection(('127.0.0.1', 9), 1)")
    assert "Network is unreachable" in reached.output
    assert "without network" in sandbox.told()


@isolated
def test_what_it_started_ends_with_it():
    left = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\n"
    assert sandbox.run(left, seconds=5).passed  # and does not wait for the child


def test_a_machine_without_isolation_is_told(monkeypatch):
    monkeypatch.setattr(sandbox, "isolated", lambda: False)
    assert "use a container" in sandbox.told()
    assert sandbox.run("print(1)").passed


def test_code_earns_the_share_of_its_tests():
    tests = "assert add(1, 2) == 3\nassert add(0, 0) == 0\nassert add(2, 2) == 5\nassert add('a', 'b') == 'ab'"
    reward = named({"name": "code", "tests": tests})
    fenced = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nDone."
    assert reward(prompts=["p"] * 3, completions=[fenced, "def add(a, b): return 0", "I cannot"]) == [0.75, 0.25, 0]


def test_a_function_that_goes_on_after_its_prompt_is_checked_by_its_entry_point():
    head = "def double(x):\n"
    check = "def check(candidate):\n    assert candidate(3) == 6\n"
    found = named("code")(
        prompts=[head] * 3,
        completions=["    return 2 * x", "    return x", "def double(x): return x + x"],
        test=[check] * 3,
        entry_point=["double"] * 3,
    )
    assert found == [1, 0, 1]


def test_a_row_without_tests_is_no_opinion():
    assert named("code")(prompts=["p"], completions=["1"], test=[None]) == [None]
