"""Execute notebooks into notebooks/_executed and look at what they leave.

    python scripts/run_notebooks.py [--quickstart] NOTEBOOK ...

Each runs in an empty folder of its own, notebooks/_executed/NAME.work, and is saved beside it. --quickstart also checks
what the first page promises: one picture of the run in three forms, a falling loss on held-out rows, and a script.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

EXECUTED = Path(__file__).resolve().parent.parent / "notebooks" / "_executed"
LARGEST = 60_000  # bytes of the outputs, a run: a notebook with more is slow to open, and its diff is unreadable
FORMS = {"text/html", "image/png", "text/plain"}


def execute(source: Path, timeout: int) -> Path:
    """Run one notebook; what it left is saved even if a cell failed.

    Returns:
        The executed notebook.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(source, as_version=4)
    work, saved = EXECUTED / f"{source.stem}.work", EXECUTED / source.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        NotebookClient(
            notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(work)}}
        ).execute()
    finally:
        nbformat.write(notebook, saved)
    return saved


def outputs(path: Path, word: str = "") -> list[dict[str, Any]]:
    """Every output of an executed notebook, or of those cells alone that hold `word`."""
    cells = (cell for cell in nbformat.read(path, as_version=4).cells if word in cell.source)
    return [each for cell in cells for each in cell.get("outputs", [])]


def faults_of_any(path: Path) -> list[str]:
    """What no executed notebook may have."""
    found = outputs(path)
    runs = sum("image/png" in each.get("data", {}) for each in found)
    size, most = len(json.dumps(found)), LARGEST * max(runs, 1)
    return [f"the outputs take {size} bytes, more than {most}"] if size > most else []


def faults_of_quickstart(path: Path) -> list[str]:
    """What the first page promises and does not keep."""
    found = []
    kept = [set(each.get("data", ())) for each in outputs(path, "%autotrain")]
    if kept != [FORMS]:
        found.append(f"the cell that trains keeps {len(kept)} outputs, not one of {', '.join(sorted(FORMS))}: {kept}")
    runs = sorted((path.parent / f"{path.stem}.work" / "runs").glob("*/report.json"))
    if not runs:
        return [*found, "no run was finished"]
    losses = [each["loss"] for each in json.loads(runs[0].read_text())["evaluations"]]
    if len(losses) < 2 or not losses[-1] < losses[0]:
        found.append(f"the loss on held-out rows did not fall: {losses}")
    if not (runs[0].parent / "train.py").is_file():
        found.append("no train.py was exported")
    return found


def main() -> int:
    """Run all that are named; 1 where one failed or broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--quickstart", action="store_true")
    parser.add_argument("--timeout", type=int, default=600, help="seconds a cell")
    asked = parser.parse_args()
    failed = 0
    for source in asked.notebooks:
        try:
            saved = execute(source, asked.timeout)
        except CellExecutionError as error:
            failed += 1
            print(f"{source}: a cell failed\n{error}")
            continue
        faults = faults_of_any(saved) + (faults_of_quickstart(saved) if asked.quickstart else [])
        failed += bool(faults)
        for fault in faults:
            print(f"{source}: {fault}")
        print(f"{source}: executed, see {os.path.relpath(saved)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
