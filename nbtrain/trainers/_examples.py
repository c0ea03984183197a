"""Which rows a saved model is measured on: those that its run held out, or others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nbtrain.data import check as judge
from nbtrain.data import read
from nbtrain.errors import RunError

_OTHERS = {"valid_split": None, "valid_fraction": 0.0, "max_samples": None, "stream": False}


def saying(kind: str) -> Callable[[Any], str]:
    """A room's `says`, where all of its models say the same kind of thing."""
    return lambda params: kind


def reading(params: Any, data: Any) -> Any:
    """The parameters with which the rows are read.

    Args:
        data: None for those that the run held out, else what --data-path takes; its training split is measured.
    """
    return params if data is None else params.but(data_path=data, **_OTHERS)


def judged(
    params: Any,
    data: Any,
    cache: Path,
    form_of: Callable[[read.Splits], Any],
    by: Callable[[Any], Sequence[Any]] | None = None,
) -> tuple[Any, Any]:
    """The rows that can be used, and how they are read.

    Args:
        data: as in `reading`. form_of: what was read to how its rows are read. by: as `read` takes it, where the run
            did.

    Raises:
        RunError: the run held nothing out. DataError: the rows cannot be used.
    """
    splits = read.read(reading(params, data), cache, by=by)
    form = form_of(splits)
    return usable(params, splits, form, data), form


def usable(params: Any, splits: read.Splits, form: judge.Form, data: Any) -> Any:
    """Of what was read, the rows that are measured, without those that cannot be used."""
    splits, _ = judge.check(splits, form, on_bad_rows=params.on_bad_rows)
    return kept(splits.train, splits.valid, data)


def kept(train: Any, valid: Any, data: Any) -> Any:
    """Of the two parts that were read, the one that is measured.

    Raises:
        RunError: the run held nothing out.
    """
    rows = valid if data is None else train
    if rows is None:
        raise RunError("the run held no rows out", fix="give rows: run.evaluate(data), or --eval-dataset-path")
    return rows


def labelled(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a room says of classes, with a list of labels where it says one."""
    return [{"labels": each.get("labels", [each.get("label")]), "scores": each["scores"]} for each in answers]


def numbered(answers: Sequence[Any]) -> list[list[float]]:
    """What a room says of numbers: of each row a list, also where there is one target."""
    return [list(each.values()) if isinstance(each, Mapping) else [each] for each in answers]
