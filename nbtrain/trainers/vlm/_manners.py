"""How kinds of models are shown pictures and texts: what a row becomes when it is learnt, and when it is asked.

`Chat`: a chat template with places for pictures (LLaVA, Idefics, SmolVLM, Qwen-VL, Gemma ...). `Suffix`: a prompt, and
behind it what is written (PaliGemma). `Continued`: one text that goes on (BLIP's captions, BLIP-2). `Answered`: an
encoder reads the question, a decoder writes (BLIP's answers, Florence-2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

from nbtrain.data import encoding
from nbtrain.data.pictured import PLACE, Talk, parts
from nbtrain.errors import DataError
from nbtrain.trainers.vlm._labels import IGNORED, answers_in

Batch = dict[str, Any]


class Manner(Protocol):
    """How one kind of model is shown rows. Pictures of a Talk are opened before it gets here.

    processor: what makes inputs of pictures and texts.
    causal: whether what is written goes on from what was read; else an encoder reads and a decoder writes.
    own_loss: whether the model's own loss is taken: it is more than cross entropy, or the only thing it tells.
    ends_itself: whether its `generate` knows which token ends an answer, and will not be told.
    """

    processor: Any
    causal: bool
    own_loss: bool
    ends_itself: bool

    def judge(self, talk: Talk) -> None:
        """Raise DataError where the model cannot be shown this row; pictures are not looked at."""

    def learnt(self, talks: Sequence[Talk]) -> Batch:
        """Inputs of the model, padded on the right, with labels on the answers and nowhere else."""

    def asked(self, talks: Sequence[Talk]) -> Batch:
        """Inputs of `generate`, padded on the left: everything before the last answer."""

    def written(self, ids: Any, asked: Batch) -> Any:
        """(rows, tokens) of what `generate` gave to the tokens that are new."""


class Chat:
    """A model with a chat template.

    Args:
        processor: its chat_template is a jinja text.
    """

    causal, own_loss, ends_itself = True, False, False

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    @cached_property
    def template(self) -> encoding.Template:
        """The template, with the tokenizer as it is now."""
        return encoding.Template(self.processor.tokenizer, self.processor.chat_template, parts)

    def judge(self, talk: Talk) -> None:
        self._rendered(talk)

    def learnt(self, talks: Sequence[Talk]) -> Batch:
        rendered = [self._rendered(talk) for talk in talks]
        texts, spans = [text for text, _ in rendered], [places for _, places in rendered]
        batch = self._processed(texts, talks, "right")
        marked = encoding.tokens(self.processor.tokenizer, texts, spans)
        labels = [answers_in(*pair) for pair in zip(batch["input_ids"].tolist(), marked, strict=True)]
        return {**batch, "labels": batch["input_ids"].new_tensor(labels)}

    def asked(self, talks: Sequence[Talk]) -> Batch:
        return self._processed([self.template.prompt(talk.messages[:-1]) for talk in talks], talks, "left")

    def written(self, ids: Any, asked: Batch) -> Any:
        return ids[:, asked["input_ids"].shape[1] :]

    def _rendered(self, talk: Talk) -> tuple[str, encoding.Spans]:
        text, spans = self.template.render(talk.messages, True)
        if not spans:
            raise DataError("the chat template leaves the answer out", fix="Take a model whose template writes it.")
        begin, end = spans[-1]
        if not self.template.control.search(text, begin):
            # a model that never saw an end after an answer would not stop
            text = text[:end].rstrip() + (self.processor.tokenizer.eos_token or "")
            spans = [*spans[:-1], (begin, len(text))]
        return text, spans

    def _processed(self, texts: list[str], talks: Sequence[Talk], side: str) -> Batch:
        start = self.processor.tokenizer.bos_token
        # a template may have written the beginning itself
        given = {"add_special_tokens": False} if start and texts[0].startswith(start) else {}
        return _processed(self.processor, texts, talks, side, **given)


class Suffix:
    """A model whose processor is told apart what is read and what is written behind it, its suffix."""

    causal, own_loss, ends_itself = True, False, False

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def judge(self, talk: Talk) -> None:
        refuse_marks(self.processor, talk)

    def learnt(self, talks: Sequence[Talk]) -> Batch:
        # the processor puts labels on the suffix, and the mask of its attention with them
        return _processed(
            self.processor, list(map(_placed, talks)), talks, "right", suffix=[talk.answer for talk in talks]
        )

    def asked(self, talks: Sequence[Talk]) -> Batch:
        batch = _processed(self.processor, list(map(_placed, talks)), talks, "left")
        return {name: value for name, value in batch.items() if name != "labels"}

    def written(self, ids: Any, asked: Batch) -> Any:
        return ids[:, asked["input_ids"].shape[1] :]


class Continued:
    """A model that goes on with a text, and is shown the picture beside it.

    Args:
        start: the token that a text begins with where that is not the tokenizer's own (BLIP); None: its own.
    """

    causal = True

    def __init__(self, processor: Any, start: int | None = None) -> None:
        self.processor, self.start = processor, start
        self.own_loss = self.ends_itself = start is not None  # BLIP smooths its labels

    def judge(self, talk: Talk) -> None:
        refuse_marks(self.processor, talk)
        one_picture(talk)

    def learnt(self, talks: Sequence[Talk]) -> Batch:
        texts = [self._ended(f"{talk.question} {talk.answer}".strip()) for talk in talks]
        batch = self._begun(texts, talks, "right")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
        for row, text, talk in zip(labels, texts, talks, strict=True):
            new = len(self._ids(text)) - len(self._without_end(self._ids(talk.question)))
            # counted from the end: tokens for the picture may stand before the text
            row[: int((row != IGNORED).sum()) - new] = IGNORED
        return {**batch, "labels": labels}

    def asked(self, talks: Sequence[Talk]) -> Batch:
        # BLIP takes the last token off itself: it is the end that its tokenizer writes
        return self._begun([talk.question for talk in talks], talks, "left")

    def written(self, ids: Any, asked: Batch) -> Any:
        read = asked["input_ids"].shape[1] - (self.start is not None)
        return ids[:, read:]

    def _begun(self, texts: list[str], talks: Sequence[Talk], side: str) -> Batch:
        batch = _processed(self.processor, texts, talks, side)
        if self.start is not None:
            first = (batch["attention_mask"] != 0).int().argmax(-1, keepdim=True)
            batch["input_ids"] = batch["input_ids"].scatter(1, first, self.start)
        return batch

    def _ids(self, text: str) -> list[int]:
        return list(self.processor.tokenizer(text).input_ids)

    def _without_end(self, ids: list[int]) -> list[int]:
        """Tokens without the end that some tokenizers write behind every text."""
        tokenizer = self.processor.tokenizer
        ends = {tokenizer.eos_token_id, tokenizer.sep_token_id}
        return ids[:-1] if len(ids) > 1 and ids[-1] in ends else ids

    def _ended(self, text: str) -> str:
        ids = self._ids(text)
        return text if self._without_end(ids) != ids else text + (self.processor.tokenizer.eos_token or "")


class Answered:
    """A model with an encoder for pictures and questions, and a decoder that writes.

    Args:
        start: the token that an answer begins with, for a model that does not put it there itself (BLIP); None: it
            does.
    """

    causal, own_loss = False, True

    def __init__(self, processor: Any, start: int | None = None) -> None:
        self.processor, self.start = processor, start
        self.ends_itself = start is not None

    def judge(self, talk: Talk) -> None:
        refuse_marks(self.processor, talk)
        one_picture(talk)

    def learnt(self, talks: Sequence[Talk]) -> Batch:
        batch = _processed(self.processor, [talk.question for talk in talks], talks, "right")
        found = self.processor.tokenizer(
            [talk.answer for talk in talks], padding=True, padding_side="right", return_tensors="pt"
        )
        labels = found.input_ids.masked_fill(found.attention_mask == 0, IGNORED)
        if self.start is None:
            return {**batch, "labels": labels}
        ids = found.input_ids.clone()
        ids[:, 0] = self.start
        labels[:, 0] = IGNORED
        # of labels alone this model would make tokens to read, those that are ignored among them
        return {
            **batch,
            "decoder_input_ids": ids,
            "decoder_attention_mask": found.attention_mask,
            "labels": labels,
        }

    def asked(self, talks: Sequence[Talk]) -> Batch:
        return _processed(self.processor, [talk.question for talk in talks], talks, "right")

    def written(self, ids: Any, asked: Batch) -> Any:
        return ids


def refuse_marks(processor: Any, talk: Talk) -> None:
    """Raise DataError where a text holds a token that the tokenizer takes for a mark."""
    marks = [mark for mark in processor.tokenizer.all_special_tokens if len(mark) > 2]
    for said in (talk.question, talk.answer):
        if found := next((mark for mark in marks if mark in said), ""):
            what = f"{found!r} stands in a text: the tokenizer reads it as a control token, not as text"
            raise DataError(what, fix="Remove it from the row.")


def one_picture(talk: Talk) -> None:
    """Raise DataError where a row has several pictures."""
    if len(talk.pictures) != 1:
        raise DataError(
            f"{len(talk.pictures)} pictures in a row: this model is shown one",
            fix="Keep one of them, or choose a model with a chat template.",
        )


def _placed(talk: Talk) -> str:
    return PLACE * len(talk.pictures) + talk.question


def _processed(processor: Any, texts: list[str], talks: Sequence[Talk], side: str, **given: Any) -> Batch:
    batch = processor(
        text=texts,
        images=[list(talk.pictures) for talk in talks],
        padding=True,
        padding_side=side,
        return_tensors="pt",
        **given,
    )
    return dict(batch)
