"""Answers as pages: what a verb found, drawn for the cell; its lines stand beside it for pages that show no HTML."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbtrain.answers import Answer
from nbtrain.answers.chat import Pair, Said
from nbtrain.answers.check import Checked
from nbtrain.answers.compare import Comparison
from nbtrain.answers.plan import Plan, size
from nbtrain.answers.rates import Rates
from nbtrain.answers.runs import HEAD, Listing
from nbtrain.notebook import checked, talk
from nbtrain.notebook.html import Markup, clip, fill, join
from nbtrain.notebook.live import cell
from nbtrain.notebook.pieces import header, listing, page, sentence, small_curve, table
from nbtrain.notebook.plot import LOOKS, Across, Line, plot
from nbtrain.notebook.shapes import ticks
from nbtrain.plain import number, visible

if TYPE_CHECKING:
    from nbtrain.verbs import Question

_SETTING, _ANSWER = 400, 1200  # bytes of HTML
_PACE, _SHARE = 0.5, 20  # seconds between two drawings of what grows, and times what one cost
_BAR = 640  # pixels
_ABOVE = 0.6  # of the fall of the loss: what is higher than where it began by more is cut off


def bundle(answer: Answer) -> dict[str, Any]:
    """What a front end is given, by mime type."""
    told: dict[str, Any] = {"text/plain": visible(answer)}
    draw = _DRAWN.get(type(answer))
    return told | ({"text/html": str(draw(answer))} if draw else {})


def _runs(found: Listing) -> Markup:
    if not found.runs:
        return page(sentence(f"no runs in {found.place}"))
    rows = [
        (*each.cells(), small_curve(each.curve, f"course of the loss of {each.name}"))
        for each in found.runs
    ]  # fmt: skip
    return page(table(HEAD, rows), listing(found.more()))


def _comparison(found: Comparison) -> Markup:
    sides = found.sides
    names = [side.name for side in sides]
    most = max((side.record.step for side in sides), default=0) or 1
    lines = [
        Line(side.name, side.curve.smooth(), at, [point for stroke in side.valid.raw() for point in stroke][-40:])
        for at, side in enumerate(sides)
    ]
    values = sorted({side.value for side in sides})
    labelled = [(step, number(int(step))) for step in ticks(0, most, 7, whole=True)]
    told = f"{' and '.join(values)} over steps, one line a run. {found.sentence()}"
    picture = plot(lines, Across(0, most, labelled, "step"), title=" and ".join(values), sentence=told)
    parts = [header("Comparison", " · ".join(dict.fromkeys(side.kind for side in sides)))]
    drawn = f"Lines: {' and '.join(values)} in training, smoothed; diamonds: on held-out rows."
    parts += [picture, fill('<div class="muted">$drawn</div>', drawn=drawn), sentence(found.sentence())]
    parts += [table(("", *names), found.results())]
    if found.settings:
        rows = [(name, *(clip(value, _SETTING) for value in values)) for name, values in found.settings]
        parts += [fill("<h4>What they were asked that differs</h4>"), table(("", *names), rows)]
    else:
        parts.append(sentence("They were asked the same."))
    for prompt, said in found.prompts:
        rows = [(name, clip(text, _ANSWER)) for name, text in zip(names, said, strict=True)]
        parts += [fill("<h4>$prompt</h4>", prompt=prompt), table((), rows, kind="said")]
    return page(*parts)


def _rates(found: Rates) -> Markup:
    means, places = found.means, [math.log10(rate) for rate in found.rates]
    begin, end = places[0], max(places[-1], places[0] + 1e-9)
    lowest, settled = min(means), means[min(len(means) - 1, len(means) // 10)]
    signs = [(math.log10(rate), f"{name} {rate:.1e}") for name, rate in found.suggestions().items()]
    if begin <= math.log10(found.given) <= end:
        signs.append((math.log10(found.given), f"--lr {found.given:.1e}"))
    labelled = [(float(power), f"1e{power}") for power in range(math.ceil(begin), math.floor(end) + 1)]
    across = Across(begin, end, labelled, "learning rate, each step a factor higher", signs)
    lines = [
        Line("as it was", [list(zip(places, found.losses, strict=True))], faint=True),
        Line("loss, smoothed", [list(zip(places, means, strict=True))]),
    ]
    drawn = plot(
        lines,
        across,
        title="loss over learning rates",
        sentence=found.sentence(),
        highest=settled + max(_ABOVE * (settled - lowest), 0.05 * abs(settled)),
    )
    rows = [(name, number(rate), f"--lr {rate:.1e}") for name, rate in found.suggestions().items()]
    told = table(("", "rate", "as it is typed"), rows) if rows else listing(found.lines()[-1:])
    return page(header("Learning rates", found.name), drawn, sentence(found.sentence()), told)


def _plan(found: Plan) -> Markup:
    memory, *others = found.tables()
    keyed = [memory[0], *((_keyed(at, name), amount) for at, (name, amount) in enumerate(memory[1:]))]
    tables = join(
        table((), [(fill("<b>$name</b>", name=name), fill("<b>$total</b>", total=total)), *rows])
        for (name, total), *rows in (keyed, *others)
    )
    parts = [
        header("Plan", f"{found.name} · {found.steps:,} steps on {found.device}"),
        fill('<div class="end $state"><b>$told</b></div>', state="" if found.fits else "failed", told=found.verdict()),
        listing(found.notes),
        _bar(found),
        fill('<div class="beside">$tables</div>', tables=tables),
    ]
    if found.changes:
        rows = [(each.flags, f"about {size(each.peak)}", each.costs) for each in found.changes]
        parts += [fill("<h4>What would make it smaller</h4>"), table(("", "memory", "costs"), rows)]
    return page(*parts)


def _keyed(at: int, name: str) -> Markup:
    """A name beside the colour that it has in the bar."""
    key = '<span aria-hidden="true" style="color:$colour">■</span> $name'
    return fill(key, colour=LOOKS[at % len(LOOKS)][0], name=name)


def _bar(found: Plan) -> Markup:
    """What holds the memory, as parts of a bar; the figures stand in the table below."""
    whole, x, parts = max(found.peak, found.free, 1), 0.0, []
    for at, (name, count) in enumerate(found.held.items()):
        wide = _BAR * count / whole
        parts.append(
            fill(
                '<rect x="$x" y="0" width="$wide" height="14" fill="$colour"><title>$told</title></rect>',
                x=f"{x:.1f}",
                wide=f"{max(wide - 1, 0.5):.1f}",
                colour=LOOKS[at % len(LOOKS)][0],
                told=f"{name}: {size(count)}",
            )
        )
        x += wide
    limit = _BAR * found.free / whole
    return fill(
        '<svg role="img" viewBox="0 -3 $width 20" width="$width"><title>$told</title>'
        '<rect x="0" y="0" width="$limit" height="14" fill="currentColor" fill-opacity=".12"/>$parts'
        '<path d="M$limit -3v20" stroke="currentColor" stroke-width="2"/></svg>',
        width=_BAR + 2,
        told=found.verdict(),
        limit=f"{limit:.1f}",
        parts=join(parts),
    )


def opens_a_field(question: Question) -> bool:
    """Whether `chat` without a question could open its field here; without widgets it is asked in the line."""
    from nbtrain import verbs

    if len(question.tokens) != 1 or cell() is None:
        return False
    try:
        talk.Talk(Pair(verbs.run_of(question.tokens, "chat", question.root)))
    except ImportError:
        return False
    return True


class Shown:
    """An answer in the cell that runs now: drawn again as it grows, and once when it is whole."""

    def __init__(self) -> None:
        self._show = cell()
        self._due, self._begun = 0.0, False

    def growing(self, answer: Answer) -> None:
        """What is known so far; drawn at most once a second or so."""
        now = time.monotonic()
        if self._show is not None and now >= self._due:
            self._draw(answer)
            self._due = now + max(_PACE, _SHARE * (time.monotonic() - now))

    def whole(self, answer: str | Answer) -> None:
        """All of it."""
        if isinstance(answer, str) or self._show is None:
            print(visible(answer))
        else:
            self._draw(answer)

    def _draw(self, answer: Answer) -> None:
        if self._show is not None:
            self._show(bundle(answer), self._begun)
            self._begun = True


_DRAWN: dict[type, Callable[[Any], Markup]] = {
    Checked: checked.drawn,
    Listing: _runs,
    Comparison: _comparison,
    Rates: _rates,
    Plan: _plan,
    Said: lambda found: page(talk.said(found)),
}
