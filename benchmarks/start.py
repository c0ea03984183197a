"""Goals 1 and 2: loading the extension against importing ipywidgets, and help against AutoTrain's help."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import time
from pathlib import Path

from measure import Line, compare
from settings import NO_PEER, peer_program

import nbtrain

# both arms begin in the same bare shell, which is not timed: only the statement is
TIMED = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
begin = time.perf_counter()
{statement}
print(time.perf_counter() - begin)
heavy = sorted({{"torch", "pandas", "matplotlib", "transformers", "datasets"}} & set(sys.modules))
assert not heavy, heavy
"""


def load() -> Line:
    """Goal 1."""
    ours = 'shell.run_line_magic("load_ext", "nbtrain")'
    return compare(
        "1 load_ext nbtrain / import ipywidgets",
        lambda: 1000 * statement_seconds(ours),
        lambda: 1000 * statement_seconds("import ipywidgets"),
        count=15,
        unit="ms",
        target="<= 1.0",
    )


def help_text() -> Line | str:
    """Goal 2."""
    program = peer_program()
    if program is None:
        return f"2 help: {NO_PEER}"
    compileall.compile_dir(Path(nbtrain.__file__).parent, quiet=1)  # as pip did with the peer when it installed it
    ours = str(Path(sys.executable).parent / "nbtrain")
    return compare(
        "2 nbtrain llm --help / autotrain llm --help",
        lambda: command_seconds(ours, "llm", "--help"),
        lambda: command_seconds(program, "llm", "--help"),
        count=3,
        unit="s",
        target="<= 0.05",
    )


def statement_seconds(statement: str) -> float:
    """Seconds for one statement in a fresh process with an IPython shell."""
    command = [sys.executable, "-c", TIMED.format(statement=statement)]
    environment = {**os.environ, "NBTRAIN_STANDBY": "0"}  # what the kernel pays; the standby starts later, beside it
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.split()[-1])


def command_seconds(*command: str) -> float:
    """Seconds for a whole command, start to exit."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin
