"""What a finished model is like: what matters to it, how sure it may be, where it errs; as tables and as figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.trainers.tabular import scoring
from nbtrain.trainers.tabular.saving import Predictor

if TYPE_CHECKING:
    import numpy
    import pandas

    Array = numpy.ndarray[Any, Any]

_ROWS = 2_000  # that importances are measured on
_TIMES = 3  # each column is shuffled
_BINS = 10
_CLASSES = 30  # of a confusion matrix that can be read
_SHOWN = 4  # rows in the view
_POINTS = 3_000


def importances(
    predictor: Predictor, table: pandas.DataFrame, targets: Array, metric: str, seed: int
) -> dict[str, float]:
    """By how much the metric gets worse when a column is shuffled among the rows, the greatest first.

    Args:
        table: typed rows. targets: (rows, targets) of them.

    Source: Breiman 2001, Random forests, section 10; the mean of three shufflings.
    """
    import numpy

    chance = numpy.random.default_rng(seed)
    if len(table) > _ROWS:
        chosen = numpy.sort(chance.choice(len(table), _ROWS, replace=False))
        table, targets = table.iloc[chosen], targets[chosen]
    table = table.reset_index(drop=True)
    before = scoring.score(metric, predictor.goal, targets, predictor.of_table(table))
    sign = 1 if scoring.better(metric, 0.0, 1.0) else -1
    found = {}
    for column in predictor.columns:
        parts = [f"{column.name} {part}" for part in column.parts] or [column.name]
        drops = []
        for _ in range(_TIMES):
            order = chance.permutation(len(table))
            shuffled = table.assign(**{name: table[name].to_numpy()[order] for name in parts})
            after = scoring.score(metric, predictor.goal, targets, predictor.of_table(shuffled))
            drops.append(sign * (after - before))
        mean = float(numpy.mean(drops))
        found[column.name] = 0.0 if math.isnan(mean) else mean
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def tables(predictor: Predictor, targets: Array, guesses: Array) -> dict[str, Any]:
    """For each target its confusion matrix and calibration, or its residuals."""
    found: dict[str, Any] = {}
    for at, (target, where) in enumerate(zip(predictor.goal.targets, predictor.goal.slices(), strict=True)):
        mine = guesses[:, where]
        if target.classes:
            found[target.name] = {
                "classes": [str(value) for value in target.classes],
                "confusion": _confusion(targets[:, at], mine),
                "calibration": _calibration(targets[:, at], mine),
            }
        else:
            found[target.name] = _residuals(targets[:, at], mine[:, 0])
    return found


def _confusion(targets: Array, guesses: Array) -> list[list[int]]:
    """Rows: the true class; columns: the predicted one."""
    import numpy
    from sklearn.metrics import confusion_matrix

    found = confusion_matrix(targets.astype(int), guesses.argmax(axis=1), labels=numpy.arange(guesses.shape[1]))
    return [[int(count) for count in row] for row in found]


def _calibration(targets: Array, guesses: Array) -> list[dict[str, float]]:
    """For each tenth of what is said (of the second of two classes; else of the likeliest), how often it is true."""
    import numpy

    binary = guesses.shape[1] == 2
    said = guesses[:, 1] if binary else guesses.max(axis=1)
    true = targets == (1 if binary else guesses.argmax(axis=1))
    bins = numpy.minimum((said * _BINS).astype(int), _BINS - 1)
    return [
        {
            "said": float(said[bins == at].mean()),
            "true": float(true[bins == at].mean()),
            "rows": int((bins == at).sum()),
        }
        for at in range(_BINS)
        if (bins == at).any()
    ]


def _residuals(targets: Array, guesses: Array) -> dict[str, float]:
    """Of truth less prediction."""
    import numpy

    left = targets - guesses
    shares = {f"percentile_{share}": float(numpy.percentile(left, share)) for share in (1, 5, 25, 50, 75, 95, 99)}
    return {"mean": float(left.mean()), "deviation": float(left.std()), **shares}


def samples(
    predictor: Predictor, frame: pandas.DataFrame, targets: Array, guesses: Array, matters: Mapping[str, float]
) -> tuple[dict[str, str], ...]:
    """For the view: what matters, then the rows that the model is most wrong about."""
    import numpy

    goal = predictor.goal
    top = ", ".join(f"{name} {_short(value)}" for name, value in list(matters.items())[:6])
    told = [{"prompt": "what the model goes by (loss when shuffled)", "output": top}]
    wrong = numpy.zeros(len(targets))
    for at, (target, where) in enumerate(zip(goal.targets, goal.slices(), strict=True)):
        if target.classes:
            wrong += 1 - guesses[numpy.arange(len(guesses)), where.start + targets[:, at].astype(int)]
        else:
            wrong += abs(targets[:, at] - guesses[:, where.start]) / (targets[:, at].std() or 1.0)
    said = predictor.said(guesses)
    names = list(matters)[:5]
    for row in numpy.argsort(-wrong, kind="stable")[:_SHOWN]:
        shown = ", ".join(f"{name} {_short(frame[name].iloc[row])}" for name in names)
        truth = {
            target.name: target.classes[int(targets[row, at])] if target.classes else targets[row, at]
            for at, target in enumerate(goal.targets)
        }
        expected = ", ".join(_pair(name, value, truth) for name, value in truth.items())
        found = said[row] if isinstance(said[row], dict) else {goal.targets[0].name: said[row]}
        output = ", ".join(_pair(name, value, found) for name, value in found.items())
        told.append({"prompt": shown, "output": output, "expected": expected})
    return tuple(told)


def _pair(name: str, value: Any, among: Mapping[str, Any]) -> str:
    return f"{name} {_short(value)}" if len(among) > 1 else _short(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]


def draw(folder: Path, predictor: Predictor, report: Mapping[str, Any], targets: Array, guesses: Array) -> None:
    """The figures of a report: importances.png, and one a target."""
    folder.mkdir(exist_ok=True)
    top = list(report["importances"].items())[:20][::-1]
    figure, axes = _figure(height=1.2 + 0.26 * len(top))
    axes.barh([_label(name) for name, _ in top], [value for _, value in top])
    axes.set_xlabel(f"{report['metric']} lost when the column is shuffled")
    _store(figure, folder / "importances.png")
    for at, (target, where) in enumerate(zip(predictor.goal.targets, predictor.goal.slices(), strict=True)):
        many = f"-{at + 1}" if len(predictor.goal.targets) > 1 else ""
        if not target.classes:
            _draw_residuals(folder / f"residuals{many}.png", target.name, targets[:, at], guesses[:, where.start])
            continue
        table = report["targets"][target.name]
        _draw_calibration(folder / f"calibration{many}.png", target.name, table["calibration"])
        if len(target.classes) <= _CLASSES:
            _draw_confusion(folder / f"confusion{many}.png", target.name, table)


def _figure(height: float = 4.0) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), layout="constrained")
    return figure, figure.subplots()


def _store(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)


def _label(text: Any) -> str:
    # between dollars matplotlib reads mathematics
    return str(text)[:30].replace("$", r"\$")


def _draw_residuals(path: Path, name: str, targets: Array, guesses: Array) -> None:
    figure, axes = _figure()
    every = max(1, len(targets) // _POINTS)
    axes.scatter(guesses[::every], (targets - guesses)[::every], s=8, alpha=0.5)
    axes.axhline(0, color="grey", linewidth=1)
    axes.set(xlabel=f"predicted {_label(name)}", ylabel="truth less prediction")
    _store(figure, path)


def _draw_calibration(path: Path, name: str, table: list[dict[str, float]]) -> None:
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.plot([row["said"] for row in table], [row["true"] for row in table], marker="o")
    axes.set(
        xlabel=f"probability that was said ({_label(name)})", ylabel="share that was true", xlim=(0, 1), ylim=(0, 1)
    )
    _store(figure, path)


def _draw_confusion(path: Path, name: str, table: Mapping[str, Any]) -> None:
    import numpy

    counts, classes = numpy.array(table["confusion"]), [_label(value) for value in table["classes"]]
    figure, axes = _figure(height=2.4 + 0.3 * len(classes))
    shares = counts / numpy.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in numpy.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    places = range(len(classes))
    axes.set_xticks(places, classes, rotation=60, ha="right")
    axes.set_yticks(places, classes)
    axes.set(xlabel="predicted", ylabel=f"true {_label(name)}")
    _store(figure, path)
