"""A table judged before anything is trained: rows that cannot be used, columns that give the answer away, what is held
out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.data.places import Fault
from nbtrain.errors import DataError
from nbtrain.trainers.tabular import goals, kinds, reading
from nbtrain.trainers.tabular.goals import Goal
from nbtrain.trainers.tabular.kinds import Columns
from nbtrain.trainers.tabular.reading import Part

if TYPE_CHECKING:
    import numpy
    import pandas

_ROLES = ("target", "id")
_SHOWN = 5
_FEW = 2  # rows
_STRAIGHT = 0.99999  # correlation from which a feature is the target in other units


@dataclass(frozen=True)
class Judged:
    """A table that can be learnt from.

    train, valid: rows that can be used; valid is None where nothing is held out. columns: what is learnt from.
    faults: rows left out. leaks: columns that give a target away, each in words. notices: what the user should know.
    """

    goal: Goal
    columns: Columns
    train: Part
    valid: Part | None
    origin: str
    faults: tuple[Fault, ...]
    leaks: tuple[str, ...]
    notices: tuple[str, ...]

    def features(self, part: Part) -> pandas.DataFrame:
        """The rows as they are learnt from."""
        return kinds.typed(part.frame, self.columns.used)

    def targets(self, part: Part) -> numpy.ndarray[Any, Any]:
        """(rows, targets) float64; see `goals.encoded`."""
        return goals.encoded(part.frame, self.goal)

    def warnings(self) -> list[str]:
        """What the user should know before anything is trained."""
        told = [*self.columns.notices, *self.leaks, *self.notices]
        if self.columns.left_out:
            told.append("Left out: " + "; ".join(f"{name} ({why})" for name, why in self.columns.left_out.items()))
        if self.faults:
            told.append(f"{len(self.faults):,} rows cannot be used and are left out: {_listed(self.faults)}.")
        return told

    def lines(self) -> list[str]:
        """All that was found, for a screen."""
        counts = f"train {len(self.train.frame):,}" + (f", valid {len(self.valid.frame):,}" if self.valid else "")
        told = [f"Rows: {counts}, from {self.origin}. To predict: {self.goal}.", *self.columns.lines()]
        if self.goal.classifies:
            told += [_counts(self.train.frame, target.name) for target in self.goal.targets]
        told += [*self.leaks, *self.notices]
        return told + [f"  {fault}" for fault in self.faults[:_SHOWN]]


def judge(params: Any, cache: Path) -> Judged:
    """Read the table and judge it.

    Raises:
        DataError: it cannot be learnt from, or has rows that cannot be used and are not to be left out.
    """
    if strange := [role for role in params.column_mapping or {} if role not in _ROLES]:
        what = f"--column-mapping names the role {strange[0]!r}; roles of a table are {' and '.join(_ROLES)}."
        raise DataError(what, fix='Write {"target": "column"}.')
    tables = reading.read(params, cache)
    frame = tables.train.frame
    names = goals.target_names(frame, params)
    goal = goals.goal(frame, names, params)
    aside = [*names, *_id(frame, params, names)]
    train, faults = _usable(tables.train, goal, "train")
    valid, more = _usable(tables.valid, goal, "valid") if tables.valid else (None, [])
    faults += more
    if faults and params.on_bad_rows == "stop":
        total = len(frame) + len(tables.train.faults) + (len(tables.valid.frame) if tables.valid else 0)
        what = f"{len(faults):,} of {total:,} rows cannot be used."
        fix = "Mend them, or leave them out: --on-bad-rows skip."
        raise DataError(what, where="\n  ".join(f"{each}. {each.fix}" for each in faults[:_SHOWN]), fix=fix)
    columns = kinds.infer(train.frame, params, aside)
    notices = list(tables.notices)
    if valid is None and params.valid_fraction > 0:
        train, valid = _held_out(train, goal, params, notices)
    found = Judged(goal, columns, train, valid, tables.origin, tuple(faults), (), ())
    leaks = tuple(_leaks(found))
    return replace(found, leaks=leaks, notices=(*notices, *_twins(found), *_rare(found)))


def _id(frame: pandas.DataFrame, params: Any, targets: list[str]) -> list[str]:
    mapped = (params.column_mapping or {}).get("id")
    if mapped or "id_column" in params.given():
        return kinds.named([mapped or params.id_column], frame, "--id-column")
    return [params.id_column] if params.id_column in frame.columns and params.id_column not in targets else []


def _usable(part: Part, goal: Goal, split: str) -> tuple[Part, list[Fault]]:
    import numpy

    missing = [target.name for target in goal.targets if target.name not in part.frame.columns]
    if missing:
        raise DataError(f"The split {split} has no column {missing[0]!r}; both splits need the same columns.")
    faults = [replace(fault, split=split) for fault in part.faults] + goals.faults(part.frame, goal, split, part.places)
    good = ~numpy.isnan(goals.encoded(part.frame, goal)).any(axis=1)
    if not good.any():
        raise DataError(f"No row of {split} can be used.", where="\n  ".join(map(str, faults[:_SHOWN])))
    return (part if good.all() else part.choose(numpy.flatnonzero(good))), faults


def strata(targets: numpy.ndarray[Any, Any], goal: Goal, smallest: int = _FEW) -> numpy.ndarray[Any, Any] | None:
    """A class for each row, so that parts can have the same shares of each; None where they need not.

    Classes with fewer than `smallest` rows count as one.
    """
    import numpy

    if goal.kind not in ("binary", "multiclass"):
        return None
    classes = targets[:, 0].astype(int)
    counts = numpy.bincount(classes)
    classes = numpy.where(counts[classes] < smallest, -1, classes)
    return classes if numpy.unique(classes, return_counts=True)[1].min() >= smallest else None


def _held_out(part: Part, goal: Goal, params: Any, notices: list[str]) -> tuple[Part, Part | None]:
    import numpy
    from sklearn.model_selection import train_test_split

    total = len(part.frame)
    if total < 10:
        notices.append(f"There are {total} rows: nothing is held out, so nothing is measured.")
        return part, None
    groups = strata(goals.encoded(part.frame, goal), goal)
    count = max(1, round(total * params.valid_fraction))
    if groups is not None and min(count, total - count) < len(numpy.unique(groups)):
        groups = None  # fewer rows than classes cannot hold each
    train, valid = train_test_split(numpy.arange(total), test_size=count, random_state=params.seed, stratify=groups)
    share = f"--valid-fraction {params.valid_fraction:g}, seed {params.seed}"
    manner = ", with the same shares of each class" if groups is not None else ""
    notices.append(f"{count:,} of {total:,} rows are held out to measure{manner} ({share}).")
    return part.choose(numpy.sort(train)), part.choose(numpy.sort(valid))


def _leaks(found: Judged) -> Iterator[str]:
    """Columns from which a target can be read off."""
    features, targets = found.features(found.train), found.targets(found.train)
    for at, target in enumerate(found.goal.targets):
        for name in features.columns:
            why = _leak(features[name], targets[:, at], target.classes)
            if why:
                yield f"{name} gives {target.name} away: {why}. Leave it out unless it is known when you predict."


def _leak(feature: pandas.Series, target: numpy.ndarray[Any, Any], classes: tuple[Any, ...]) -> str:
    import numpy
    import pandas

    groups = pandas.Series(target).groupby(feature.to_numpy(), dropna=False)
    count, distinct = groups.ngroups, len(numpy.unique(target))
    if count < 2:
        return ""
    # a column whose values seldom repeat decides every row by chance
    decides = count <= 0.5 * len(target) and count >= distinct and (groups.nunique() == 1).all()
    if decides and distinct == count:
        return "each value of it stands for one value of the target"
    if decides:
        return "each value of it has one value of the target only"
    if not classes and feature.dtype.kind == "f" and feature.notna().sum() > _FEW:
        both = numpy.corrcoef(feature.to_numpy()[feature.notna()], target[feature.notna()])
        if abs(both[0, 1]) > _STRAIGHT:
            return f"it is the target in other units (correlation {both[0, 1]:.6f})"
    return ""


def _twins(found: Judged) -> Iterator[str]:
    """Rows that stand in both splits, and rows that repeat."""
    import numpy
    import pandas

    def prints(part: Part) -> Any:
        table = found.features(part)
        targets = {f"target {at + 1}": column for at, column in enumerate(found.targets(part).T)}
        return pandas.util.hash_pandas_object(table.assign(**targets), index=False).to_numpy()

    train = prints(found.train)
    repeated = len(train) - len(numpy.unique(train))
    if repeated:
        yield f"{repeated:,} rows of train repeat an earlier one."
    if found.valid is not None:
        shared = int(numpy.isin(prints(found.valid), train).sum())
        if shared:
            yield f"{shared:,} rows of valid are in train too: what is measured on them is memory."


def _rare(found: Judged) -> Iterator[str]:
    for target in found.goal.targets:
        if target.classes:
            counts = kinds.texts_of(found.train.frame[target.name]).value_counts()
            few = [f"{value} ({count})" for value, count in counts.items() if count < _FEW]
            if few:
                yield f"Classes of {target.name} with a single row cannot be learnt: {', '.join(few[:_SHOWN])}."


def _counts(frame: pandas.DataFrame, name: str) -> str:
    counts = kinds.texts_of(frame[name]).value_counts()
    shown = ", ".join(f"{value} {count:,}" for value, count in counts.head(12).items())
    return f"{name}: {shown}{', ...' * (len(counts) > 12)}."


def _listed(faults: tuple[Fault, ...]) -> str:
    return "; ".join(map(str, faults[:_SHOWN])) + "; ..." * (len(faults) > _SHOWN)
