"""Rows as a language model reads them, with what is trained of them: the same tokens that a run would have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from nbtrain.data import check as judge
from nbtrain.data.read import Splits
from nbtrain.events import Event, Warned
from nbtrain.models import load
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal

SHOWN = 3  # rows
_ROWS = 2_000  # of a split, whose lengths are told; the tokens of a million rows take minutes
_LETTERS = 2_400  # of a row
_UNTRAINED = -100  # the label of a token that is only read
# they make other rows, or join them: what is looked at are rows as they stand
_PLAIN = {"conversation_extension": 1, "save_processed_data": "none", "auto_convert_dataset": False, "packing": False}


def rendered(params: Any, form: Any, prepare: Callable[..., Any], cache: Path, splits: Splits) -> judge.Rendered:
    """The first rows in tokens.

    Raises:
        NbtrainError: the tokenizer cannot be had, or the template refuses a row.
    """
    import datasets

    from nbtrain.trainers.llm._language import longest

    datasets.disable_progress_bars()
    params = params.but(**_PLAIN, on_bad_rows="skip")
    told: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Warned):
            told.append(event.message)

    few = {name: _first(rows) for name, rows, _ in splits.items()}
    some = replace(splits, train=few["train"], valid=few.get("valid"), places={})
    folder = RunFolder(cache / "rendered")
    folder.data.mkdir(parents=True)
    tokenizer = load.tokenizer(params, tell=told.append)
    with Journal(folder.events) as journal:
        run = ActiveRun(folder, journal, sinks=(hear,))
        tokens = prepare(params, run, some, form, tokenizer, longest(params))
    rows = tokens.train.select(range(min(SHOWN, len(tokens.train))))
    pieces = tuple(tuple(_pieces(row["input_ids"], row["labels"], tokenizer)) for row in rows)
    lengths = [line for name in few for line in _lengths(name, getattr(tokens, name), len(few[name]), splits)]
    return judge.Rendered(pieces, (*lengths, *told))


def _first(rows: Any) -> Any:
    return rows.select(range(min(_ROWS, len(rows))))


def _pieces(ids: Sequence[int], labels: Sequence[int], tokenizer: Any) -> Iterator[tuple[str, bool]]:
    """Runs of tokens that are trained, or are not, as text."""
    left = _LETTERS
    for trained, pairs in groupby(zip(ids, labels, strict=True), key=lambda pair: pair[1] != _UNTRAINED):
        text = tokenizer.decode([token for token, _ in pairs], skip_special_tokens=False)
        yield text[:left] + "…" * (len(text) > left), trained
        left -= len(text)
        if left <= 0:
            return


def _lengths(name: str, tokens: Any, count: int, splits: Splits) -> Iterator[str]:
    if tokens is None:
        return
    found = judge.lengths(tokens)
    whole = {each: len(rows) for each, rows, _ in splits.items()}[name]
    of = f" (the first {count:,} of {whole:,} rows)" if count < whole else ""
    yield (
        f"Tokens a row, {name}{of}: {found['min']:,} to {found['max']:,}, half of them up to {found['median']:,.0f}, "
        f"95 of 100 up to {found['p95']:,.0f}; {found['cut']:,} are cut."
    )
