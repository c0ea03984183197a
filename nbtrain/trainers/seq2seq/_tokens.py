"""Pairs of texts as tokens, and the tokenizer that makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nbtrain.data import targets
from nbtrain.data.stream import first
from nbtrain.errors import DataError, ParamError
from nbtrain.models.pretrained import open_tokenizer

_ROWS = 256  # encoded at once


def tokenizer(params: Any, place: str) -> Any:
    """The tokenizer of the model, set to the languages that are asked for.

    Raises:
        ModelError: there is none. ParamError: it does not know the languages.
    """
    opened = open_tokenizer(place, token=params.token, trust_remote_code=params.trust_remote_code)
    for side, code in (("src_lang", params.source_language), ("tgt_lang", params.target_language)):
        if code is None:
            continue
        flag = "--source-language" if side == "src_lang" else "--target-language"
        if not hasattr(opened, side):
            fix = (
                f"leave {flag} out; T5 and its like are told in words: --source-prefix 'translate English to French:'."
            )
            raise ParamError(f"{params.model} is not told languages by a code.", fix=fix)
        if language_id(opened, code) is None:
            raise ParamError(f"{flag} {code}: {params.model} does not know this code.", fix="see the model's card.")
        setattr(opened, side, code)
    return opened


def language_id(opened: Any, code: str) -> int | None:
    """The token that stands for a language, None where the tokenizer has none for it."""
    if hasattr(opened, "get_lang_id"):  # M2M100 writes the code inside of underscores
        return opened.get_lang_id(code) if code in opened.lang_code_to_id else None
    found = opened.convert_tokens_to_ids(code)
    return None if found in (None, opened.unk_token_id) else int(found)


def limits(params: Any, config: Any) -> tuple[int, int]:
    """Tokens of the longest source and of the longest target: no more than the model has places for."""
    places = getattr(config, "max_position_embeddings", None)
    asked = (params.max_seq_length, params.max_target_length)
    return tuple(min(length, places or length) for length in asked)  # type: ignore[return-value]


def tokenised(  # noqa: PLR0913  each decides what a row becomes
    rows: Any,
    form: targets.Form,
    opened: Any,
    *,
    prefix: str,
    longest: tuple[int, int],
    warn: Callable[[str], None],
) -> Any:
    """A dataset of input_ids and labels, lists of tokens, each with the model's end; what was cut is told.

    Args:
        prefix: put before each source. longest: tokens of a source and of a target.

    Raises:
        DataError: a target has no token of its own.
    """
    columns = rows.column_names
    tokens = rows.map(
        _encode,
        batched=True,
        batch_size=_ROWS,
        remove_columns=columns,
        fn_kwargs={"form": form, "opened": opened, "prefix": prefix, "longest": longest},
    )
    seen, of = first(tokens)
    for side, length in zip(("source", "target"), longest, strict=True):
        cut = sum(seen[f"{side}_cut"])
        if cut:
            flag = "--max-seq-length" if side == "source" else "--max-target-length"
            warn(
                f"{of}Longer than {length} tokens: the {side} of {cut:,} of {len(seen):,} rows loses its end ({flag})."
            )
    return tokens.select_columns(["input_ids", "labels"])


def _encode(
    batch: Mapping[str, list[Any]], *, form: targets.Form, opened: Any, prefix: str, longest: tuple[int, int]
) -> dict[str, list[Any]]:
    pairs = [form.read(dict(zip(batch, values, strict=True))) for values in zip(*batch.values(), strict=True)]
    source, source_cut = encoded(opened, longest[0], text=[prefix + pair.source for pair in pairs])
    target, target_cut = encoded(opened, longest[1], text_target=[pair.references[0] for pair in pairs])
    return {"input_ids": source, "labels": target, "source_cut": source_cut, "target_cut": target_cut}


def encoded(opened: Any, longest: int, **texts: list[str]) -> tuple[list[list[int]], list[bool]]:
    """Tokens of each text, and whether it lost its end.

    Args:
        texts: `text` or `text_target`, as a tokenizer takes them.
    """
    found = opened(**texts, verbose=False, return_attention_mask=False)["input_ids"]
    cut = [len(ids) > longest for ids in found]
    if any(cut):
        found = opened(**texts, truncation=True, max_length=longest, return_attention_mask=False)["input_ids"]
    if not all(found):
        raise DataError("a text has no token in this model's vocabulary", fix="Choose a model that knows its script.")
    return found, cut
