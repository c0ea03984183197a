"""A conversation as token ids, and which of them are trained."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbtrain.data.forms import Message
from nbtrain.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Spans = list[tuple[int, int]]
"""(begin, end) in characters, in order."""
Part = dict[str, str]
"""Of a message: {"type": "text", "text": ...}, or {"type": "image"}."""


@dataclass(frozen=True)
class Encoded:
    """A row as tokens.

    trained: 1 where a token is learned, 0 where it is only read; as long as `input_ids`. cut: tokens beyond the limit.
    """

    input_ids: list[int]
    trained: list[int]
    cut: int = 0


def encode(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: str,
    max_length: int | None = None,
    response_only: bool = True,
) -> Encoded:
    """A conversation as tokens.

    The conversation is rendered once and tokenised once, so the ids are those that the model will meet. What the
    assistant says is found by rendering: it begins where the prompt of the turns before it ends, and goes to the end of
    its turn, its end mark included. A template that marks it itself ({% generation %}) is believed.

    Args:
        messages: as `forms.messages` gives them.
        template: jinja.
        max_length: tokens; what is beyond is cut off at the end. None: no limit.
        response_only: only what the assistant says is trained; else all.

    Raises:
        DataError: the template fails, a message holds a control token, or the answers cannot be told from the rest.
    """
    text, spans = Template(tokenizer, template).render(messages, response_only)
    return cut(tokens(tokenizer, [text], [spans])[0], max_length)


class Template:
    """A template with a tokenizer: conversations to text, and the places in it where the assistant speaks.

    Args:
        template: jinja.
        parts: the content of a message as the template takes it, where that is a list of texts and pictures.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, template: str, parts: Callable[[str], list[Part]] | None = None
    ) -> None:
        self.tokenizer, self.template, self.parts = tokenizer, template, parts
        self.marks_itself = bool(re.search(r"\{%-?\s*generation\b", template))
        # one of two letters (a newline, a dash) would be met in any text
        control = [token for token in tokenizer.all_special_tokens if len(token) > 2]
        self.control = _any_of(control)
        self.marks = _any_of([str(token) for token in tokenizer.added_tokens_decoder.values()])

    def render(self, messages: Sequence[Message], response_only: bool) -> tuple[str, Spans]:
        """The text of a conversation, and (begin, end) in characters of what is trained."""
        for text in (text for message in messages for text in self._texts(message)):
            if found := self.control.search(text):
                what = f"{found.group()!r} stands in a message: the tokenizer reads it as a control token, not as text"
                raise DataError(what, fix="Remove it from the row.")
        if self.marks_itself and response_only:
            return self._marked(messages)
        text = self._text(messages)
        return text, self._spans(messages, text) if response_only else [(0, len(text))]

    def prompt(self, messages: Sequence[Message]) -> str:
        """The text of a conversation that waits for an answer."""
        return self._text(messages, prompt=True)

    def _texts(self, message: Message) -> list[str]:
        if self.parts is None:
            return [message["content"]]
        return [part["text"] for part in self.parts(message["content"]) if part["type"] == "text"]

    def _told(self, messages: Sequence[Message]) -> list[Message]:
        if self.parts is None:
            return list(messages)
        return [{**message, "content": self.parts(message["content"])} for message in messages]

    def _text(self, messages: Sequence[Message], prompt: bool = False) -> str:
        with _refusals_told():
            return self.tokenizer.apply_chat_template(
                self._told(messages), chat_template=self.template, tokenize=False, add_generation_prompt=prompt
            )

    def _marked(self, messages: Sequence[Message]) -> tuple[str, Spans]:
        from transformers.utils.chat_template_utils import render_jinja_template

        with _refusals_told():
            texts, places = render_jinja_template(
                conversations=[self._told(messages)],
                chat_template=self.template,
                return_assistant_tokens_mask=True,
                **self.tokenizer.special_tokens_map,
            )
        return texts[0], [(begin, end) for begin, end in places[0]]

    def _spans(self, messages: Sequence[Message], text: str) -> Spans:
        spans = []
        for at, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            turn = text if at + 1 == len(messages) else self._text(messages[: at + 1])
            begin = self._beginning(messages[:at], text)
            end = len(turn) if text.startswith(turn) else self._ending(message["content"], turn, text, begin)
            spans.append((begin, end))
        return spans

    def _beginning(self, before: Sequence[Message], text: str) -> int:
        """Where the answer to the messages before it begins."""
        prompt = self._text(before, prompt=True)
        if text.startswith(prompt):
            return len(prompt)
        # a prompt that opens a thought which the answer does not have: what both share is not the model's to write
        begin = self._shared(text, prompt)
        if begin < self._shared(self._text(before), prompt):
            raise _untold()
        return begin

    def _ending(self, content: str, turn: str, text: str, begin: int) -> int:
        """Where a turn ends that is written otherwise when it is the last: with a thought, or an end of the whole."""
        for answer in (content.strip(), content.rpartition("</think>")[2].strip()):
            at = text.find(answer, begin)
            if at >= 0:
                rest = at + len(answer)
                return rest + self._shared(text[rest:], turn.rpartition(answer)[2])
        raise _untold()

    def _shared(self, one: str, other: str) -> int:
        """Characters in which both begin alike, no mark of the tokenizer cut through."""
        count = len(os.path.commonprefix([one, other]))
        for side in (one, other):
            cut = next((mark for mark in self.marks.finditer(side) if mark.start() < count < mark.end()), None)
            count = cut.start() if cut else count
        return count


