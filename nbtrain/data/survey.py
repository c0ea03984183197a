"""Rows that are streamed, looked at before they are trained on: how many, which are held out, how they are written."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nbtrain.data import read, sources
from nbtrain.data.decoding import Row, Unreadable
from nbtrain.data.places import Fault, Places
from nbtrain.data.shards import Drawn, Shard, Source, fault, is_text, nothing
from nbtrain.data.stream import Stream
from nbtrain.errors import DataError

if TYPE_CHECKING:
    from datasets import IterableDataset

HEAD = 2_000  # first rows, to see how they are written and to show some
HELD = 1_000  # rows held out of those that are streamed
VALID = 10_000  # rows of a split that is named to evaluate on
_CHARACTERS = 8 << 20  # of the first rows, and of those that are
_HELD_CHARACTERS = 64 << 20  # held out, where they are long


def streamed(params: Any, found: sources.Found) -> read.Splits:
    """The splits of a source whose rows are read as they are needed.

    The rows to evaluate on are held in memory: the first of a split, or up to 1,000 of those that would be trained on.
    Local rows are all looked at, once; with --no-judge-first, and of the hub, only the first ones.

    Raises:
        DataError: as `read`; nothing can be known of the steps of a run that does not see its rows before.
    """
    notices, name = list(found.notices), found.held_out(params)
    train, valid, where = found.split(params.train_split, "--train-split"), None, Places()
    faults: list[Fault] = []
    if name:
        source = Source(found.split(name, "--valid-split"), name)
        rows, faults = source.first(params.max_samples or VALID)
        valid, where = source.table([each.row for each in rows]), _places(rows)
        notices.append(f"Evaluated on {name}, of which no more than {VALID:,} rows are read: {len(rows):,}.")
    share = 0.0 if name else params.valid_fraction
    source = Source(train, found.origin)
    if source.shards and params.judge_first:
        splits = _seen(source, params, share, notices)
    elif params.max_steps > 0:
        splits = _as_they_come(source, params, share, notices)
    else:
        why = "the rows are not read before they are trained on, so nobody knows how many steps an epoch has"
        raise DataError("A stream needs --max-steps.", why=why, fix="Say how long to train: --max-steps N.")
    if valid is not None:
        places, told = {**splits.places, "valid": where}, (replace(each, split="valid") for each in faults)
        splits = replace(splits, valid=valid, places=places, faults=(*splits.faults, *told))
    return replace(splits, origin=found.origin, notices=notices)


def _places(rows: Sequence[Drawn]) -> Places:
    places = Places()
    for at, drawn in enumerate(rows):
        name, unit, number = drawn.place
        places.add(at, name, number, unit)
    return places


class _Lot:
    """Rows drawn by lot, each as likely as another: those with the highest of as many random numbers as there are rows.

    most: how many; fewer, where they are long.
    """

    def __init__(self, most: int) -> None:
        self.most, self.size = most, 0
        self.rows: list[tuple[float, int, int, int, int, Row]] = []  # as `offer` takes it

    def offer(self, number: float, at: int, shard: int, place: int, size: int, row: Row) -> None:
        """A row with its random number, its number among all rows, its shard and number there, and its characters."""
        if not self.most or (len(self.rows) >= self.most and number < self.rows[0][0]) or not is_text(row):
            return
        heapq.heappush(self.rows, (number, at, shard, place, size, row))
        self.size += size
        while len(self.rows) > self.most or (self.size > _HELD_CHARACTERS and len(self.rows) > 1):
            self.size -= heapq.heappop(self.rows)[4]
            self.most = min(self.most, len(self.rows))


@dataclass
class _Seen:
    """What a look at all rows of a split finds.

    rows: those that can be read; counts: by shard, the others with them; starts: by shard, those before it.
    """

    lot: _Lot

    rows: int = 0
    head: list[Row] = field(default_factory=list)
    places: Places = field(default_factory=Places)
    faults: list[Fault] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)


def _look(shards: Sequence[Shard], params: Any, lot: _Lot) -> _Seen:
    """Read all rows, in memory that does not grow with their number."""
    seen, chance, size = _Seen(lot), random.Random(params.seed), 0
    most = params.max_samples or float("inf")
    for at, shard in enumerate(shards):
        seen.starts.append(seen.rows)
        seen.counts.append(0)
        for number, row, characters in shard.read() if seen.rows < most else ():
            seen.counts[at] += 1
            drawn = chance.random()
            if isinstance(row, Unreadable):
                read.refuse_many(seen.faults, shard.name)
                seen.faults.append(fault(row, shard.name, shard.unit, number))
                continue
            if len(seen.head) < HEAD and size < _CHARACTERS:
                seen.head.append(row)
                size += characters
            seen.places.add(seen.rows, shard.name, number, shard.unit)
            lot.offer(drawn, seen.rows, at, number, characters, row)
            seen.rows += 1
            if seen.rows >= most:
                break
    return seen


def _seen(source: Source, params: Any, share: float, notices: list[str]) -> read.Splits:
    """The splits of rows that are all looked at."""
    seen = _look(source.shards, params, _Lot(HELD if share else 0))
    if not seen.rows:
        raise nothing(source.name, seen.faults)
    count = min(max(1, round(seen.rows * share)), seen.rows - 1, HELD) if share else 0
    held = sorted(sorted(seen.lot.rows, reverse=True)[:count], key=lambda row: row[1])
    out = [row[1] for row in held]
    shards = [
        replace(
            shard,
            start=start - bisect_left(out, start),
            rows=None if params.max_samples else rows,
            held=frozenset(row[3] for row in held if row[2] == at),
        )
        for at, (shard, start, rows) in enumerate(zip(source.shards, seen.starts, seen.counts, strict=True))
    ]
    if share:
        named = f"--valid-fraction {params.valid_fraction:g}, of a stream {HELD:,} at most, seed {params.seed}"
        notices.append(f"{len(held):,} of {seen.rows:,} rows are held out to evaluate on ({named}).")
    limit = None if params.max_samples is None else sum(seen.counts)
    if limit is not None:
        notices.append(f"The first {seen.rows:,} rows are used (--max-samples).")
    rest = set(out)
    head = [row for at, row in enumerate(seen.head) if at not in rest and is_text(row)]
    stream = Stream(
        _Rows(source, shards, params.seed, limit),
        source.table(head or [seen.head[0]]),
        params.seed,
        whole=True,
        count=seen.rows - len(held),
    )
    places = {"train": seen.places.without(out), "valid": seen.places.choose(out)}
    valid = source.table([row[5] for row in held]) if held else None
    return read.Splits(stream, valid, "", notices, tuple(seen.faults), places)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Rows:
    """What a `Stream` reads from. fixed: whether the shards keep their order."""

    source: Source
    shards: Sequence[Shard]
    seed: int
    limit: int | None = None
    held: frozenset[int] = frozenset()
    fixed: bool = False

    def looked(self) -> Iterator[Drawn]:
        """The rows in the order of the split."""
        return self.source.looked(self.shards, self.held, self.limit)

    def opened(self, number: int) -> IterableDataset:
        """The rows of a pass, its shards in an order of its own; where only the first count, in that of the split."""
        import numpy

        order: Any = range(len(self.shards))
        if self.limit is None and not self.fixed:
            order = numpy.random.default_rng((self.seed, number)).permutation(len(self.shards))
        return self.source.opened(self.shards, order, self.held, self.limit)


def _as_they_come(source: Source, params: Any, share: float, notices: list[str]) -> read.Splits:
    """The splits of rows of which only the first are looked at before they are trained on."""
    rows, faults = source.first(min(params.max_samples or HEAD, HEAD))
    notices.append(
        f"Rows are judged as they come (--on-bad-rows {params.on_bad_rows}); what is told before is of the first "
        f"{len(rows):,}."
    )
    count = min(max(1, round(len(rows) * share)), len(rows) - 1) if share else 0
    out = read.chosen(len(rows), count, params.seed).tolist() if count else []
    if out:
        notices.append(f"{count:,} of the first {len(rows):,} rows are held out to evaluate on.")
    places = [rows[at].place for at in out]
    shards = [
        replace(shard, held=frozenset(number for name, _, number in places if name == shard.name))
        for shard in source.shards
    ]
    held = frozenset(rows[at].at for at in out)
    rest = [drawn for at, drawn in enumerate(rows) if at not in set(out)]
    stream = Stream(
        _Rows(source, shards, params.seed, params.max_samples, held, fixed=True),
        source.table([drawn.row for drawn in rest]),
        params.seed,
        whole=False,
        count=None,
    )
    valid = source.table([rows[at].row for at in out]) if out else None
    return read.Splits(stream, valid, "", notices, tuple(faults), {"train": _places(rest)})  # type: ignore[arg-type]
