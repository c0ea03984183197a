"""Goal 8: how long another cell takes while a run trains, and while nothing does; the memory of the kernel after it."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from measure import FEWEST, Line, alternate, line, ratios, spread

CELLS, PAUSE = 150, 0.05  # of one figure; seconds between two: as quick as somebody may type, and less
RUN = (
    "run = %autotrain llm --trainer sft --batch-size 4 --max-samples 200 --epochs 100 --max-steps 5000 "
    "--sample-max-new-tokens 16 --eval-strategy steps --eval-steps 200 --save-strategy no --background"
)
FIRST = "import time\nwhile not run.record.step: time.sleep(0.1)"
MEMORY = "import os\nfrom nbtrain.runs import process\nprint(process.memory(os.getpid())[0])"


def measure() -> Iterator[Line]:
    """The 95th percentile of a cell's time; then the memory of the kernel."""
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    with tempfile.TemporaryDirectory() as place, Kernel(place) as kernel:
        kernel.run("%load_ext nbtrain")
        # what the first run brings once: the modules that draw, and ipywidgets' display
        kernel.run(RUN)
        kernel.run(FIRST)
        kernel.run("run.stop()\nrun.wait()")
        before = kernel.memory()
        idle = [kernel.latency() for _ in range(2 * FEWEST)]
        noise = spread(ratios(idle[::2], idle[1::2]))

        def training() -> float:
            kernel.run(RUN)
            kernel.run(FIRST)
            found = kernel.latency()
            kernel.run("run.stop()\nrun.wait()")
            return found

        busy, still = alternate(training, kernel.latency, FEWEST)
        kernel.run("del run")
        after = kernel.memory()
    given = {"unit": "ms", "target": "<= 1.5", "spread": noise}
    yield line("8 another cell's p95, in training / idle", busy, still, **given)
    yield line(
        "8 kernel's memory, after three runs / before", [after], [before], unit="MB", target="<= 1.05", spread=0.0
    )


class Kernel:
    """A kernel of its own, as a front end has it."""

    def __init__(self, place: str) -> None:
        from jupyter_client.manager import start_new_kernel

        self._manager, self._client = start_new_kernel(cwd=place)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: Any) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def run(self, code: str) -> str:
        """What a cell prints.

        Raises:
            RuntimeError: it failed.
        """
        told: list[str] = []
        hook = lambda message: told.append(message["content"].get("text", ""))  # noqa: E731
        answer = self._client.execute_interactive(code, timeout=300, output_hook=hook)
        if answer["content"]["status"] != "ok":
            raise RuntimeError(f"{code}: {answer['content'].get('evalue')}")
        return "".join(told)

    def latency(self) -> float:
        """Milliseconds that 95 of 100 cells take at most, from the request to the answer."""
        taken = []
        for _ in range(CELLS):
            begin = time.perf_counter()
            self.run("1 + 1")
            taken.append(1e3 * (time.perf_counter() - begin))
            time.sleep(PAUSE)
        return statistics.quantiles(taken, n=20)[-1]

    def memory(self) -> float:
        """MB that it holds."""
        return int(self.run(MEMORY)) / 1e6
