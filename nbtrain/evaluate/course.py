"""The curve of a run as a picture: for pages that show no HTML, and for its card."""

from __future__ import annotations

import io
from typing import Any

from nbtrain.plain import line, words
from nbtrain.runs.curve import Curves, series
from nbtrain.runs.record import Record

_COLOURS = 32  # of the picture: its lines, their edges and the letters need no more
_INCHES, _DOTS = (7.2, 3.0), 100
_TRAIN, _VALID, _INK = "#1a66b0", "#a84e06", "#333333"


def picture(record: Record, *, curves: Curves | None = None) -> bytes | None:
    """The curve as PNG on white, about 10 kB; None where matplotlib is missing or there is nothing to draw."""
    curves = (curves or Curves()).update(record)
    raw, smooth, valid = curves.loss.raw(), curves.loss.smooth(), curves.valid.raw()
    try:
        # never pyplot: its current figure and backend belong to the user
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    if not raw and not valid:
        return None
    figure = Figure(figsize=_INCHES, dpi=_DOTS, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    name = _drawable(words(series(record)))
    for strokes, look, label in (
        (raw, {"color": _TRAIN, "alpha": 0.38, "linewidth": 1}, "as logged"),
        (smooth, {"color": _TRAIN, "linewidth": 2}, f"training {name}, smoothed"),
        (
            valid,
            {"color": _VALID, "linewidth": 1.5, "marker": "D", "markersize": 4},
            f"validation {_drawable(words(curves.metric))}",
        ),
    ):
        for index, stroke in enumerate(strokes):
            axes.plot(*zip(*stroke, strict=True), label=label if index == 0 else None, **look)
    for change in record.by_hand:
        axes.axvline(change.step or 0, color=_INK, alpha=0.6, linewidth=1, linestyle="--")
    _dress(axes, record)
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return _fewer_colours(file.getvalue())


def _dress(axes: Any, record: Record) -> None:
    # each by name: the user's own matplotlib style, white on black perhaps, is not for this picture
    axes.set_facecolor("white")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#bbbbbb")
    axes.tick_params(colors=_INK, labelsize=9)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("step", color=_INK, fontsize=9)
    told = f"{record.started.name} · {record.state}" if record.started else record.state
    title = axes.set_title(_drawable(told), color=_INK, fontsize=10, loc="left")
    legend = axes.legend(fontsize=9, facecolor="white", edgecolor="none", labelcolor=_INK)
    for written in (title, *legend.get_texts()):
        written.set_parse_math(False)  # a dollar sign in a name would begin a formula


def _drawable(text: str) -> str:
    """In letters that matplotlib's own font has: for any other it warns, in the user's cell."""
    return line(text, 80).encode("latin-1", "replace").decode("latin-1")


def _fewer_colours(png: bytes) -> bytes:
    """The picture with a palette: a third of the size, so that a saved notebook stays small."""
    from PIL import Image

    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS).save(file, "PNG", optimize=True)
    return file.getvalue()
