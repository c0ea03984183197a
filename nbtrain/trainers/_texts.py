"""What the rooms for texts share: their columns, their tokens, and asking a saved model."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nbtrain.data import check as judge
from nbtrain.data import columns, read
from nbtrain.data.labelled import TEXTS, Form, Texts
from nbtrain.data.places import Places
from nbtrain.data.stream import first
from nbtrain.data.tokens import identity
from nbtrain.errors import ParamError
from nbtrain.models import load
from nbtrain.models.pretrained import TINY, open_tokenizer
from nbtrain.params import option
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder, _examples, _lengths

TINY_TEXT = TINY.parent / "text"
BETTER = "answerdotai/ModernBERT-base"
AUTO = "AutoModelForSequenceClassification"
_ASKED = 32  # rows that a saved model is asked at once
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Columns(BaseModel):
    """Which columns, and how much of a text is read."""

    text_column: str = option("text", "column of the text", group="Data")
    text_pair_column: str | None = option(
        None, "column of a second text, read together with the first; none: found by its name", group="Data"
    )
    max_seq_length: int = option(
        128, "longest text; what is longer loses its end", group="Model", unit="tokens", ge=4, essential=True
    )


def named(params: Any) -> dict[str, str]:
    """Role to column, as far as flags say it."""
    found = {"text": params.text_column} if "text_column" in params.given() else {}
    return found | ({"pair": params.text_pair_column} if params.text_pair_column else {})


def processor(params: Any, run: ActiveRun) -> tuple[Any, Any]:
    """The tokenizer, with a token for padding, and the config of its model."""
    from transformers import AutoConfig

    place = _encoder.place(params, TINY_TEXT, run, better=BETTER)
    hub = {"token": params.token, "trust_remote_code": params.trust_remote_code}
    tokenizer = open_tokenizer(place, **hub)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    config = AutoConfig.from_pretrained(place, **hub)
    config.pad_token_id = tokenizer.pad_token_id  # a model that writes finds the end of a text by it
    return tokenizer, config


def tokenised(
    splits: read.Splits,
    form: Form,
    tokenizer: Any,
    *,
    longest: int,
    target: Callable[[Mapping[str, Any]], Any],
    cache: Path,
) -> dict[str, Any]:
    """Split to its rows as tokens, each in an Arrow file below `cache`; one from the same rows is used again.

    Args:
        splits: the rows that `check` let through.
        longest: tokens of a row; of the longer text its end is lost.
        target: a row to its "labels".

    Returns:
        What the tokenizer gives (input_ids ...), labels, cut: tokens lost, and row: its number in the source.
    """
    told = {"longest": longest, "target": target, "cache": cache}
    return {name: _tokenised(rows, places, form, tokenizer, **told) for name, rows, places in splits.items()}


def _tokenised(  # noqa: PLR0913  as `tokenised`
    rows: Any, places: Places, form: Form, tokenizer: Any, *, longest: int, target: Callable[..., Any], cache: Path
) -> Any:
    columns = list(dict.fromkeys(form.columns.values()))
    known = (rows._fingerprint, form, longest, identity(tokenizer))
    path = cache / f"texts-{hashlib.sha256(repr(known).encode()).hexdigest()[:16]}.arrow"

    def encode(batch: Mapping[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        found = [dict(zip(columns, row, strict=True)) for row in zip(*(batch[name] for name in columns), strict=True)]
        tokens = tokens_of([form.texts(row) for row in found], tokenizer, longest)
        stands = [places.find(number)[0] for number in numbers]
        return tokens | {"labels": [target(row) for row in found], "row": stands}

    stored = {"cache_file_name": str(path), "new_fingerprint": path.stem}
    return rows.select_columns(columns).map(encode, batched=True, with_indices=True, remove_columns=columns, **stored)


def tokens_of(texts: Sequence[Texts], tokenizer: Any, longest: int) -> dict[str, list[Any]]:
    """The tokens of some texts, and for each how many were cut off."""
    sides = [[part.text for part in texts]] + (
        [[part.pair for part in texts]] if any(part.pair for part in texts) else []
    )
    whole = found = dict(tokenizer(*sides, verbose=False))
    if any(len(ids) > longest for ids in whole["input_ids"]):
        found = dict(tokenizer(*sides, truncation=True, max_length=longest))
    cut = [len(one) - len(other) for one, other in zip(whole["input_ids"], found["input_ids"], strict=True)]
    return found | {"cut": cut}


def rendered(params: Any, form: Form, splits: read.Splits) -> judge.Rendered:
    """How long the first rows are in tokens, and how many lose their end."""
    return _lengths.rendered(params, form, _together, _limits, TINY_TEXT, splits)


def _together(form: Form, row: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found = form.texts(row)
    return {"": (found.text, found.pair) if found.pair else (found.text,)}


def lengths(params: Any, form: judge.Form, *roles: str) -> Callable[[read.Splits], judge.Rendered]:
    """The same, of a room whose texts are read each by itself."""
    return partial(_lengths.rendered, params, form, _lengths.of_roles(*roles), partial(_limits, parts=roles), TINY_TEXT)


def _limits(params: Any, config: Any, tokenizer: Any, parts: Sequence[str] = ("",)) -> _lengths.Limits:
    longest = _encoder.longest(params, config, tokenizer)
    return dict.fromkeys(parts, (longest, "lose their end (--max-seq-length) at"))


def tell_cut(tokens: Any, longest: int, run: ActiveRun) -> None:
    """A notice of what is not read."""
    import numpy

    rows, of = first(tokens)
    cut = numpy.asarray(rows["cut"][:])
    if cut.any():
        run.warn(
            f"{of}Longer than {longest:,} tokens: {numpy.count_nonzero(cut):,} of {len(cut):,} rows; {cut.sum():,} "
            "tokens are cut off at their ends (--max-seq-length)."
        )


def collate(tokenizer: Any, targets: Callable[[list[Any]], Any]) -> Callable[[list[Mapping[str, Any]]], dict[str, Any]]:
    """Rows of `tokenised` to a batch that is as long as its longest row. targets: their labels to a tensor."""
    from transformers import DataCollatorWithPadding

    padded = DataCollatorWithPadding(tokenizer)

    def batch(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
        given = dict(padded([{name: row[name] for name in _INPUTS if name in row} for row in rows]))
        tokens = sum(len(row["input_ids"]) for row in rows)
        return given | {"labels": targets([row["labels"] for row in rows]), "tokens": tokens}

    return batch


def logits(params: Any, model: Any, tokenizer: Any, rows: Sequence[Any]) -> Any:
    """What a saved model says to new rows: (rows, labels) floats.

    Args:
        rows: a text; a pair of texts; or a mapping with the columns that were trained on, or with text and pair.
    """
    import numpy
    import torch
    from transformers import DataCollatorWithPadding

    longest, padded = _encoder.longest(params, model.config, tokenizer), DataCollatorWithPadding(tokenizer)
    texts, found = [row if isinstance(row, Texts) else as_texts(params, row) for row in rows], []
    for begin in range(0, len(texts), _ASKED):
        tokens = tokens_of(texts[begin : begin + _ASKED], tokenizer, longest)
        size = len(tokens["input_ids"])
        batch = padded([{name: tokens[name][at] for name in _INPUTS if name in tokens} for at in range(size)])
        with torch.no_grad():
            found.append(model(**batch.to(model.device)).logits.float().cpu().numpy())
    return numpy.concatenate(found) if found else numpy.zeros((0, model.config.num_labels))


def as_texts(params: Any, row: Any) -> Texts:
    """What the model reads of a new row.

    Raises:
        ParamError: the row holds no text.
    """
    if isinstance(row, Mapping):
        own = {**(params.column_mapping or {}), **named(params)}
        given = {role: column for role, column in own.items() if role in TEXTS and column in row}
        roles = columns.find(row, TEXTS, given)
        sides = [row[roles[role]] for role in TEXTS if role in roles]
    else:
        sides = list(row) if isinstance(row, (list, tuple)) else [row]
    sides = [side for side in sides if side is not None]
    if not 1 <= len(sides) <= 2 or not all(isinstance(side, str) for side in sides):
        what = f"a row to predict is a text, a pair of texts, or a mapping with text; found {str(row)[:60]!r}"
        raise ParamError(what)
    return Texts(*sides)


def opened(params: Any, path: str, auto: str = AUTO) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its tokenizer."""
    trusted = params.trust_remote_code
    model = load.saved_headed(auto, path, trust_remote_code=trusted).to(load.device().kind)
    return model, load.saved_tokenizer(path, trust_remote_code=trusted)


