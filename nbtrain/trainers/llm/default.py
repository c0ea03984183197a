"""The next token of any text: plain text, or chats as their template writes them, every token trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from nbtrain.data import chat
from nbtrain.errors import ParamError
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._samples import Prompt
from nbtrain.trainers.llm import _evaluation, _language
from nbtrain.trainers.llm._language import SHOWN, Tokens, opened, own_prompts, usage

__all__ = ["check", "evaluate", "opened", "predict", "prepare", "prompt", "train", "usage"]

OPENING = 16  # tokens of a held-out text that the model is asked to go on from


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values."""
    return _language.train(params, run, prepare)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and judged, and its first rows in tokens; see `_language.check`."""
    return _language.check(params, cache, prepare=prepare)


def evaluate(params: Any, path: str, data: Any = None) -> dict[str, float]:
    """Loss and perplexity of the saved model; see `_evaluation.evaluate`."""
    return _evaluation.evaluate(params, path, data, prepare)


def predict(params: Any, model: Any, tokenizer: Any, rows: Sequence[Any], **settings: Any) -> list[str]:
    """What the model writes after each row; see `_language.predict`."""
    return _language.predict(params, model, tokenizer, rows, prompt=prompt, **settings)


def prepare(params: Any, run: ActiveRun, splits: Any, form: Any, tokenizer: Any, longest: int) -> Tokens:
    """Texts in tokens, in blocks of `longest`.

    With packing (the default) texts are joined before they are cut, so that a block is full and may hold the end of one
    text and the beginning of the next; without it each text is cut by itself. The last block of a text, or of a join,
    may be shorter.
    """

    def pieces(dataset: Any) -> Any:
        return chat.tokenised(
            dataset,
            form,
            tokenizer,
            template=chat.template_for(tokenizer, warn=run.warn if form.name != "text" else None),
            max_length=longest,
            response_only=False,
            add_eos=params.add_eos_token,
            split_long=True,
            cache=run.folder.data,
            on_bad_rows=params.on_bad_rows,
            warn=run.warn,
        )

    train, valid = pieces(splits.train), pieces(splits.valid) if splits.valid is not None else None
    prompts = own_prompts(params, tokenizer, prompt)
    if not prompts:
        shown = (valid if valid is not None else train)[:SHOWN]["input_ids"]
        prompts = [_opening(ids, tokenizer, params.sample_max_new_tokens) for ids in shown if len(ids) > 1]
    if params.packing is not False:
        train, valid = (part and _full(part, longest) for part in (train, valid))
    return Tokens(train, valid, tuple(prompts))


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


def _full(tokens: Any, longest: int) -> Any:
    """The same tokens in blocks of `longest`, joined a thousand pieces at a time, so that memory stays flat."""
    return tokens.map(_joined, batched=True, fn_kwargs={"longest": longest}, remove_columns=tokens.column_names)


def _joined(batch: Mapping[str, list[list[int]]], *, longest: int) -> dict[str, list[Any]]:
    ids, labels = (list(chain.from_iterable(batch[name])) for name in ("input_ids", "labels"))
    starts = range(0, len(ids) if len(ids) % longest != 1 else len(ids) - 1, longest)  # a token by itself has no next
    blocks = {
        "input_ids": [ids[at : at + longest] for at in starts],
        "labels": [labels[at : at + longest] for at in starts],
    }
    return blocks | {"length": [len(block) for block in blocks["input_ids"]]}
