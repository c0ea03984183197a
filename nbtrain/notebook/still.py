"""A run as plain text: for pages that show no HTML, and for those who read without one."""

from __future__ import annotations

from nbtrain.notebook.summary import summarise
from nbtrain.runs.curve import Curves, sparkline
from nbtrain.runs.record import Record
from nbtrain.runs.status import Status


def text(record: Record, status: Status | None = None, *, curves: Curves | None = None) -> str:
    """The numbers of a run in plain text, with the curve as one line."""
    curves = (curves or Curves()).update(record)
    told = summarise(record, status, None, curves)
    lines = [" · ".join(part for part in (told.name, told.kind, told.state, told.stage) if part)]
    lines += [f"{name}: {value}" for name, value in told.outcome]
    lines.append(" · ".join(f"{name} {value}" for name, value in told.tiles))
    lines.append(told.sentence)
    drawn = sparkline(curves.loss)
    lines += [drawn] if drawn else []
    if told.rows:
        table = [told.head, *told.rows]
        widths = [max(len(row[column]) for row in table) for column in range(len(told.head))]
        lines += [
            "",
            *("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table),
        ]
    return "\n".join(lines)