def _any_of(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, words)) or r"(?!)")


@contextmanager
def _refusals_told() -> Iterator[None]:
    import jinja2

    try:
        yield
    except (jinja2.TemplateError, TypeError, KeyError, ValueError) as error:
        what = f"the chat template refuses the row: {error}"
        raise DataError(what, fix="Mend the row, or choose another with --chat-template.") from None


def _untold() -> DataError:
    what = "the chat template writes earlier turns otherwise than later ones: the answers cannot be found in its text"
    fix = "Add {% generation %} round the answers in the template, choose another with --chat-template, "
    return DataError(what, fix=fix + "or train on all tokens: --no-response-only-loss.")


def tokens(tokenizer: PreTrainedTokenizerBase, texts: list[str], spans: list[Spans]) -> list[Encoded]:
    """Rendered texts as tokens. A token is trained when any of its characters is."""
    if not tokenizer.is_fast:
        return [_in_pieces(tokenizer, text, places) for text, places in zip(texts, spans, strict=True)]
    if not texts:
        return []
    # the template has written the beginning of text itself
    found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    rows = []
    for ids, offsets, places in zip(found["input_ids"], found["offset_mapping"], spans, strict=True):
        trained, waiting = [], iter(places)
        begin, end = next(waiting, (0, 0))
        for first, last in offsets:
            while end <= first and end:
                begin, end = next(waiting, (0, 0))
            trained.append(int(begin < last and first < end and first < last))
        rows.append(Encoded(ids, trained))
    return rows


def _in_pieces(tokenizer: PreTrainedTokenizerBase, text: str, places: Spans) -> Encoded:
    """For tokenizers that do not say where a token stands: each side of a border is tokenised by itself."""
    ids: list[int] = []
    trained: list[int] = []
    borders = [0, *(border for place in places for border in place), len(text)]
    for at, (begin, end) in enumerate(zip(borders, borders[1:], strict=False)):
        piece = tokenizer(text[begin:end], add_special_tokens=False)["input_ids"] if begin < end else []
        ids += piece
        trained += [at % 2] * len(piece)
    return Encoded(ids, trained)


def cut(row: Encoded, limit: int | None) -> Encoded:
    """The first `limit` tokens of a row; None: all."""
    if limit is None or len(row.input_ids) <= limit:
        return row
    return Encoded(row.input_ids[:limit], row.trained[:limit], len(row.input_ids) - limit)
