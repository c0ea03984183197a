"""All rows as tokens, in a file that is mapped into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from nbtrain.data import encoding, forms
from nbtrain.data.encoding import Encoded
from nbtrain.data.forms import Form
from nbtrain.data.stream import TOLD, Stream
from nbtrain.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

_VERSION = 1  # of what is written to the cache; raised when the encoding changes
_ROWS = 256  # encoded at once


class How(NamedTuple):
    """How rows become tokens; see `tokenised`."""

    template: str
    max_length: int
    response_only: bool
    add_eos: bool
    split_long: bool
    on_bad_rows: Literal["stop", "skip"]


class Numbered(NamedTuple):
    """A row as tokens. number: of the row, from 1. fault: why the template refuses it, else ""."""

    number: int
    tokens: Encoded
    fault: str = ""


Rows = list[tuple[int, dict[str, Any]]]
"""Some rows with their numbers, from 1."""
Encode = Callable[[Rows], Iterator[Numbered]]

_KEPT = ("input_ids", "labels", "length", "cut", "row")
_NAMES = ("input_ids", "labels", "length", "cut", "learned", "row", "fault")  # as `_pieces` gives them


def tokenised(  # noqa: PLR0913  each is a parameter of the run
    dataset: Dataset,
    form: Form,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: str,
    max_length: int,
    cache: Path,
    response_only: bool = True,
    add_eos: bool = True,
    split_long: bool = False,
    on_bad_rows: Literal["stop", "skip"] = "stop",
    warn: Callable[[str], None] | None = None,
) -> Dataset:
    """All rows as tokens, in one Arrow file below `cache`; one that is there from the same rows is used again.

    Args:
        dataset: rows that `check` let through.
        template: jinja; not used for plain text.
        max_length: tokens of a row at most.
        response_only: train on what the assistant says; plain text is always trained throughout.
        add_eos: end plain text with the tokenizer's end of text.
        split_long: a longer row goes on in the next one, instead of losing its end.
        on_bad_rows: a row that the template refuses ends the run, or is left out and told.
        warn: told, in words, what was cut and what was left out.

    Returns:
        input_ids and labels (int32; -100 where not trained), length (tokens), cut (tokens lost), row (its number in
        `dataset`, from 1). A row of which nothing is trained is left out and told.

    Raises:
        DataError: a row that the template refuses, or no row with a trained token.
    """
    from datasets import Dataset

    tell = warn or (lambda message: None)
    how = How(template, max_length, response_only, add_eos, split_long, on_bad_rows)
    known = (_VERSION, dataset._fingerprint, str(form), sorted(form.numbers), how, identity(tokenizer))
    target = Path(cache) / f"tokens-{hashlib.sha256(repr(known).encode()).hexdigest()[:16]}.arrow"
    block = max_length if split_long else None
    encode = _encoder(form, tokenizer, how)
    if isinstance(dataset, Stream):
        return _streamed(dataset, encode, block, max_length, tell)  # type: ignore[return-value]
    if not target.exists():
        _write((row for rows in _batches(dataset, form) for row in encode(rows)), target, block)
    return _useful(Dataset.from_file(str(target)), max_length, tell)


def _streamed(rows: Stream, encode: Encode, block: int | None, longest: int, tell: Callable[[str], None]) -> Stream:
    """The rows of a stream as tokens, when they are drawn; what is lost of the first ones is told now."""

    def made(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        cells = (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))
        some = [(number + 1, row) for number, row in zip(numbers, cells, strict=True)]
        pieces = [piece for row in encode(some) for piece in _pieces(row, block)]
        return {name: [piece[at] for piece in pieces] for at, name in enumerate(_NAMES)}

    tokens = rows.map(made, batched=True, batch_size=_ROWS, with_indices=True)
    _useful(tokens.head, longest, lambda text: tell(f"Of the first {len(rows.head):,} rows. {text}"))
    lost = set(tokens.head["row"])  # of the first rows it was told already
    most = len(lost) + TOLD

    def useful(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        kept = [at for at, learned in enumerate(batch["learned"]) if learned]
        for at, number in enumerate(batch["row"]):
            if not batch["learned"][at] and number not in lost and len(lost) < most:
                lost.add(number)
                more = "" if len(lost) < most else " More such rows are left out without a word."
                tell(f"Left out: row {number:,}: {batch['fault'][at] or 'no token of it is trained'}.{more}")
        return {name: [batch[name][at] for at in kept] for name in _KEPT}

    return tokens.map(useful, batched=True, batch_size=_ROWS)


def identity(tokenizer: PreTrainedTokenizerBase) -> Any:
    """What tells one tokenizer from another: equal ones make equal tokens."""
    special = sorted(map(str, tokenizer.special_tokens_map.items()))
    if tokenizer.is_fast:
        return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(), special
    return type(tokenizer).__name__, tokenizer.name_or_path, len(tokenizer), special


def _encoder(form: Form, tokenizer: PreTrainedTokenizerBase, how: How) -> Encode:
    if form.name == "text":
        return partial(_texts, form, tokenizer, how)
    return partial(_chats, form, encoding.Template(tokenizer, how.template), how)


def _chats(form: Form, template: encoding.Template, how: How, rows: Rows) -> Iterator[Numbered]:
    numbers, texts, spans = [], [], []
    for number, row in rows:
        try:
            text, places = template.render(forms.messages(row, form), how.response_only)
        except DataError as error:
            if how.on_bad_rows == "stop":
                fix = f"{error.fix} Or leave such rows out: --on-bad-rows skip."
                raise DataError(f"Row {number} cannot be used: {error.what}.", fix=fix) from None
            yield Numbered(number, Encoded([], []), error.what)
            continue
        numbers.append(number)
        texts.append(text)
        spans.append(places)
    for number, tokens in zip(numbers, encoding.tokens(template.tokenizer, texts, spans), strict=True):
        yield Numbered(number, tokens if how.split_long else encoding.cut(tokens, how.max_length))


def _texts(form: Form, tokenizer: PreTrainedTokenizerBase, how: How, rows: Rows) -> Iterator[Numbered]:
    column, end = form.columns["text"], tokenizer.eos_token_id
    texts = [forms.text(row[column], column, "text" in form.numbers) for _, row in rows]
    found = tokenizer(texts, verbose=False)["input_ids"]
    for (number, _), ids in zip(rows, found, strict=True):
        if how.add_eos and end is not None and ids[-1:] != [end]:
            ids = [*ids, end]
        tokens = Encoded(ids, [1] * len(ids))
        yield Numbered(number, tokens if how.split_long else encoding.cut(tokens, how.max_length))


def _batches(dataset: Dataset, form: Form) -> Iterator[Rows]:
    """(number from 1, row) of some rows at a time, with the columns of the form."""
    columns = list(dict.fromkeys(form.columns.values()))
    number = 0
    for batch in dataset.select_columns(columns).iter(_ROWS):
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*(batch[name] for name in columns), strict=True)]
        yield list(enumerate(rows, start=number + 1))
        number += len(rows)


def _write(rows: Iterator[Numbered], target: Path, block: int | None) -> None:
    from nbtrain.data.arrows import Writer

    with Writer(target) as writer:
        pieces: list[tuple[Any, ...]] = []
        for row in rows:
            pieces += _pieces(row, block)
            if len(pieces) >= _ROWS:
                writer.batch(_record(pieces))
                pieces = []
        if pieces:
            writer.batch(_record(pieces))


def _record(pieces: list[tuple[Any, ...]]) -> pa.RecordBatch:
    import pyarrow as pa

    types = {
        "input_ids": pa.list_(pa.int32()),
        "labels": pa.list_(pa.int32()),
        "length": pa.int32(),
        "cut": pa.int32(),
        "learned": pa.int32(),
        "row": pa.int64(),
        "fault": pa.string(),
    }
    columns = [pa.array(column, kind) for column, kind in zip(zip(*pieces, strict=True), types.values(), strict=True)]
    return pa.record_batch(columns, names=list(types))


def _pieces(row: Numbered, block: int | None) -> Iterator[tuple[Any, ...]]:
    """The row as one piece, or in pieces of `block` tokens."""
    ids, trained = row.tokens.input_ids, row.tokens.trained
    step = block or max(len(ids), 1)
    for begin in range(0, max(len(ids), 1), step):
        piece, learned = ids[begin : begin + step], trained[begin : begin + step]
        labels = [token if flag else -100 for token, flag in zip(piece, learned, strict=True)]
        yield piece, labels, len(piece), row.tokens.cut, sum(learned), row.number, row.fault


def _useful(tokens: Dataset, max_length: int, warn: Callable[[str], None]) -> Dataset:
    """The rows that teach something; what is lost is told."""
    import numpy

    cut, learned, number = (tokens.data.column(name).to_numpy() for name in ("cut", "learned", "row"))
    kept = numpy.flatnonzero(learned)
    if not len(kept):
        what = f"No row has a token to train on within {max_length:,} tokens."
        raise DataError(what, fix="Allow longer rows, or train on all tokens: --no-response-only-loss.")
    if cut.any():
        warn(
            f"Longer than {max_length:,} tokens: {numpy.count_nonzero(cut):,} of {len(tokens):,} rows; "
            f"{cut.sum():,} tokens are cut off at their ends."
        )
    if len(kept) < len(tokens):
        empty = numpy.flatnonzero(learned == 0)
        reason = next((fault for fault in tokens.select(empty[:5])["fault"] if fault), "no token of theirs is trained")
        rows = ", ".join(f"{row:,}" for row in number[empty[:5]]) + ", ..." * (len(empty) > 5)
        warn(f"Left out, {len(empty):,} of {len(tokens):,} rows (number {rows}): {reason}.")
        tokens = tokens.select(kept)
    return tokens.select_columns(list(_KEPT))
