"""The live view as a page: one frame is one piece of HTML that stands alone, at most 30 kB whatever the run's length.

It has no script. With <svg> and <style> taken out, as GitHub does, every number still stands in a table.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from nbtrain.evaluate.course import picture
from nbtrain.events import Sampled
from nbtrain.notebook import search
from nbtrain.notebook.chart import chart
from nbtrain.notebook.html import Markup, clip, fill, join
from nbtrain.notebook.still import text
from nbtrain.notebook.summary import Summary, summarise
from nbtrain.notebook.theme import STYLE
from nbtrain.plain import number, words
from nbtrain.runs.curve import Curves
from nbtrain.runs.record import Record
from nbtrain.runs.status import Status

__all__ = ["bundle", "frame", "picture", "text"]

_MARKS = {"running": "●", "starting": "○", "paused": "‖", "finished": "✓", "stopped": "■", "failed": "✕"}
_SAMPLES = 3  # of one event
_PARTS = 6  # of one sample
_OLDER = 5  # events
_NOTICES = 5
_LARGEST = 30_000  # bytes of a frame; pictures take what room the rest leaves
_JPEG = b"\xff\xd8\xff"  # how one begins
_PICTURE = 4_096  # letters of base64 of a sample's picture
_READ = 10_000  # characters of a text that are looked at; what is shown is far less
# bytes of HTML, each: with them the largest frame there can be stays under 30 kB
_NAME, _FACTS, _REASON, _TEXT, _TEXT_OLDER, _NOTICE = 160, 600, 700, 300, 150, 360


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
    # JupyterLab and nbconvert would set what stands between two dollar signs as mathematics, links of its own and all
    view = partial(
        fill,
        '<div class="nbtrain mathjax_ignore tex2jax_ignore"><style>$style</style>'
        "$header$bar$outcome$tiles$chart$others$table$samples$notices</div>",
        style=_STYLE,
        header=_header(told, name),
        bar=_bar(told),
        outcome=_outcome(told),
        tiles=_tiles(told),
        chart=search.drawn(record, told.sentence) if record.trials else chart(curves, record, told.sentence),
        others=_others(told),
        table=_table(told),
        notices=_notices(record),
    )
    plain = view(samples=_samples(record))
    room = _LARGEST - len(plain.encode())
    return view(samples=_samples(record, room)) if _pictured(record) else plain


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
        name=clip(told.name or name, _NAME),
        kind=clip(told.kind, _NAME),
        stage=clip(told.stage, _NAME),
        facts=fill('<div class="muted">$facts</div>', facts=clip(" · ".join(told.facts), _FACTS))
        if told.facts
        else Markup(),
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
    said = _said((name, clip(text, _REASON)) for name, text in told.outcome)
    return fill('<div class="end $state">$said</div>', state=told.state, said=said)


def _tiles(told: Summary) -> Markup:
    if not told.tiles:
        return Markup()
    names = join(fill('<th scope="col">$name</th>', name=name) for name, _ in told.tiles)
    values = join(fill("<td>$value</td>", value=value) for _, value in told.tiles)
    return fill('<table class="tiles"><tr>$names</tr><tr>$values</tr></table>', names=names, values=values)


def _others(told: Summary) -> Markup:
    """What is logged beside the curve, each in a row; its course is said by the two figures, too."""
    if not told.others:
        return Markup()
    rows = join(
        fill(
            '<tr><th scope="row">$name</th><td>$first</td><td>$last</td><td aria-hidden="true">$course</td></tr>',
            name=name, first=first, last=last, course=course,
        )
        for name, first, last, course in told.others
    )  # fmt: skip
    head = fill('<tr><th scope="col">value</th><th scope="col">first</th><th scope="col">now</th><td></td></tr>')
    return fill('<table class="values"><thead>$head</thead><tbody>$rows</tbody></table>', head=head, rows=rows)


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


def _samples(record: Record, room: int = 0) -> Markup:
    """The newest samples, each beside what the model wrote before training; older ones folded away.

    Args:
        room: bytes that their pictures may take together.
    """
    if not record.samples:
        return Markup()
    newest, *older = reversed(record.samples)
    base = next((event for event in record.samples if event.label == "base"), newest)
    first = {str(sample.get("prompt", "")): sample.get("output", "") for sample in base.samples if base is not newest}
    pieces = []
    for sample in newest.samples[:_SAMPLES]:
        said, picture = _sample(sample, newest, first), _picture(sample)
        beside = fill('<div class="pictured">$picture$said</div>', picture=picture, said=said)
        pictured = bool(picture) and (added := len(beside.encode()) - len(said.encode())) <= room
        room -= added if pictured else 0
        pieces.append(beside if pictured else said)
    shown = join(pieces)
    parts = [fill("<h4>Samples at $when</h4>$shown", when=_when(newest), shown=shown)]
    if len(newest.samples) > _SAMPLES:
        left = len(newest.samples) - _SAMPLES
        parts.append(fill('<div class="muted">$left more: run.samples</div>', left=number(left)))
    if older:
        past, count = join(map(_older, older[:_OLDER])), f"earlier samples: {len(older):,}"
        parts.append(fill("<details><summary>$count</summary>$past</details>", count=count, past=past))
    return join(parts)


def _sample(sample: Mapping[str, Any], event: Sampled, first: Mapping[str, Any]) -> Markup:
    prompt = str(sample.get("prompt", ""))
    rows: list[tuple[str, Any]] = []
    parts = [(name, value) for name, value in sample.items() if name not in ("picture", "alt")]
    for name, value in parts[:_PARTS]:
        if name == "output":
            rows += [("before", first[prompt])] if prompt in first else []
            rows.append(("before" if event.label == "base" else "now", value))
        elif value not in (None, ""):
            rows.append((words(name), value))
    return _said((name, clip(_dense(value), _TEXT)) for name, value in rows)


def _pictured(record: Record) -> bool:
    return bool(record.samples) and any("picture" in sample for sample in record.samples[-1].samples)


def _picture(sample: Mapping[str, Any]) -> Markup:
    """The picture of a sample, a JPEG in base64; nothing where it is something else."""
    letters = sample.get("picture")
    if not isinstance(letters, str) or not 0 < len(letters) <= _PICTURE:
        return Markup()
    try:
        data = base64.b64decode(letters, validate=True)
    except binascii.Error:
        return Markup()
    if not data.startswith(_JPEG):
        return Markup()
    alt = clip(sample.get("alt") or "a picture", _NAME)
    return fill('<img src="data:image/jpeg;base64,$letters" alt="$alt"/>', letters=letters, alt=alt)


def _older(event: Sampled) -> Markup:
    """The first sample of an earlier time, in one row: what was asked and what was said."""
    said = ([clip(_dense(value), _TEXT_OLDER) for value in list(each.values())[:2]] for each in event.samples[:1])
    return _said((_when(event), join([part[0], *(fill(" → $it", it=it) for it in part[1:])])) for part in said if part)


def _dense(text: object) -> str:
    """Without empty lines: a young model writes many."""
    return re.sub(r"\s*\n\s*\n", "\n", str(text)[:_READ].strip()) + str(text)[_READ:]


def _said(rows: Iterable[tuple[str, Markup]]) -> Markup:
    made = join(fill('<tr><th scope="row">$name</th><td>$text</td></tr>', name=name, text=text) for name, text in rows)
    return fill('<table class="said">$made</table>', made=made)


def _notices(record: Record) -> Markup:
    """The last few things that the run had to say, each once."""
    said = [(event.time, event.step, event.message) for event in record.notices]
    said += [
        (each.time, each.step, f"{each.name} is {number(each.new)}, was {number(each.old)}") for each in record.changes
    ]
    for event in record.resumed:
        differences = f": {'; '.join(event.differences)}" if event.differences else ""
        said.append((event.time, event.step, f"resumed from {event.checkpoint or 'the beginning'}{differences}"))
    said.sort(key=lambda each: each[0])
    told = dict.fromkeys((f"step {step:,}: " if step else "") + message for _, step, message in said)
    if not told:
        return Markup()
    shown = join(fill("<li>$text</li>", text=clip(text, _NOTICE)) for text in list(told)[-_NOTICES:])
    return fill("<h4>Notices</h4><ul>$shown</ul>", shown=shown)


def _when(event: Sampled) -> str:
    return "the start, before training" if event.label == "base" else f"step {event.step or 0:,}"
