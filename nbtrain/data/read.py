"""A source as a training and a validation split, memory-mapped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.data import formats, sources
from nbtrain.data.arrows import Writer
from nbtrain.data.decoding import Numbered, Row, Unreadable
from nbtrain.data.pages import let_go
from nbtrain.data.places import Fault, Places, Span
from nbtrain.data.values import frames, is_rows, materialise, placed
from nbtrain.errors import DataError, NbtrainError

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Splits", "frames", "is_rows", "materialise", "read"]

_ROWS = 1_000  # rows held at once ...
_CHARACTERS = 8 << 20  # ... or fewer, where they are long
_UNREADABLE = 10_000  # rows; with more of them a file is not what its name says
_VERSION = 1  # of what is written to the cache; raised when reading changes


@dataclass(frozen=True)
class Splits:
    """The rows to train on and to evaluate on.

    valid: None where nothing is held out. origin: the source in words. faults: rows of the source that could not be
    read; they are in neither split. places: split to where its rows stand in the source.
    """

    train: Dataset
    valid: Dataset | None
    origin: str
    notices: list[str] = field(default_factory=list)
    faults: tuple[Fault, ...] = ()
    places: Mapping[str, Places] = field(default_factory=dict)

    def items(self) -> Iterator[tuple[str, Dataset, Places]]:
        """(name, rows, places) of each split there is."""
        for name, rows in (("train", self.train), ("valid", self.valid)):
            if rows is not None:
                yield name, rows, self.places.get(name, Places())


@dataclass(frozen=True)
class _Part:
    """One split of a source, or a choice of its rows."""

    rows: Dataset
    places: Places
    faults: tuple[Fault, ...] = ()

    def choose(self, rows: Any) -> _Part:
        # by itself, datasets pickles the numbers for a name, several times their size
        name = hashlib.sha256(self.rows._fingerprint.encode())
        name.update(rows)
        return _Part(
            self.rows.select(rows, new_fingerprint=name.hexdigest()[:16]), self.places.choose(rows), self.faults
        )


def read(
    params: Any,
    cache: Path,
    *,
    found: sources.Found | None = None,
    by: Callable[[Dataset], Sequence[Any]] | None = None,
) -> Splits:
    """Read what `params.data_path` names.

    Cells of CSV and workbooks are text as they stand. Rows that cannot be read (a bad line) do not end the reading:
    they are told in `Splits.faults`, and `check` ends the run or lists them, as --on-bad-rows says.

    Args:
        params: with the fields of the blocks Data and Basic, and `token` where there is one.
        cache: folder for Arrow files; one that is there already is used again while its source is the same.
        found: the source, where a room has found it in a way of its own.
        by: gives the class of each row; what is held out then has the same shares of them, and each class keeps a row
            to train on.

    Raises:
        DataError: nothing there, nothing readable in it, no such split, or no rows.
    """
    streams = getattr(params, "stream", False)
    found = found or _found(params, cache, streams)
    if streams:
        from nbtrain.data import survey  # it reads by what stands here

        return survey.streamed(params, found)
    notices = list(found.notices)
    train = _open(found, params.train_split, "--train-split", cache)
    train = _limited(train, params, "train", notices)
    valid, name = None, found.held_out(params)
    if name:
        valid = _limited(_open(found, name, "--valid-split", cache), params, name, notices)
        if not params.valid_split:
            notices.append(f"Evaluated on the split {name}, which the data has.")
    elif params.valid_fraction > 0:
        train, valid = _held_out(train, params, notices, by)
    faults = [dataclasses.replace(fault, split="train") for fault in train.faults]
    if valid is not None and name:
        faults += [dataclasses.replace(fault, split="valid") for fault in valid.faults]
    places = {"train": train.places} | ({"valid": valid.places} if valid else {})
    return Splits(train.rows, valid.rows if valid else None, found.origin, notices, tuple(faults), places)


def _found(params: Any, cache: Path, streams: bool) -> sources.Found:
    source, called = placed(params.data_path, cache)
    token, room = getattr(params, "token", None), getattr(params, "room", "")
    found = sources.find(source, cache, token, room=room, streams=streams)
    return dataclasses.replace(found, origin=called) if called else found


def _limited(part: _Part, params: Any, name: str, notices: list[str]) -> _Part:
    if params.max_samples is None or params.max_samples >= len(part.rows):
        return part
    notices.append(f"{params.max_samples:,} of {len(part.rows):,} rows of {name} are used (--max-samples).")
    return part.choose(chosen(len(part.rows), params.max_samples, params.seed))


def _held_out(
    part: _Part, params: Any, notices: list[str], by: Callable[[Dataset], Sequence[Any]] | None
) -> tuple[_Part, _Part | None]:
    import numpy

    total = len(part.rows)
    if total < 2:
        notices.append("There is one row: nothing can be held out, so nothing is evaluated.")
        return part, None
    count = min(max(1, round(total * params.valid_fraction)), total - 1)
    out = _by_class(by(part.rows), count, params.seed) if by else chosen(total, count, params.seed)
    count = len(out)
    if not count:
        notices.append("No class has a second row: nothing can be held out, so nothing is evaluated.")
        return part, None
    rest = numpy.ones(total, dtype=bool)
    rest[out] = False
    share = f"--valid-fraction {params.valid_fraction:g}, seed {params.seed}"
    notices.append(f"{count:,} of {total:,} rows are held out to evaluate on ({share}).")
    return part.choose(numpy.flatnonzero(rest)), part.choose(out)


def _by_class(classes: Sequence[Any], count: int, seed: int) -> Any:
    """At most `count` rows, of each class its share, in their order; the first of each class is not among them."""
    import numpy

    _, codes = numpy.unique(numpy.asarray(classes, dtype=str), return_inverse=True)
    shuffled = numpy.random.default_rng(seed).permutation(len(codes))
    grouped = shuffled[numpy.argsort(codes[shuffled], kind="stable")]
    spare = grouped[numpy.append(False, codes[grouped][1:] == codes[grouped][:-1])]
    count = min(count, len(spare))
    # evenly spaced over the classes: each gives its share, to within a row
    return numpy.sort(spare[(numpy.arange(count) * len(spare)) // max(count, 1)])


def chosen(total: int, count: int, seed: int) -> Any:
    """Numbers of `count` of `total` rows, in their order."""
    import numpy

    return numpy.sort(numpy.random.default_rng(seed).choice(total, count, replace=False))


def _open(found: sources.Found, name: str, flag: str, cache: Path) -> _Part:
    content = found.split(name, flag)
    part = _stored(content, cache) if isinstance(content, Sequence) else _Part(content, Places())
    if not len(part.rows):
        raise DataError(f"The split {name} of {found.origin} has no rows.", fix="Give data that has some.")
    return part


def _stored(files: Sequence[Path], cache: Path) -> _Part:
    """The rows of some files as one Arrow file in the cache."""
    from datasets import Dataset

    known = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = hashlib.sha256(repr((_VERSION, known)).encode()).hexdigest()[:16]
    target, story = cache / f"rows-{key}.arrow", cache / f"rows-{key}.json"
    if not (target.exists() and story.exists()):
        places, faults = _convert(files, target)
        # last, so that rows without their story are written again
        story.write_text(json.dumps([places.spans, [dataclasses.astuple(fault) for fault in faults]]))
    spans, told = json.loads(story.read_text())
    faults = tuple(Fault(*fault) for fault in told)
    if not target.exists():
        raise _nothing(files, faults)
    rows = Dataset.from_file(str(target))
    let_go(rows)
    return _Part(rows, Places([Span(*span) for span in spans]), faults)


def _nothing(files: Sequence[Path], faults: Sequence[Fault]) -> DataError:
    names = ", ".join(path.name for path in files[:3])
    if faults:
        listed = "\n".join(map(str, faults[:5]))
        return DataError(f"{names}: not one row can be read.", where=listed, fix=faults[0].fix)
    empty = all(path.stat().st_size == 0 for path in files)
    why = "the file is empty" if empty else "it may have a header and nothing below it"
    return DataError(f"{names} has no rows.", where=str(files[0]), why=why, fix="Give data that has some.")


def _convert(files: Sequence[Path], target: Path) -> tuple[Places, list[Fault]]:
    places, faults = Places(), list[Fault]()
    with Writer(target) as writer:
        for path in files:
            form = formats.FORMATS[formats.suffix(path)]
            with told_in_words(path):
                if form.read in formats.BY_COLUMN:
                    places.add(writer.count, path.name, 1, form.unit)
                    for batch in form.read(path):
                        writer.batch(batch)
                else:
                    for batch in _batches(form.read(path)):
                        _store(batch, writer, path.name, form.unit, (places, faults))
    return places, faults


def _batches(rows: Numbered) -> Iterator[list[tuple[int, Any]]]:
    batch, size = [], 0
    for number, row, characters in rows:
        batch.append((number, row))
        size += characters
        if len(batch) >= _ROWS or size >= _CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _store(
    batch: list[tuple[int, Any]], writer: Writer, file: str, unit: str, told: tuple[Places, list[Fault]]
) -> None:
    """Write the rows of a batch that can be read, and tell of the others."""
    places, faults = told
    good = [(number, row) for number, row in batch if not isinstance(row, Unreadable)]
    bad = [(number, row) for number, row in batch if isinstance(row, Unreadable)]
    start = writer.count
    try:
        if good:
            writer.rows([row for _, row in good])
    except UnicodeEncodeError:
        broken = Unreadable("bytes or characters that are no text", "Save the file as UTF-8, or mend the row.")
        bad = sorted([*bad, *((number, broken) for number, row in good if not _is_text(row))], key=lambda item: item[0])
        good = [(number, row) for number, row in good if _is_text(row)]
        if good:
            writer.rows([row for _, row in good])
    for offset, (number, _) in enumerate(good):
        places.add(start + offset, file, number, unit)
    faults += [Fault("", number, "", row.reason, row.fix, f"{file} {unit} {number}") for number, row in bad]
    refuse_many(faults, file)


def refuse_many(faults: Sequence[Fault], file: str) -> None:
    """Raise a DataError where so many rows cannot be read that the file is none of its kind."""
    if len(faults) > _UNREADABLE:
        what = f"{file}: more than {_UNREADABLE:,} rows cannot be read; it is not what its name says."
        raise DataError(what, where=str(faults[0]), fix="Look at its first lines.")


def _is_text(row: Row) -> bool:
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def told_in_words(path: Path) -> Iterator[None]:
    """What a reader raises as a DataError that names the file."""
    try:
        yield
    except DataError as error:
        if error.where:
            raise
        raise DataError(error.what, where=str(path), why=error.why, fix=error.fix) from None
    except (NbtrainError, MemoryError):
        raise
    except (EOFError, zlib.error) as error:
        what = f"{path.name} breaks off: the file is not whole."
        raise DataError(what, where=str(path), why=str(error), fix="Copy or pack it again.") from None
    except Exception as error:
        # Arrow, openpyxl, zipfile and the XML below them each have errors of their own
        why = f"{type(error).__name__}: {error}".split("\n")[0]
        what = f"{path.name} cannot be read: it is damaged, cut off, or not what its name says."
        raise DataError(what, where=str(path), why=why, fix="Copy it again, or save it in another format.") from None