@contextmanager
def to_measure(
    params: Any, data: Any, form_of: Callable[[Any], Form], by: Callable[[Any], Sequence[Any]] | None = None
) -> Iterator[tuple[Any, Form]]:
    """The rows that a saved model is measured on, and how they are read; they last as long as the context.

    Args:
        data: None for those that the run held out, else what --data-path takes; its training split is measured.
        form_of: rows to how they are read. by: as `read` takes it, where the run did.

    Raises:
        RunError: the run held nothing out. DataError: the rows cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="nbtrain-", ignore_cleanup_errors=True) as cache:
        yield _examples.judged(params, data, Path(cache), lambda splits: form_of(splits.train), by)


def usage(path: Path, said: str) -> tuple[str, str]:
    """The library that opens the model in `path`, and how.

    Args:
        said: Python that shows what the `model` says to `tokens`.
    """
    adapter = path / "adapter_config.json"
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
        library, imported = (
            "peft",
            f"from peft import PeftModel\nfrom transformers import AutoConfig, {AUTO}, AutoTokenizer",
        )
        opening = f"""\
config = AutoConfig.from_pretrained("model")  # this folder's
model = PeftModel.from_pretrained({AUTO}.from_pretrained({base!r}, config=config), "model")"""
    else:
        library, imported = "transformers", f"from transformers import {AUTO}, AutoTokenizer"
        opening = f'model = {AUTO}.from_pretrained("model")  # this folder\'s'
    code = f"""\
{imported}

{opening}
tokenizer = AutoTokenizer.from_pretrained("model")
tokens = tokenizer("A text", truncation=True, return_tensors="pt")  # tokenizer("A text", "and another", ...) of a pair
{said}"""
    return library, code
