"""Pictures of what a model does, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_NAMED = 40  # classes; the names of more cannot be read
_WRITTEN = 15  # classes; the counts of more cannot be read
_LONGEST = 24  # letters of a name


def confusion(table: Any, names: Sequence[str], path: Path) -> None:
    """(classes, classes) ints: what was expected down, what was said across; each row in shares of its sum."""
    count = len(names)
    side = min(3.5 + 0.3 * count, 16)
    figure, axes = _blank(side + 1, side)
    shares = table / table.sum(1, keepdims=True).clip(1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, shrink=0.7, label="share of the class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("expected")
    if count <= _NAMED:
        axes.set_xticks(range(count), [_short(name) for name in names], rotation=90)
        axes.set_yticks(range(count), [_short(name) for name in names])
    if count <= _WRITTEN:
        for (row, column), number in zip(_places(count), table.ravel(), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, int(number), ha="center", va="center", color=colour, fontsize=8)
    _save(figure, path)


def by_class(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A bar of the F1 of each class, the best above, with its rows."""
    ordered = sorted(rows, key=lambda row: row["f1"])[-_NAMED:]
    figure, axes = _blank(7, 1.2 + 0.24 * len(ordered))
    axes.barh(range(len(ordered)), [row["f1"] for row in ordered], color="#4c78a8")
    axes.set_yticks(range(len(ordered)), [f"{_short(row['label'])} ({row['rows']})" for row in ordered], fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_xlabel("F1 on held-out rows (rows)")
    _save(figure, path)


def residuals(expected: Any, predicted: Any, names: Sequence[str], path: Path) -> None:
    """For each target: predicted against expected, with the line on which both are equal.

    Args:
        expected, predicted: (rows, targets) floats.
    """
    figure, all_axes = _blank(4.2 * len(names), 4.2, len(names))
    for at, (axes, name) in enumerate(zip(all_axes if len(names) > 1 else [all_axes], names, strict=True)):
        one, other = expected[:, at], predicted[:, at]
        low, high = min(one.min(), other.min()), max(one.max(), other.max())
        axes.plot([low, high], [low, high], color="#999999", linewidth=1)
        axes.scatter(one, other, s=8, alpha=0.5, color="#4c78a8", linewidths=0)
        axes.set_xlabel(f"{_short(name)}, expected")
        axes.set_ylabel("predicted")
    _save(figure, path)


def curves(lines: Mapping[str, Sequence[float]], path: Path, axes_named: tuple[str, str]) -> None:
    """A line by name over 0 to 1, in equal steps; values from 0 to 1.

    Args:
        axes_named: across, and up.
    """
    figure, axes = _blank(6, 4.2)
    for name, values in list(lines.items())[:_WRITTEN]:
        axes.plot([at / (len(values) - 1) for at in range(len(values))], values, label=_short(name), linewidth=1.5)
    axes.set_xlabel(axes_named[0])
    axes.set_ylabel(axes_named[1])
    axes.set_ylim(0, 1.02)
    if lines:
        axes.legend(fontsize=8, frameon=False)
    _save(figure, path)


def _blank(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    # not by pyplot, which keeps every figure and chooses a window system
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _short(name: str) -> str:
    # a dollar sign would begin mathematics
    text = " ".join(str(name).split()).replace("$", "\\$")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _places(count: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(count) for column in range(count)]
