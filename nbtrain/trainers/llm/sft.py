"""Answers to prompts: chats and instructions, by default with the loss on the answers alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nbtrain.data import chat
from nbtrain.data.stream import Stream
from nbtrain.errors import ParamError
from nbtrain.params import option
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._samples import Prompt
from nbtrain.trainers.llm import _evaluation, _language
from nbtrain.trainers.llm._custom import template_name
from nbtrain.trainers.llm._language import SHOWN, Tokens, opened, own_prompts, usage

__all__ = ["SFT", "check", "evaluate", "opened", "predict", "prepare", "prompt", "train", "usage"]

ONLY = ("sft",)


class SFT(BaseModel):
    """What sft alone reads."""

    max_seq_length: int | None = option(
        None,
        "longest chat; what is longer is cut; none: as --block-size",
        group="Data",
        unit="tokens",
        ge=8,
        only=ONLY,
        aliases=("max_length",),
    )
    response_only_loss: bool = option(
        True, "train on what the assistant says, not on what it is asked", group="Training", only=ONLY
    )


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
    """Chats in tokens, with labels on what is trained."""
    template = chat.template_for(tokenizer, template_name(params), warn=run.warn if form.name != "text" else None)
    tokenizer.chat_template = template  # saved with the model, so that whoever uses it writes prompts as it learnt them

    def tokens(dataset: Any) -> Any:
        return chat.tokenised(
            dataset,
            form,
            tokenizer,
            template=template,
            max_length=longest,
            response_only=params.response_only_loss,
            add_eos=params.add_eos_token,
            cache=run.folder.data,
            on_bad_rows=params.on_bad_rows,
            warn=run.warn,
        )

    train, valid = tokens(splits.train), tokens(splits.valid) if splits.valid is not None else None
    if params.packing:
        train = _packed(train.select_columns(["input_ids", "labels"]), longest)
    return Tokens(train, valid, tuple(_prompts(params, splits, form, tokenizer)))


def _packed(rows: Any, longest: int) -> Any:
    """Chats side by side in rows of at most `longest` tokens, best fit first, a thousand chats at a time."""
    from trl import pack_dataset

    if not isinstance(rows, Stream):
        return pack_dataset(rows, longest, strategy="bfd")

    def packed(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        from datasets import Dataset

        return pack_dataset(Dataset.from_dict(batch), longest, strategy="bfd")[:]

    return rows.map(packed, batched=True)


def prompt(params: Any, tokenizer: Any, row: Any) -> Prompt:
    """The tokens of a question, or of a chat that waits for an answer, as the template writes them."""
    messages = [{"role": "user", "content": row}] if isinstance(row, str) else row
    if not isinstance(messages, list) or not messages:
        raise ParamError(f"a prompt is a text or a list of messages; found {type(row).__name__}")
    template = chat.template_for(tokenizer, template_name(params))
    ids = tokenizer.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return Prompt(str(messages[-1].get("content") or ""), tuple(ids))


def _prompts(params: Any, splits: Any, form: Any, tokenizer: Any) -> list[Prompt]:
    prompts = own_prompts(params, tokenizer, prompt)
    if prompts or form.name == "text":
        return prompts
    rows = splits.valid if splits.valid is not None else splits.train
    return [_question(chat.messages(row, form), params, tokenizer) for row in rows.select(range(min(SHOWN, len(rows))))]


def _question(messages: list[dict[str, Any]], params: Any, tokenizer: Any) -> Prompt:
    """What stands before the first answer, and that answer."""
    first = next(place for place, message in enumerate(messages) if message["role"] == "assistant")
    asked = prompt(params, tokenizer, messages[:first])
    return Prompt(asked.text, asked.ids, str(messages[first]["content"]))
