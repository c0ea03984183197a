"""A source as pandas frames, read without torch and without datasets: pandas and pyarrow are all that a table needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.data import formats, sources
from nbtrain.data.decoding import Unreadable
from nbtrain.data.places import Fault, Places
from nbtrain.data.read import told_in_words
from nbtrain.data.values import placed
from nbtrain.errors import DataError, MissingExtra, nearest

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Part:
    """The rows of one split. faults: rows that could not be read; they are not in `frame`."""

    frame: pandas.DataFrame
    places: Places = field(default_factory=Places)
    faults: tuple[Fault, ...] = ()

    def choose(self, rows: Any) -> Part:
        """These rows, in this order, numbered from 0."""
        return Part(self.frame.iloc[rows].reset_index(drop=True), self.places.choose(rows), self.faults)


@dataclass(frozen=True)
class Tables:
    """What was read. valid: None where the source has no such split."""

    train: Part
    valid: Part | None
    origin: str
    notices: list[str]


def read(params: Any, cache: Path) -> Tables:
    """Read what `params.data_path` names.

    Args:
        params: with the fields of the blocks Data and Basic, and token.
        cache: where archives are extracted and variables stored.

    Raises:
        DataError: nothing there, nothing readable in it, no such split, or no rows.
        MissingExtra: a source that only datasets opens (the hub, a folder of save_to_disk), and it is not installed.
    """
    source, called = placed(params.data_path, cache)
    try:
        found = sources.find(source, cache, params.token, room=params.room)
        found = replace(found, origin=called) if called else found
    except ImportError:
        raise MissingExtra(f"Reading {source} needs datasets.", fix="pip install datasets, or give a file.") from None
    notices = list(found.notices)
    train = _limited(_open(found, params.train_split, "--train-split"), params, notices)
    name = params.valid_split or next((word for word in sources.VALID if word in found.splits), None)
    if name and name == params.train_split:
        what = f"--train-split and --valid-split are both {name!r}: the model would be measured on rows it learnt."
        raise DataError(what, fix="Name another split, or none: a part is held out then.")
    if name and not params.valid_split:
        notices.append(f"Measured on the split {name}, which the data has.")
    return Tables(train, _open(found, name, "--valid-split") if name else None, found.origin, notices)


def _limited(part: Part, params: Any, notices: list[str]) -> Part:
    import numpy

    total = len(part.frame)
    if params.max_samples is None or params.max_samples >= total:
        return part
    notices.append(f"{params.max_samples:,} of {total:,} rows are used (--max-samples).")
    chosen = numpy.random.default_rng(params.seed).choice(total, params.max_samples, replace=False)
    return part.choose(numpy.sort(chosen))


def _open(found: sources.Found, name: str, flag: str) -> Part:
    if name not in found.splits:
        what = f"{found.origin} has no split {name!r}; it has {', '.join(found.splits)}.{nearest(name, found.splits)}"
        raise DataError(what, fix=f"Set {flag} to one of them.")
    content = found.splits[name]
    part = _from_files(content) if isinstance(content, Sequence) else Part(content.to_pandas())
    if not len(part.frame):
        if part.faults:
            listed = "\n".join(map(str, part.faults[:5]))
            raise DataError(f"{found.origin}: not one row can be read.", where=listed, fix=part.faults[0].fix)
        raise DataError(f"The split {name} of {found.origin} has no rows.", fix="Give data that has some.")
    return part


def _from_files(files: Sequence[Path]) -> Part:
    import pandas

    frames, places, faults = [], Places(), list[Fault]()
    for path in files:
        form = formats.FORMATS[formats.suffix(path)]
        start = sum(map(len, frames))
        with told_in_words(path):
            if form.read in (formats.read_parquet, formats.read_arrow):
                frames.append(_from_arrow(form.read(path)))
                places.add(start, path.name, 1, form.unit)
                continue
            rows = []
            for number, row, _ in form.read(path):
                if isinstance(row, Unreadable):
                    faults.append(Fault("", number, "", row.reason, row.fix, f"{path.name} {form.unit} {number}"))
                else:
                    places.add(start + len(rows), path.name, number, form.unit)
                    rows.append(row)
            frames.append(pandas.DataFrame(rows))
    frame = frames[0] if len(frames) == 1 else pandas.concat(frames, ignore_index=True)
    return Part(frame, places, tuple(faults))


def _from_arrow(batches: Any) -> pandas.DataFrame:
    import pyarrow as pa

    from nbtrain.data.arrows import refuse_twins

    table = pa.Table.from_batches(batches)
    refuse_twins(table.column_names)
    # a column of several types is stored as JSON, each value as it was
    mixed = [item.name for item in table.schema if isinstance(item.type, pa.JsonType)]
    frame = table.to_pandas()
    for name in mixed:
        frame[name] = [None if value is None else json.loads(value) for value in frame[name]]
    return frame


def frame_of(rows: Any) -> pandas.DataFrame:
    """New rows as a frame: a frame, a dict, a list of dicts, or the path of a file.

    Raises:
        DataError: none of these, or a file that cannot be read.
    """
    import pandas

    if isinstance(rows, pandas.DataFrame):
        return rows
    if isinstance(rows, Mapping):
        return pandas.DataFrame([rows])
    if isinstance(rows, (str, Path)):
        path = Path(rows).expanduser()
        if not path.is_file() or not formats.suffix(path):
            raise DataError(f"{rows} is no file of rows.", fix="Give a csv, json, jsonl, parquet, arrow or xlsx file.")
        part = _from_files([path])
        if part.faults:
            raise DataError(f"{len(part.faults):,} rows cannot be read.", where=str(part.faults[0]))
        return part.frame
    if isinstance(rows, Sequence) and rows and all(isinstance(row, Mapping) for row in rows):
        return pandas.DataFrame(list(rows))
    raise DataError(
        f"Rows are a frame, dicts, or the path of a file; found {type(rows).__name__}.", fix="Give one of these."
    )
