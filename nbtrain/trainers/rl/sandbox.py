"""Code that a model wrote, run apart from everything else.

Each text runs in a Python process of its own: a limit on its time, its memory, its output; an empty environment; a
folder of its own. Where the kernel allows it (Linux with user namespaces) it also has no network, and sees every file
read-only. This keeps accidents in; it is no prison for code that was written to get out.
"""

from __future__ import annotations

import ast
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from nbtrain.trainers.rl.rewards import Reward, each

_FENCED = re.compile(r"```(?:python|py)?\s*\n(.*?)```", re.DOTALL)
_LONGEST = 64 << 10  # bytes of output that are kept

# It sets the limits and becomes the program: what it may do here (mount) is gone after execv.
# The numbers: CLONE_NEWUSER | NEWNET | NEWPID | NEWNS | NEWIPC; MS_REC | MS_PRIVATE; mount_setattr, AT_RECURSIVE.
_ENTRY = """
import ctypes, os, sys
seconds, megabytes, apart = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"
if apart:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare.argtypes = [ctypes.c_int]
    if libc.unshare(0x10000000 | 0x40000000 | 0x20000000 | 0x20000 | 0x8000000):
        sys.exit(97)
    read_only = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
    private = libc.mount(b"none", b"/", None, ctypes.c_ulong(0x4000 | 0x40000), None)
    locked = libc.syscall(442, -100, b"/", 0x8000, ctypes.byref(read_only), 32)
    if private or locked:
        sys.exit(98)
    child = os.fork()  # the first of its processes: with it all others end
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
try:
    import resource
except ImportError:
    resource = None
if resource:
    space = megabytes << 20
    for name, limit in (("CPU", seconds), ("AS", space), ("FSIZE", 1 << 20), ("CORE", 0), ("NPROC", 0)):
        try:
            resource.setrlimit(getattr(resource, "RLIMIT_" + name), (limit, limit))
        except (ValueError, OSError):
            pass
os.execv(sys.executable, [sys.executable, "-I", "-c", sys.stdin.read()])
"""


class Outcome(NamedTuple):
    """How a program ended. passed: it came to its last line. output: what it wrote, both streams."""

    passed: bool
    output: str
    why: str = ""


def run(program: str, *, seconds: float = 5, megabytes: int = 512) -> Outcome:
    """Run Python.

    Args:
        seconds: of time, and of CPU time.
        megabytes: of address space.
    """
    with tempfile.TemporaryDirectory(prefix="nbtrain-code-") as folder:
        wanted = [str(int(seconds) + 1), str(megabytes), "1" if isolated() else "0"]
        return _run(program, wanted, Path(folder), seconds)


@cache
def isolated() -> bool:
    """Whether this machine lets a process have no network and no writable file."""
    if sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory(prefix="nbtrain-code-") as folder:
        return _run("pass", ["5", "512", "1"], Path(folder), 10).passed


def told() -> str:
    """What the sandbox keeps apart here, for the user."""
    if isolated():
        return "Code from the model runs in a process of its own, without network, and can write no file."
    return (
        "Code from the model runs in a process of its own with limits on time and memory; this machine does not let "
        "it be cut off from the network and your files: use a container where that matters."
    )


def code(tests: str = "", column: str = "", seconds: float = 5, megabytes: int = 512) -> Reward:
    """The share of the tests that the completion's program passes.

    The program is what stands in its last ``` block, else the whole text, else, where only both together are Python,
    the prompt and the text: the head of a function, and how it goes on. The tests are Python: each statement
    `assert ...` counts for one; without any, all is one test, passed when it runs to its end. A function
    `check(candidate)`, as HumanEval has, is called with the row's `entry_point`.

    Args:
        tests: the same for all rows; else from the row's `column`: by default `test` or `tests`.
        seconds, megabytes: limits of one run.
    """

    def score(said: str, row: Mapping[str, Any]) -> float | None:
        wanted = tests or row.get(column or ("test" if "test" in row else "tests"))
        if wanted is None:
            return None
        wanted = "\n".join(wanted) if isinstance(wanted, list) else str(wanted)
        fenced = _FENCED.findall(said)
        candidates = [fenced[-1]] if fenced else [said, row["prompt"] + said]
        program = next((each for each in candidates if _is_python(each)), None)
        if program is None:
            return 0.0
        cases = _cases(wanted, row.get("entry_point"))
        passed = (run(f"{program}\n\n{case}", seconds=seconds, megabytes=megabytes).passed for case in cases)
        return sum(passed) / len(cases)

    return each("code", score)


def _cases(tests: str, entry_point: Any) -> list[str]:
    """Programs, one a test; what is no test stands in each of them."""
    if entry_point and "def check(" in tests:
        return [f"{tests}\n\ncheck({entry_point})"]
    try:
        statements = ast.parse(tests).body
    except (SyntaxError, ValueError):
        return [tests]
    asserts = [place for place, each in enumerate(statements) if isinstance(each, ast.Assert)]
    if len(asserts) < 2:
        return [tests]
    others = [place for place in range(len(statements)) if place not in asserts]
    return ["\n".join(ast.unparse(statements[at]) for at in sorted([*others, place])) for place in asserts]


def _is_python(program: str) -> bool:
    try:
        compile(program, "", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _run(program: str, wanted: list[str], folder: Path, seconds: float) -> Outcome:
    output, end = folder / "output", f"{secrets.token_hex(8)}\n"
    program = f"{program}\nprint({end!r}, end='', flush=True)"
    environment = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    with open(output, "wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _ENTRY, *wanted],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.communicate(program.encode("utf-8", "replace"), timeout=seconds)
            why = "" if process.returncode == 0 else f"ended with {process.returncode}"
        except subprocess.TimeoutExpired:
            why = f"longer than {seconds:g} seconds"
        finally:
            _end(process)
    said = output.read_bytes()[-_LONGEST:].decode("utf-8", "replace")
    if not why and not said.endswith(end):
        why = "ended before its last line"  # it left by itself, before its tests
    return Outcome(not why, said.removesuffix(end), why)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It, and what it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError, AttributeError):
        process.kill()
    process.wait()
