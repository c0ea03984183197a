"""Rows that live in the user's notebook: recognised without an import, stored as files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nbtrain.errors import DataError

_FRAMES = {
    "pandas": ("DataFrame",),
    "polars": ("DataFrame", "LazyFrame"),
    "pyarrow": ("Table", "RecordBatch"),
    "datasets": ("Dataset", "DatasetDict", "IterableDataset"),
}


class Frame(NamedTuple):
    """A variable that holds rows. type: as a user would call it. rows: None where counting would cost work."""

    name: str
    type: str
    rows: int | None
    columns: tuple[str, ...]


def kind(value: Any) -> str:
    """'pandas.DataFrame' and the like; 'rows', 'columns' or 'splits' for plain lists and dicts; '' for all else."""
    for base in type(value).__mro__:
        package = base.__module__.partition(".")[0]
        if base.__name__ in _FRAMES.get(package, ()):
            return f"{package}.{base.__name__}"
    if isinstance(value, (list, tuple)):
        return "rows" if value and all(isinstance(row, dict) for row in value[:100]) else ""
    if isinstance(value, dict) and value and all(isinstance(key, str) for key in value):
        contents = list(value.values())
        if all(kind(content) for content in contents):
            return "splits"
        lists = all(isinstance(content, (list, tuple)) for content in contents)
        return "columns" if lists and len({len(content) for content in contents}) == 1 and contents[0] else ""
    return ""


def is_rows(value: Any) -> bool:
    """Whether `materialise` can store it: a frame, a table, a Dataset, rows, columns, or splits of those."""
    return bool(kind(value))


def frames(namespace: Mapping[str, Any]) -> list[Frame]:
    """The variables that hold rows, by name. Nothing is imported and no row is read."""
    names = (name for name in namespace if not name.startswith("_") and name not in ("In", "Out"))
    found = ((name, namespace[name], kind(namespace[name])) for name in sorted(names))
    return [Frame(name, what, *_shape(value, what)) for name, value, what in found if what]


def _shape(value: Any, what: str) -> tuple[int | None, tuple[str, ...]]:
    if what in ("splits", "datasets.DatasetDict"):
        shapes = [_shape(part, kind(part)) for part in value.values()]
        counts = [rows for rows, _ in shapes if rows is not None]
        return sum(counts) if len(counts) == len(shapes) else None, shapes[0][1] if shapes else ()
    if what == "rows":
        return len(value), tuple(value[0])
    if what == "columns":
        return len(next(iter(value.values()))), tuple(value)
    if what in ("polars.LazyFrame", "datasets.IterableDataset"):
        return None, tuple(getattr(value, "column_names", None) or ()) if what.startswith("datasets") else ()
    if what == "pyarrow.Table" or what == "pyarrow.RecordBatch":
        return value.num_rows, tuple(value.schema.names)
    names = value.column_names if what == "datasets.Dataset" else value.columns
    return len(value), tuple(map(str, names))


def placed(source: Any, cache: Path) -> tuple[str, str]:
    """Where the rows of --data-path lie, and how they are called; '' where the place says it.

    Args:
        source: a place, or rows, which are stored in `cache`.
    """
    if isinstance(source, str):
        return source, ""
    return str(materialise(source, cache, "value")), f"{kind(source)} of the notebook"


def materialise(value: Any, folder: Path, name: str) -> Path:
    """Store rows of the notebook as Parquet.

    Args:
        value: for which `is_rows` is true.
        folder: is made where it is not there.
        name: of the file, without ending; splits become a folder of that name with a file for each.

    Returns:
        The file or folder, to be read as any other.

    Raises:
        DataError: no rows, or values that cannot be stored.
    """
    folder = Path(folder)
    what = kind(value)
    if what in ("splits", "datasets.DatasetDict"):
        for split, part in value.items():
            materialise(part, folder / name, os.path.basename(split))
        return folder / name
    if not what:
        given = type(value).__name__
        known = "a DataFrame (pandas, polars), a pyarrow Table, a Dataset, a list of dicts, a dict of lists"
        raise DataError(f"Data is {known}, or a dict of splits of these; found {given}.", fix="Give one of them.")
    folder.mkdir(parents=True, exist_ok=True)
    making = folder / f"{name}.parquet.{os.getpid()}"
    try:
        _write(value, what, making)
        making.replace(folder / f"{name}.parquet")
    except DataError:
        raise
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        why = str(error).strip().split("\n")[0]
        fix = "Give columns of text, numbers, lists or dicts."
        raise DataError(f"{name}: this {what} cannot be stored as rows.", why=why, fix=fix) from None
    finally:
        making.unlink(missing_ok=True)
        making.with_suffix(".arrow").unlink(missing_ok=True)
    return folder / f"{name}.parquet"


@contextmanager
def _without_bars() -> Iterator[None]:
    """No progress bars of datasets inside: one would be a second output of the cell, and a widget that is not saved."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _write(value: Any, what: str, path: Path) -> None:
    """The rows as Parquet; only a value of datasets needs datasets."""
    import pyarrow as pa
    from pyarrow import parquet

    from nbtrain.data.arrows import Writer

    if what.startswith("datasets."):
        if what == "datasets.Dataset" and not len(value):
            raise DataError("The Dataset has no rows.")
        with _without_bars():
            value.to_parquet(str(path))
        return
    rows = path.with_suffix(".arrow")
    with Writer(rows) as writer:
        for batch in _batches(value, what):
            writer.rows(batch) if isinstance(batch, list) else writer.batch(batch)
    if not writer.count:
        raise DataError(f"The {what} has no rows.", fix="Give data that has some.")
    with pa.memory_map(str(rows)) as source, pa.ipc.open_stream(source) as batches:
        with parquet.ParquetWriter(path, batches.schema) as file:
            for batch in batches:
                file.write_batch(batch)


def _batches(value: Any, what: str) -> Iterator[Any]:
    """Arrow batches where the library has them, else lists of dicts."""
    if what == "pandas.DataFrame":
        yield from _pandas_batches(value)
    elif what == "polars.LazyFrame":
        yield from value.collect().to_arrow().to_batches(max_chunksize=1_000)
    elif what == "polars.DataFrame":
        yield from value.to_arrow().to_batches(max_chunksize=1_000)
    elif what == "pyarrow.Table":
        yield from value.to_batches(max_chunksize=1_000)
    elif what == "pyarrow.RecordBatch":
        yield value
    elif what == "rows":
        strange = next((at for at, row in enumerate(value, start=1) if not isinstance(row, dict)), None)
        if strange:
            raise DataError(f"Row {strange} is not a dict, found {type(value[strange - 1]).__name__}.")
        yield from (list(value[at : at + 1_000]) for at in range(0, len(value), 1_000))
    else:
        names = list(value)
        for at in range(0, len(value[names[0]]), 1_000):
            columns = (value[name][at : at + 1_000] for name in names)
            yield [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _pandas_batches(frame: Any) -> Iterator[Any]:
    from nbtrain.data.arrows import refuse_twins

    pandas, pa = sys.modules["pandas"], __import__("pyarrow")
    names = [str(name) for name in frame.columns]
    refuse_twins(names)
    for at in range(0, len(frame), 1_000):
        part = frame.iloc[at : at + 1_000].set_axis(names, axis=1)
        try:
            # a frame that was joined holds texts in several pieces, which only a table takes
            table = pa.Table.from_pandas(part, preserve_index=False).replace_schema_metadata(None)
            yield from table.combine_chunks().to_batches()
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            # an object column with values of several types
            plain = part.astype(object)
            yield plain.where(pandas.notna(plain), None).to_dict("records")
