"""Write docs/parameters.md: every parameter of every room, as `--help` tells it."""

from __future__ import annotations

from pathlib import Path

from nbtrain import trainers
from nbtrain.params.help import help_text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "parameters.md"
HEAD = "# Parameters\n\nWritten by `make docs`. The names are the same on a line, in a cell, for the CLI and in Python."


def page() -> str:
    """The whole page: a heading and a help text a room."""
    rooms = (f"## {room}\n\n```text\n{help_text(trainers.load(room).Params)}\n```" for room in trainers.names())
    return "\n\n".join([HEAD, *rooms]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
