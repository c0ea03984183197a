"""Pieces of pages: the frame round everything, tables, and the small curve of a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nbtrain.notebook.html import Markup, fill, join
from nbtrain.notebook.theme import STYLE
from nbtrain.runs.curve import Curve

_WIDE, _HIGH = 96, 20  # pixels of a small curve
_STYLE = fill(STYLE)


def page(*parts: Markup) -> Markup:
    """One piece of HTML that stands alone, with its style."""
    # JupyterLab and nbconvert would set what stands between two dollar signs as mathematics, links of its own and all
    return fill(
        '<div class="nbtrain mathjax_ignore tex2jax_ignore"><style>$style</style>$parts</div>',
        style=_STYLE,
        parts=join(parts),
    )


def header(name: str, kind: str = "") -> Markup:
    """What is shown, at the head of a page."""
    return fill('<header><b>$name</b> <span class="muted">$kind</span></header>', name=name, kind=kind)


def sentence(text: str) -> Markup:
    """A sentence by itself; nothing where there is none."""
    return fill("<div>$text</div>", text=text) if text else Markup()


def listing(texts: Iterable[object]) -> Markup:
    """Notes, one under the other; nothing where there are none."""
    items = join(fill("<li>$text</li>", text=text) for text in texts)
    return fill("<ul>$items</ul>", items=items) if items else Markup()


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, kind: str = "values") -> Markup:
    """A table; the first cell of a row names it.

    Args:
        head: "" where a column has no name.
        kind: values: figures, at the right; said: texts, at the left.
    """
    names = join(fill('<th scope="col">$name</th>', name=name) if name else fill("<td></td>") for name in head)
    body = join(
        fill(
            '<tr><th scope="row">$name</th>$cells</tr>',
            name=name,
            cells=join(fill("<td>$cell</td>", cell=cell) for cell in cells),
        )
        for name, *cells in rows
    )
    shown = fill("<thead><tr>$names</tr></thead>", names=names) if any(head) else Markup()
    return fill('<table class="$kind">$shown<tbody>$body</tbody></table>', kind=kind, shown=shown, body=body)


def small_curve(curve: Curve, told: str) -> Markup:
    """A curve as high as a line of text; nothing where it has no two points. told: what it is, for a reader."""
    strokes = curve.smooth()
    points = [point for stroke in strokes for point in stroke]
    if len(points) < 2:
        return Markup()
    (first, _), (last, _) = points[0], points[-1]
    low, high = min(value for _, value in points), max(value for _, value in points)
    drawn = "".join(
        "M"
        + " ".join(
            f"{_WIDE * (step - first) / ((last - first) or 1):.1f},"
            f"{1 + (_HIGH - 2) * (1 - (value - low) / ((high - low) or 1)):.1f}"
            for step, value in stroke
        )
        for stroke in strokes
    )
    return fill(
        '<svg role="img" viewBox="0 0 $wide $high" style="width:${wide}px;height:${high}px" fill="none">'
        '<title>$told</title><path d="$drawn" stroke="var(--train,#3b82c4)" stroke-width="1.5"/></svg>',
        wide=_WIDE,
        high=_HIGH,
        told=told,
        drawn=drawn,
    )
