"""What is predicted: which columns, as which classes or as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtrain.data.places import Fault, Places
from nbtrain.errors import DataError
from nbtrain.trainers.tabular import kinds

if TYPE_CHECKING:
    import numpy
    import pandas

USUAL = ("target", "label", "class", "y", "outcome")
DEMO = ["species"]  # the target of the built-in table
_CLASSES = 1_000  # more of them are no classes but names, or numbers to be predicted as such


@dataclass(frozen=True)
class Target:
    """A column to predict. classes: as in the data (text or whole numbers), sorted; () where numbers are predicted."""

    name: str
    classes: tuple[Any, ...] = ()

    @property
    def width(self) -> int:
        """Columns of a prediction: a probability a class, or one number."""
        return len(self.classes) or 1


@dataclass(frozen=True)
class Goal:
    """All that is predicted. kind: binary, multiclass, multilabel, regression or multitarget."""

    kind: str
    targets: tuple[Target, ...]

    @property
    def classifies(self) -> bool:
        """Whether classes are predicted, not numbers."""
        return bool(self.targets[0].classes)

    @property
    def width(self) -> int:
        """Columns of a prediction, of all targets together."""
        return sum(target.width for target in self.targets)

    def slices(self) -> list[slice]:
        """Where each target stands in a prediction."""
        ends = [0]
        for target in self.targets:
            ends.append(ends[-1] + target.width)
        return [slice(start, end) for start, end in zip(ends, ends[1:], strict=False)]

    def __str__(self) -> str:
        names = ", ".join(target.name for target in self.targets)
        if self.kind == "multiclass":
            return f"multiclass: {names} ({self.targets[0].width} classes)"
        return f"{self.kind}: {names}"


def target_names(frame: pandas.DataFrame, params: Any) -> list[str]:
    """The columns to predict: those named, or the one that is usually called so.

    Raises:
        DataError: there is no such column.
    """
    mapped = (params.column_mapping or {}).get("target")
    if "target_columns" in params.given() or mapped:
        return kinds.named(mapped or params.target_columns, frame, "--target-columns")
    if isinstance(params.data_path, str) and params.data_path == "demo":
        return DEMO
    lowered = {str(name).lower(): str(name) for name in frame.columns}
    found = next((lowered[name] for name in USUAL if name in lowered), None)
    return [found] if found else kinds.named(params.target_columns, frame, "--target-columns")


def goal(frame: pandas.DataFrame, names: Sequence[str], params: Any) -> Goal:
    """What these columns are to be predicted as.

    Raises:
        DataError: a target that has one value only, or more classes than can be learnt; numbers where classes are
            asked for; a label that is not yes or no among several.
    """
    if params.task == "regression":
        for name in names:
            _refuse_texts(frame[name])
        return Goal("regression" if len(names) == 1 else "multitarget", tuple(map(Target, names)))
    targets = tuple(Target(name, _classes(frame[name])) for name in names)
    if len(targets) == 1:
        return Goal("binary" if targets[0].width == 2 else "multiclass", targets)
    for target in targets:
        if target.width > 2:
            what = f"Several targets are labels, each yes or no; {target.name} has {target.width} classes."
            raise DataError(what, fix="Train a run for each target, or use --task regression for numbers.")
    return Goal("multilabel", targets)


def _refuse_texts(values: pandas.Series) -> None:
    texts = kinds.texts_of(values)
    numbers = kinds.numbers_of(values)
    present = texts != ""
    if not present.any():
        raise DataError(f"The target {values.name} is empty: every value is missing.")
    if numbers[present].notna().mean() < 0.5:
        example = texts[present].iloc[0][:40]
        what = f"The target {values.name} holds no numbers ({example!r}), and --task is regression."
        raise DataError(what, fix="Use --task classification.")
    if numbers.nunique() < 2:
        raise DataError(f"The target {values.name} has one value only: there is nothing to learn.")


def _classes(values: pandas.Series) -> tuple[Any, ...]:
    texts = kinds.texts_of(values)
    present = texts[texts != ""]
    distinct = present.unique()
    if len(distinct) < 2:
        found = f"only {distinct[0]!r}" if len(distinct) else "every value is missing"
        raise DataError(f"The target {values.name} has no two classes: {found}.", fix="Give rows of each class.")
    numbers = kinds.numbers_of(values).dropna()
    is_number = len(numbers) == len(present)
    fractions = is_number and bool((numbers % 1 != 0).any())
    many = len(distinct) > max(20, 0.2 * len(present))
    if is_number and (many or (fractions and len(distinct) > 20)):
        what = f"The target {values.name} holds {len(distinct):,} different numbers: that is a quantity, not a class."
        raise DataError(what, fix="Use --task regression.")
    if len(distinct) > _CLASSES or (len(distinct) > 20 and len(distinct) > 0.5 * len(present)):
        what = f"The target {values.name} has {len(distinct):,} classes in {len(present):,} rows: too few rows a class."
        raise DataError(what, fix="Name another target, or join classes.")
    if all(text.lstrip("-").isdigit() and str(int(text)) == text for text in distinct):
        return tuple(sorted(map(int, distinct)))
    return tuple(sorted(distinct))


def encoded(frame: pandas.DataFrame, goal: Goal) -> numpy.ndarray[Any, Any]:
    """The targets as numbers.

    Returns:
        (rows, targets) float64: the place of the class, or the value; NaN where it is missing or no known class.
    """
    import numpy

    found = []
    for target in goal.targets:
        if target.classes:
            place = {str(value): at for at, value in enumerate(target.classes)}
            found.append(kinds.texts_of(frame[target.name]).map(place).to_numpy(dtype="float64", na_value=numpy.nan))
        else:
            found.append(kinds.numbers_of(frame[target.name]).to_numpy())
    return numpy.column_stack(found)


def faults(frame: pandas.DataFrame, goal: Goal, split: str, places: Places) -> list[Fault]:
    """The rows whose target cannot be used."""
    import numpy

    values = encoded(frame, goal)
    texts = [kinds.texts_of(frame[target.name]) for target in goal.targets]
    found = []
    for row, at in zip(*numpy.nonzero(numpy.isnan(values)), strict=True):
        target, text = goal.targets[at], texts[at].iloc[row]
        number, place = places.find(int(row))
        reason = "the target is missing"
        if text:
            reason = f"{text[:40]!r} is {'no class of the training rows' if target.classes else 'no finite number'}"
        found.append(Fault(split, number, target.name, reason, "Fill it, or remove the row.", place))
    return found
