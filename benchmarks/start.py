"""Goals 1 and 2: loading the extension against importing ipywidgets, and help against AutoTrain's help."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from measure import Line, alternate, line

# both arms begin in the same bare shell, which is not timed: only the statement is
_TIMED = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
begin = time.perf_counter()
{statement}
print(time.perf_counter() - begin)
heavy = sorted({{"torch", "pandas", "matplotlib", "transformers", "datasets"}} & set(sys.modules))
assert not heavy, heavy
"""


def statement_seconds(statement: str) -> float:
    """Seconds for one statement in a fresh process with an IPython shell."""
    environment = {**os.environ, "NBTRAIN_STANDBY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(statement=statement)], capture_output=True, text=True, check=True, env=environment
    )
    return float(done.stdout.split()[-1])


def command_seconds(*command: str) -> float:
    """Seconds for a whole command, start to exit."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def load() -> Line:
    """Goal 1."""
    ours, peer = alternate(
        lambda: statement_seconds('shell.run_line_magic("load_ext", "nbtrain")'),
        lambda: statement_seconds("import ipywidgets"),
        9,
    )
    return line("1 load_ext / import ipywidgets", ours, peer, unit="s", target="<= 1.0")


def peer_program() -> str | None:
    """AutoTrain's program, in an environment of its own; NBTRAIN_PEER names it where it is elsewhere."""
    here = Path(__file__).parent.parent / ".venv-peer" / "bin" / "autotrain"
    return os.environ.get("NBTRAIN_PEER") or (str(here) if here.exists() else shutil.which("autotrain-peer"))


def help_text() -> Line | str:
    """Goal 2."""
    program = peer_program()
    if program is None:
        return "2 help: AutoTrain is not installed: `make .venv-peer`, or name its program in NBTRAIN_PEER"
    nbtrain = str(Path(sys.executable).parent / "nbtrain")
    ours, peer = alternate(
        lambda: command_seconds(nbtrain, "llm", "--help"), lambda: command_seconds(program, "llm", "--help"), 5
    )
    return line("2 help / autotrain help", ours, peer, unit="s", target="<= 0.05")
