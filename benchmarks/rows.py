"""A million rows: what the process that judges them holds at most, and one that trains on them as they are read."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from measure import Line, line

from nbtrain.data.sources import DEMO

FEW, MANY = 10_000, 1_000_000
JUDGED = """
from nbtrain.data import chat, check, read
params = LLMTrainingParams(trainer="sft", data_path=sys.argv[1], stream=sys.argv[2] == "stream")
splits = read.read(params, Path("cache"))
check.check(splits, chat.recognise(splits.train))
"""
TRAINED = """
from nbtrain.run import train_here
quiet = {"eval_strategy": "no", "save_strategy": "no", "sample_max_new_tokens": 1, "max_steps": 20}
run = train_here(LLMTrainingParams(trainer="sft", data_path=sys.argv[1], stream=True, **quiet))
assert run.status == "finished", run.error
"""
MEASURED = "import resource, sys\nfrom pathlib import Path\nfrom nbtrain import LLMTrainingParams\n{code}\n"
MEASURED += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"


def measure() -> Iterator[Line]:
    """Peak memory with a million rows, beside that with ten thousand."""
    with tempfile.TemporaryDirectory(prefix="nbtrain-rows-") as place:
        few, many = (_written(Path(place), count) for count in (FEW, MANY))
        for way in ("mapped", "stream"):
            peaks = [_peak(JUDGED, path, way) for path in (many, few)]
            yield _told(f"rows judged, {way}, 10^6 / 10^4", peaks, "<=250 MB")
        yield _told("rows streamed in training, 10^6 / 10^4", [_peak(TRAINED, path, "") for path in (many, few)], "1.0")


def _told(goal: str, peaks: list[float], target: str) -> Line:
    return line(goal, [peaks[0]], [peaks[1]], unit="MB", target=target, spread=0.0)


def _written(place: Path, count: int) -> Path:
    """So many rows: those of the demo again and again, each with a number of its own."""
    path = place / f"{count}.jsonl"
    chats = [json.loads(text)["messages"] for text in DEMO.read_text(encoding="utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as file:
        for number, (asked, *rest) in enumerate(islice(cycle(chats), count)):
            turns = [{**asked, "content": f"{asked['content']} ({number})"}, *rest]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


def _peak(code: str, path: Path, way: str) -> float:
    """MB that a process of its own held at most."""
    words = [sys.executable, "-c", MEASURED.format(code=code), str(path), way]
    with tempfile.TemporaryDirectory(prefix="nbtrain-rows-") as place:
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])
