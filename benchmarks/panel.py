"""The panel of a room: how long it takes to open, and how long a change takes to show, against what people wait for.

Both without a network and without torch, in a fresh process each time; the front end's own drawing is not in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from measure import Line, line

OPENS, SHOWS = 300.0, 100.0  # milliseconds
COUNT = 5

# the extension prepares itself behind the first cells; the panel is opened when it has
TIMED = """
import statistics, sys, time
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from nbtrain.notebook import _extensions
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "nbtrain")
_extensions[id(shell)].magics.get_ready()
begin = time.perf_counter()
panel = shell.run_line_magic("autotrain", "panel llm")
display(panel)
opened = time.perf_counter() - begin
changes = []
for name, text in [("lr", "1e-4"), ("trainer", "dpo"), ("epochs", "3"), ("trainer", "sft"), ("lr", "x"), ("lr", "")]:
    begin = time.perf_counter()
    panel.form.fields[name].control.value = text
    changes.append(time.perf_counter() - begin)
begin = time.perf_counter()
panel.form.group.value = "all"
changes.append(time.perf_counter() - begin)
heavy = sorted({"torch", "pandas", "matplotlib", "transformers", "datasets", "pyarrow"} & set(sys.modules))
assert not heavy, heavy
print(1000 * opened, 1000 * max(changes))
"""


def measure() -> Iterator[Line]:
    """One line for opening, one for the slowest of some changes, the whole room brought into sight among them."""
    found = [_once() for _ in range(COUNT)]
    for place, (goal, most) in enumerate((("panel: opens / 300 ms", OPENS), ("panel: a change shows / 100 ms", SHOWS))):
        yield line(goal, [each[place] for each in found], [most] * COUNT, unit="ms", target="<= 1.0", spread=0.0)


def _once() -> list[float]:
    environment = {**os.environ, "NBTRAIN_STANDBY": "0", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", TIMED], capture_output=True, text=True, check=True, env=environment)
    return [float(each) for each in done.stdout.split()[-2:]]
