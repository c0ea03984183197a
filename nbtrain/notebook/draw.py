"""The live view as a page: one frame is one piece of HTML that stands alone, at most 30 kB whatever the run's length.

It has no script. With <svg> and <style> taken out, as GitHub does, every number still stands in a table.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from nbtrain.events import Sampled
from nbtrain.notebook.chart import chart
from nbtrain.notebook.curve import Curves
from nbtrain.notebook.html import Markup, fill, join
from nbtrain.notebook.still import picture, text
from nbtrain.notebook.summary import Summary, summarise
from nbtrain.notebook.theme import STYLE
from nbtrain.plain import line, number
from nbtrain.runs.record import Record
from nbtrain.runs.status import Status

__all__ = ["bundle", "frame", "picture", "text"]

_MARKS = {"running": "●", "starting": "○", "paused": "‖", "finished": "✓", "stopped": "■", "failed": "✕"}
_SAMPLES = 3  # of one event
_OLDER = 5  # events
_LONGEST, _LONGEST_OLDER = 500, 160  # characters of a sample's text
_NEWEST_BYTES, _OLDER_BYTES, _NOTICE_BYTES = 6000, 3000, 2500  # of HTML: an escaped character may take six
_NOTICES = 5


def frame(
    record: Record,
    status: Status | None = None,
    now: float | None = None,
    *,
    curves: Curves | None = None,
    name: str = "",
) -> Markup:
    """The view of a run at one moment, as HTML.

    Args:
        status: what status.json says, None where only the journal is at hand.
        now: seconds since 1970.
        curves: those of the last frame of the same record; with them a frame costs the same at any length.
        name: of the run, shown until its journal tells it.
    """
    curves = (curves or Curves()).update(record)
    told = summarise(record, status, now, curves)
    return fill(
        '<div class="nbtrain"><style>$style</style>$header$bar$outcome$tiles$chart$table$samples$notices</div>',
        style=_STYLE,
        header=_header(told, name),
        bar=_bar(told),
        outcome=_outcome(told),
        tiles=_tiles(told),
        chart=chart(curves, record, told.sentence),
        table=_table(told),
        samples=_samples(record),
        notices=_notices(record),
    )


def bundle(
    record: Record, status: Status | None = None, *, final: bool = False, curves: Curves | None = None, name: str = ""
) -> dict[str, Any]:
    """What a front end is given, by mime type. The last one of a run has a picture, for pages that show no HTML."""
    curves = curves or Curves()
    found: dict[str, Any] = {
        "text/html": str(frame(record, status, curves=curves, name=name)),
        "text/plain": text(record, status, curves=curves),
    }
    drawn = picture(record, curves=curves) if final else None
    if drawn is not None:
        found["image/png"] = base64.b64encode(drawn).decode()
    return found


_STYLE = fill(STYLE)


def _header(told: Summary, name: str) -> Markup:
    return fill(
        '<header><b>$name</b> <span class="muted">$kind</span> '
        '<span class="state $state"><i aria-hidden="true">$mark</i>$state</span> <span>$stage</span></header>$facts',
        state=told.state,
        mark=_MARKS.get(told.state, "●"),
        name=told.name or line(name, 80),
        kind=told.kind,
        stage=told.stage,
        facts=fill('<div class="muted">$facts</div>', facts=" · ".join(told.facts)) if told.facts else Markup(),
    )


def _bar(told: Summary) -> Markup:
    if told.done is None:
        return Markup()
    return fill(
        '<div class="bar" role="progressbar" aria-label="progress" aria-valuenow="$done">'
        '<div style="width:$done%"></div></div>',
        done=f"{100 * told.done:.4g}",
    )


def _outcome(told: Summary) -> Markup:
    if not told.outcome:
        return Markup()
    rows = (
        fill('<tr><th scope="row">$name</th><td>$text</td></tr>', name=name, text=text) for name, text in told.outcome
    )
    return fill('<div class="end $state"><table class="said">$rows</table></div>', state=told.state, rows=join(rows))


def _tiles(told: Summary) -> Markup:
    if not told.tiles:
        return Markup()
    names = join(fill('<th scope="col">$name</th>', name=name) for name, _ in told.tiles)
    values = join(fill("<td>$value</td>", value=value) for _, value in told.tiles)
    return fill('<table class="tiles"><tr>$names</tr><tr>$values</tr></table>', names=names, values=values)


def _table(told: Summary) -> Markup:
    if not told.rows:
        return Markup()
    head = join(fill('<th scope="col">$name</th>', name=name) for name in told.head)
    rows = (
        fill(
            '<tr class="$kind">$cells</tr>',
            kind=row[-1] if row[-1] == "best" else "",
            cells=join(fill("<td>$cell</td>", cell=cell) for cell in row),
        )
        for row in told.rows
    )
    return fill(
        '<table class="values"><thead><tr>$head</tr></thead><tbody>$rows</tbody></table>', head=head, rows=join(rows)
    )


def _samples(record: Record) -> Markup:
    """The newest samples, each beside what the model wrote before training; older ones folded away."""
    if not record.samples:
        return Markup()
    newest, *older = reversed(record.samples)
    base = next((event for event in record.samples if event.label == "base"), None)
    before = (
        {line(sample.get("prompt", "")): sample.get("output", "") for sample in base.samples}
        if base and base is not newest
        else {}
    )
    shown, left = _within(_NEWEST_BYTES, (_sample(sample, newest, before) for sample in newest.samples[:_SAMPLES]))
    parts = [fill("<h4>Samples at $when</h4>$shown", when=_when(newest), shown=shown)]
    left += max(len(newest.samples) - _SAMPLES, 0)
    if older:
        past, _ = _within(_OLDER_BYTES, (_older(event) for event in older[:_OLDER]))
        parts.append(
            fill(
                "<details><summary>$count</summary>$past</details>",
                count=_count(len(older), "earlier sampling"),
                past=past,
            )
        )
    if left:
        parts.append(fill('<div class="muted">$left more: run.samples</div>', left=number(left)))
    return join(parts)


def _sample(sample: Any, event: Sampled, before: dict[str, Any]) -> Markup:
    rows = [("prompt", sample.get("prompt", ""))]
    prompt = line(sample.get("prompt", ""))
    if prompt in before:
        rows.append(("before", before[prompt]))
    rows.append(("before" if event.label == "base" else "now", sample.get("output", "")))
    if sample.get("expected"):
        rows.append(("expected", sample["expected"]))
    made = (
        fill('<tr><th scope="row">$name</th><td>$text</td></tr>', name=name, text=_cut(text, _LONGEST))
        for name, text in rows
    )
    return fill('<table class="said">$rows</table>', rows=join(made))


def _older(event: Sampled) -> Markup:
    made = (
        fill(
            '<tr><th scope="row">$when</th><td>$prompt → $output</td></tr>',
            when=_when(event),
            prompt=_cut(sample.get("prompt", ""), _LONGEST_OLDER),
            output=_cut(sample.get("output", ""), _LONGEST_OLDER),
        )
        for sample in event.samples[:1]
    )
    return fill('<table class="said">$rows</table>', rows=join(made))


def _notices(record: Record) -> Markup:
    """The last few things that the run had to say, each once."""
    said = [(event.time, event.step, event.message) for event in record.notices]
    said += [
        (event.time, event.step, f"{event.name} is {number(event.new)}, was {number(event.old)}")
        for event in record.changes
    ]
    for event in record.resumed:
        differences = f": {'; '.join(event.differences)}" if event.differences else ""
        said.append((event.time, event.step, f"resumed from {event.checkpoint or 'the beginning'}{differences}"))
    told = dict.fromkeys(
        (f"step {step:,}: " if step else "") + line(message, 400)
        for _, step, message in sorted(said, key=lambda each: each[0])
    )
    if not told:
        return Markup()
    shown, _ = _within(_NOTICE_BYTES, (fill("<li>$text</li>", text=text) for text in list(told)[-_NOTICES:]))
    return fill("<h4>Notices</h4><ul>$shown</ul>", shown=shown)


def _within(size: int, parts: Iterable[Markup]) -> tuple[Markup, int]:
    """The first parts that take at most so many bytes, and how many were left out."""
    kept: list[Markup] = []
    found = list(parts)
    for part in found:
        size -= len(part.encode())
        if size < 0:
            break
        kept.append(part)
    return join(kept), len(found) - len(kept)


def _cut(value: object, longest: int) -> str:
    whole = str(value)
    return whole if len(whole) <= longest else f"{whole[:longest]}… ({len(whole) - longest:,} more characters)"


def _when(event: Sampled) -> str:
    return "the start, before training" if event.label == "base" else f"step {event.step or 0:,}"


def _count(amount: int, name: str) -> str:
    return f"{amount:,} {name}" + ("" if amount == 1 else "s")
