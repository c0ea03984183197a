"""The next token of any text: plain text, or chats as their template writes them, every token trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from nbtrain.data import chat
from nbtrain.errors import ParamError
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._samples import Prompt
from nbtrain.trainers.llm._language import SHOWN, Tokens

OPENING = 16  # tokens of a held-out text that the model is asked to go on from


def prepare(params: Any, run: ActiveRun, splits: Any, form: Any, tokenizer: Any, longest: int) -> Tokens:
    """Texts in tokens, cut into blocks of `longest`.

    With packing (the default) texts are joined before they are cut, so that a block is full and may hold the end of one text and
    the beginning of the next; without it each text is cut by itself. The last block of a text, or of a join, may be shorter.
    """
    settings = {"params": params, "form": form, "tokenizer": tokenizer, "longest": longest}

    def blocks(dataset: Any) -> Any:
        return dataset.map(_blocks, batched=True, fn_kwargs=settings, remove_columns=dataset.column_names)

    shown = splits.valid if splits.valid is not None else splits.train
    if params.sample_prompts:
        asked = params.sample_prompts
        prompts = [prompt(params, tokenizer, text) for text in ([asked] if isinstance(asked, str) else asked)]
    else:
        texts = (_ids(row, settings) for row in shown.select(range(min(SHOWN, len(shown)))))
        prompts = [_opening(ids, tokenizer, params.sample_max_new_tokens) for ids in texts if len(ids) > 1]
    valid = blocks(splits.valid) if splits.valid is not None else None
    return Tokens(blocks(splits.train), valid, tuple(prompts))


def prompt(params: Any, tokenizer: Any, row: Any) -> Prompt:
    """The tokens of a text that the model goes on from."""
    if not isinstance(row, str):
        raise ParamError(f"a model trained on text takes a text as a prompt; found {type(row).__name__}")
    ids = tokenizer(row).input_ids
    if ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]  # some tokenizers end every text, and a prompt is not at its end
    return Prompt(row, tuple(ids or [tokenizer.bos_token_id or tokenizer.eos_token_id or 0]))


def _opening(ids: list[int], tokenizer: Any, longest: int) -> Prompt:
    cut = min(OPENING, len(ids) // 2)
    begin, rest = ids[:cut], ids[cut : cut + longest]
    text, expected = tokenizer.batch_decode([begin, rest], skip_special_tokens=True)
    return Prompt(text, tuple(begin), expected)


def _blocks(
    batch: Mapping[str, list[Any]], *, params: Any, form: Any, tokenizer: Any, longest: int
) -> dict[str, list[list[int]]]:
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    settings = {"params": params, "form": form, "tokenizer": tokenizer, "longest": longest}
    texts: Iterable[list[int]] = (_ids(row, settings) for row in rows)
    if params.packing is not False:
        texts = [list(chain.from_iterable(texts))]
    pieces = [ids[start : start + longest] for ids in texts for start in range(0, len(ids), longest)]
    pieces = [piece for piece in pieces if len(piece) > 1]  # one token has no next
    return {"input_ids": pieces, "labels": pieces}


def _ids(row: Mapping[str, Any], settings: Mapping[str, Any]) -> list[int]:
    """The tokens of a whole row, at its end the model's end token where --add-eos-token says so."""
    params, form, tokenizer = settings["params"], settings["form"], settings["tokenizer"]
    if form.name != "text":
        template = chat.template_for(tokenizer, None)
        encoded = chat.encode(chat.messages(row, form), tokenizer, template=template, max_length=None, response_only=False)
        return list(encoded.input_ids)
    ids = list(tokenizer(str(row[form.columns["text"]])).input_ids)
    end = tokenizer.eos_token_id
    return [*ids, end] if params.add_eos_token and end is not None and ids[-1:] != [end] else ids
