"""Rows as a language model reads them, with what is trained of them: the same tokens that a run would have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
_MARKED = {
    **dict.fromkeys(("dpo", "orpo"), "what is made likelier where it is chosen, and less likely where it is rejected"),
    "reward": "what the score is of; that of the chosen one is to be higher",
}
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
    parts = tuple((name, tuple(_pieces(ids, marks, tokenizer))) for row in rows for name, ids, marks in _parts(row))
    lengths = [line for name in few for line in _lengths(name, getattr(tokens, name), len(few[name]), splits)]
    return judge.Rendered(parts, (*lengths, *told), _MARKED.get(params.trainer, "what is trained"))


def _first(rows: Any) -> Any:
    return rows.select(range(min(_ROWS, len(rows))))


def _parts(row: Mapping[str, Any]) -> Iterator[tuple[str, list[int], list[bool]]]:
    """What a model reads of a row: (name, tokens, which of them are marked)."""
    if "labels" in row:
        yield "", row["input_ids"], [label != _UNTRAINED for label in row["labels"]]
        return
    prompt = row["prompt_ids"]
    sides = [side for side in ("chosen", "rejected") if f"{side}_ids" in row]
    for side in sides:
        answer = row[f"{side}_ids"]
        yield f"The {side} answer", [*prompt, *answer], [False] * len(prompt) + [True] * len(answer)
    if not sides:
        yield "The first prompt", prompt, [False] * len(prompt)


def _pieces(ids: Sequence[int], marks: Sequence[bool], tokenizer: Any) -> Iterator[tuple[str, bool]]:
    """Runs of tokens that are marked, or are not, as text."""
    left = _LETTERS
    for marked, pairs in groupby(zip(ids, marks, strict=True), key=lambda pair: pair[1]):
        text = tokenizer.decode([token for token, _ in pairs], skip_special_tokens=False)
        yield text[:left] + "…" * (len(text) > left), marked
        left -= len(text)
        if left <= 0:
            return


def _lengths(name: str, tokens: Any, count: int, splits: Splits) -> Iterator[str]:
    if tokens is None:
        return
    whole = {each: len(rows) for each, rows, _ in splits.items()}[name]
    of = f" (the first {count:,} of {whole:,} rows)" if count < whole else ""
    if "length" in tokens.column_names:
        found = judge.lengths(tokens)
        yield f"Tokens a row, {name}{of}: {judge.told(found)}; {found['cut']:,} are cut."
        return
    for column in tokens.column_names:
        if column.endswith("_ids"):
            found = judge.spread([len(ids) for ids in tokens[column]])
            yield f"Tokens a row, {name}{of}, {column[:-4]}: {judge.told(found)}."
