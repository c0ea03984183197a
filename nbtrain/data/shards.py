"""What a split is read from, row by row: files, a data set on the disk, or one of the hub."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nbtrain.data import arrows, formats, read
from nbtrain.data.decoding import Numbered, Row, Unreadable
from nbtrain.data.places import Fault
from nbtrain.errors import DataError

if TYPE_CHECKING:
    from datasets import IterableDataset

_CHARACTERS = 16 << 20  # of first rows, where they are long
_LISTED = 5


@dataclass(frozen=True)
class Shard:
    """One file of a split, or whatever else gives numbered rows from its beginning.

    unit: what its rows are called. start: of how many rows of the split it comes behind. held: numbers of its rows that
    are not trained on. rows: how many it had when all were read, those that cannot be read with them; None: not known.
    """

    name: str
    unit: str
    read: Callable[[], Numbered]
    start: int = 0
    held: frozenset[int] = frozenset()
    rows: int | None = None


class Drawn(NamedTuple):
    """A row as it is read. at: its number in the split, from 0. place: where it stands, in words. size: characters."""

    at: int
    place: tuple[str, str, int]
    row: Row | Unreadable
    size: int


class Source:
    """What a split is read from.

    content: files, a data set that is mapped, or one of the hub that is read from there. name: of it, in words.
    shards: none where it is of the hub.
    """

    def __init__(self, content: Any, name: str) -> None:
        self.shards: list[Shard] = []
        self.content, self.schema = content, None
        if isinstance(content, Sequence):
            alike = len({path.name for path in content}) < len(content)
            self.shards = [_file(path, str(path) if alike else path.name) for path in content]
            self.schema = _schema(content[0])
        elif content.features is not None:
            self.schema = content.features.arrow_schema
        if hasattr(content, "num_rows"):
            self.shards = [Shard(name, "row", partial(_of_dataset, content))]
        self.name = name

    def looked(self, shards: Sequence[Shard], held: frozenset[int], limit: int | None) -> Iterator[Drawn]:
        """The rows in the order of the split, those left out that are held out; see `opened`."""
        if shards:  # datasets' own iteration loads torch, which a look at rows does without
            rows: Any = islice((row for shard in shards for _, row in _numbered([shard])), limit)
        else:
            rows = self.opened(shards, (), held, limit)
        return (row["drawn"] for row in rows if row["drawn"] is not None)

    def opened(
        self, shards: Sequence[Shard], order: Sequence[int], held: frozenset[int], limit: int | None
    ) -> IterableDataset:
        """The rows, each as {"drawn": Drawn}, None for one that is held out; with a state that can be gone on from.

        Args:
            order: of the shards.
            held: numbers of the rows of the hub that are held out.
            limit: rows at most.
        """
        if shards:
            rows = _shards_of([shards[at] for at in order])
        else:
            # what is made of a data set shares its state with it
            rows = copy.deepcopy(self.content).map(partial(_of_hub, self.name, held), with_indices=True)
        return rows if limit is None else rows.take(limit)

    def first(self, limit: int) -> tuple[list[Drawn], list[Fault]]:
        """The first rows that can be read, and which cannot."""
        rows, faults, size = list[Drawn](), list[Fault](), 0
        for drawn in self.looked(self.shards, frozenset(), None):
            if isinstance(drawn.row, Unreadable):
                read.refuse_many(faults, drawn.place[0])
                faults.append(fault(drawn.row, *drawn.place))
            elif is_text(drawn.row):
                rows.append(drawn)
                size += drawn.size
            if len(rows) >= limit or size >= _CHARACTERS:
                break
        if not rows:
            raise nothing(self.name, faults)
        return rows, faults

    def table(self, rows: Sequence[Any]) -> Any:
        """Some rows as a data set in memory."""
        from datasets import Dataset

        return Dataset(arrows.table(rows, self.schema))


def _shards_of(shards: Sequence[Shard]) -> IterableDataset:
    """The rows of some shards in this order, each as {"drawn": Drawn}; None for one that is held out."""
    import datasets
    from datasets.iterable_dataset import ExamplesIterable

    # IterableDataset.from_generator would pickle the shards for a fingerprint, and make a folder for its cache
    return datasets.IterableDataset(ExamplesIterable(_numbered, {"shards": list(shards)}))


def _numbered(shards: Sequence[Shard]) -> Iterator[tuple[str, dict[str, Drawn | None]]]:
    shard, count, at = shards[0], 0, shards[0].start
    for number, row, size in shard.read():
        count += 1
        if number in shard.held:
            yield "", {"drawn": None}
            continue
        yield "", {"drawn": Drawn(at, (shard.name, shard.unit, number), row, size)}
        at += not isinstance(row, Unreadable)
    if shard.rows is not None and shard.rows != count:
        what = f"{shard.name} has {count:,} rows now, and had {shard.rows:,} when this run looked at them."
        raise DataError(what, where=shard.name, fix="Put the file back as it was, or resume the run: it looks again.")


def _file(path: Path, name: str) -> Shard:
    form = formats.FORMATS[formats.suffix(path)]
    return Shard(name, form.unit, partial(_of_file, path))


def _of_file(path: Path) -> Numbered:
    reader, number = formats.FORMATS[formats.suffix(path)].read, 0
    try:
        with read.told_in_words(path):
            for number, row, size in _by_row(reader(path)) if reader in formats.BY_COLUMN else reader(path):  # noqa: B007
                yield number, row, size
    except DataError as error:
        error.where = f"{error.where}, after {formats.FORMATS[formats.suffix(path)].unit} {number}"
        raise


def _by_row(batches: Any) -> Numbered:
    number = 0
    for batch in batches:
        size = batch.nbytes // max(batch.num_rows, 1)
        for number, row in enumerate(batch.to_pylist(), start=number + 1):  # noqa: B020
            yield number, row, size


def _of_dataset(rows: Any) -> Numbered:
    return ((number, row, _size(row)) for number, row in enumerate(rows, start=1))


def _of_hub(name: str, held: frozenset[int], row: Row, at: int) -> dict[str, Drawn | None]:
    return {"drawn": None if at in held else Drawn(at, (name, "row", at + 1), row, _size(row))}


def _size(row: Row) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, (str, bytes, list)))


def _schema(path: Path) -> Any:
    """The columns of a file that says what they are; None of one that does not."""
    if formats.FORMATS[formats.suffix(path)].read not in formats.BY_COLUMN:
        return None
    with read.told_in_words(path):
        batch = next(formats.FORMATS[formats.suffix(path)].read(path), None)
    return None if batch is None else arrows.plain(batch.slice(0, 0)).schema


def is_text(row: Row) -> bool:
    """Whether a row can be held: no text of it has half a surrogate pair, which is told when the row is judged."""
    try:
        arrows.table([row])
    except UnicodeEncodeError:
        return False
    return True


def fault(row: Unreadable, name: str, unit: str, number: int) -> Fault:
    """What is wrong with a row that cannot be read. unit: what the rows of `name` are called."""
    return Fault("train", number, "", row.reason, row.fix, f"{name} {unit} {number}")


def nothing(name: str, faults: Sequence[Fault]) -> DataError:
    """The error for a split of which no row can be read."""
    listed = "\n".join(map(str, faults[:_LISTED]))
    fix = faults[0].fix if faults else "Give data that has some."
    return DataError(f"{name}: there is not one row that can be read.", where=listed, fix=fix)
