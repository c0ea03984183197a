"""Streamed rows as a Trainer takes them: by number, one behind the other, from wherever a checkpoint stands.

To a Trainer they are rows that can be counted, drawn in their order. So it steps, counts epochs and goes on as it does
with mapped rows: it leaves out the numbers that were trained on, and the first number that it asks for is the next row.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nbtrain.data.stream import Stream
from nbtrain.errors import DataError, ParamError, TrainingError
from nbtrain.runs.active import ActiveRun

NAME = "stream.json"
"""Where the rows stand, in a checkpoint."""
_RECENT = 256  # rows that are kept, to name those of a step whose loss is no number
_LOOK = 1_000  # rows between two looks at whether a stop was asked


class Feed:
    """Rows to draw, without an end.

    Args:
        rows: what is drawn; pass follows pass, each in an order of its own.
        count: rows of an epoch; where a pass has fewer, the next one begins in the middle of an epoch.
    """

    def __init__(self, rows: Stream, count: int) -> None:
        self.rows, self.count = rows, count
        self._at: dict[str, Any] = {"number": 0, "window": None, "given": 0}
        self._ahead: deque[dict[str, Any]] = deque()  # where it stands behind each batch that is not trained on yet
        self._drawn: Iterator[tuple[dict[str, Any], dict[str, Any]]] | None = None
        self._next = 0
        self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, name: str) -> list[Any]:
        """A column of the rows that were drawn last."""
        return [row[name] for row in self._recent]

    @property
    def column_names(self) -> list[str]:
        """The columns of the rows."""
        return self.rows.column_names

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        if self._drawn is None:
            self._drawn, self._next = self._endless(**self._at), numbers[0]
        if numbers[0] not in (self._next, 0):
            raise TrainingError(f"row {numbers[0]} was asked for where {self._next} is next: a stream has no other")
        some = [next(self._drawn) for _ in numbers]
        self._next = numbers[-1] + 1
        self._ahead.append(some[-1][1])
        self._recent.extend(row for row, _ in some)
        return [row for row, _ in some]

    def trained(self) -> None:
        """A batch was trained on: what is saved from here on goes on behind it."""
        self._at = self._ahead.popleft()

    def save(self, checkpoint: Path) -> None:
        """Write into a checkpoint where the rows stand."""
        (checkpoint / NAME).write_text(json.dumps({"count": self.count, "at": self._at}), encoding="utf-8")

    def load(self, checkpoint: Path) -> None:
        """Go on from where the rows of a checkpoint stand.

        Raises:
            ParamError: its run did not stream.
        """
        known = _saved(checkpoint)
        if known is None:
            raise ParamError(f"the rows of {checkpoint.name} were not streamed", fix="leave --stream out.")
        self._at = known["at"]

    def _endless(
        self, number: int, window: dict[str, Any] | None, given: int
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """(row, where it stands then), pass after pass. given: rows of the first window that were trained on."""
        while True:
            began, gave = window is None, False
            for state, rows in self.rows.windows(number, window):
                for count, row in enumerate(rows, start=1):
                    if count > given:
                        gave = True
                        yield row, {"number": number, "window": state, "given": count}
                given = 0
            if began and not gave:
                raise _nothing()
            number, window = number + 1, None


def _saved(checkpoint: Path | None) -> dict[str, Any] | None:
    """What `Feed.save` wrote."""
    path = checkpoint / NAME if checkpoint else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else None


def _nothing() -> DataError:
    return DataError(
        "No row of the stream can be trained on.", fix="Allow longer rows, or look at them: nbtrain check."
    )


def drawn(rows: Any, params: Any, run: ActiveRun) -> tuple[Any, int | None]:
    """The rows as a Trainer takes them, and how many an epoch has; None where nobody knows.

    Mapped rows stay as they are. Of a run that is only looked at the first rows stand for all.

    Raises:
        DataError: nobody knows, and no --max-steps says how long to train.
    """
    if not isinstance(rows, Stream):
        return rows, len(rows)
    count = rows.count
    if count is None and rows.whole and params.max_steps <= 0:
        known = _saved(run.resume_from)  # its steps stay those that it began with
        count = round(rows.expected) if run.rehearsal else known["count"] if known else _counted(rows, run)
    if run.rehearsal is not None:
        return rows.head, count
    steps = params.max_steps * params.batch_size * params.gradient_accumulation
    return Feed(rows.telling(run.warn), count or steps), count


def _counted(rows: Stream, run: ActiveRun) -> int:
    """Rows of a pass, made and counted."""
    run.stage("counting the rows in tokens (--max-steps does without)")
    count = 0
    for _, some in rows.windows(0):
        for _ in some:
            count += 1
            if count % _LOOK == 0 and run.stop_asked():
                return count
    if not count:
        raise _nothing()
    return count


def attach(trainer: Any, feed: Feed) -> None:
    """Let a Trainer draw the rows in their order, and tell when a batch was trained on."""
    from torch.utils.data import SequentialSampler

    step = trainer.training_step

    def told(*given: Any, **named: Any) -> Any:
        loss = step(*given, **named)
        feed.trained()
        return loss

    trainer.training_step = told
    trainer._get_train_sampler = lambda *_: SequentialSampler(feed)  # type: ignore[arg-type]
