"""Questions whose answer is a piece of a text: the forms in which they come, and the windows that a model reads."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nbtrain.data import columns
from nbtrain.data.forms import text
from nbtrain.errors import DataError, listing

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

ROLES: columns.Roles = {
    "context": ("context", "passage", "paragraph", "text", "document", "article"),
    "question": ("question", "query", "prompt"),
    "answers": ("answers", "answer", "answer_text"),
    "answer_start": ("answer_start", "answer_starts", "start_position", "start"),
    "is_impossible": ("is_impossible", "impossible"),
}
_NEEDED = ("context", "question", "answers")
_SHAPE = 'Write {"text": ["..."], "answer_start": [0]}, or the answer in one column and its offset in another.'


class Answer(NamedTuple):
    """An answer and the character of the context at which it begins."""

    text: str
    start: int


class Question(NamedTuple):
    """One row. answers: none where the context does not hold one."""

    question: str
    context: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Form:
    """Which column holds what; see `check.Form`."""

    columns: Mapping[str, str]

    def __str__(self) -> str:
        return "questions: " + ", ".join(
            role if role == column else f"{role} from {column}" for role, column in self.columns.items()
        )

    def content(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The row as (role, text); see `check.Form`."""
        read = self.read(row)
        said = " | ".join(answer.text for answer in read.answers) or "(none in the text)"
        return (("question", read.question), ("context", read.context), ("answers", said))

    def notes(self) -> list[str]:
        """What the user should know of how the columns are read."""
        return []

    def read(self, row: Mapping[str, Any]) -> Question:
        """The row as a question.

        Raises:
            DataError: the row cannot be used; `where` is its column.
        """
        question, context = (text(row[self.columns[role]], self.columns[role]) for role in ("question", "context"))
        column = self.columns["answers"]
        given = _answers(row[column], row.get(self.columns.get("answer_start", "")), column)
        if given and _is_true(row.get(self.columns.get("is_impossible", ""))):
            what = f"marked as without an answer, and the answer is {given[0][0]!r}"
            raise DataError(what, where=self.columns["is_impossible"], fix="Remove the mark, or the answer.")
        return Question(question, context, tuple(_placed(*answer, context, column) for answer in given))


def recognise(
    dataset: Dataset, mapping: Mapping[str, str] | None = None, named: Mapping[str, str] | None = None
) -> Form:
    """The columns by the user's word, and else by their usual names.

    Args:
        mapping: role to column, as --column-mapping has it.
        named: role to column, from flags of their own; they go before the mapping.

    Raises:
        DataError: a role has no column, or one that the user names is not there.
    """
    names = dataset.column_names
    found = columns.find(names, ROLES, {**(mapping or {}), **(named or {})})
    if lacking := [role for role in _NEEDED if role not in found]:
        what = f"There is no column for {' and for '.join(lacking)}; there are {listing(names)}."
        fix = "Name it: --text-column (the context), --question-column, --answer-column."
        raise DataError(what, fix=fix)
    return Form(found)


def _answers(value: Any, start: Any, column: str) -> list[tuple[str, Any]]:
    """Each answer and its offset, None where the row has none."""
    value = _parsed(value, column)
    if isinstance(value, Mapping):
        value, start = value.get("text"), value.get("answer_start", start)
    if value is None or value != value or value in ("", []):
        return []
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        return [(each.get("text"), each.get("answer_start")) for each in value]
    texts = value if isinstance(value, list) else [value]
    start = _parsed(start, column)
    starts = start if isinstance(start, list) else [start] if start not in (None, "") else [None] * len(texts)
    if len(starts) != len(texts):
        what = f"{len(texts)} answers and {len(starts)} offsets"
        raise DataError(what, where=column, fix="Give each answer its offset.")
    return list(zip(texts, starts, strict=True))


def _parsed(value: Any, column: str) -> Any:
    """The list or object in a text of JSON or of Python, as CSV files hold them; all else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    if "array(" in value:  # pandas writes a cell of numpy arrays so
        raise DataError("the text of a numpy array", where=column, fix="Save the data as parquet or JSON lines.")
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError, RecursionError):
            continue
    return value


def _is_true(value: Any) -> bool:
    return value.strip().lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)


def _placed(answer: Any, start: Any, context: str, column: str) -> Answer:
    """The answer where it stands; without an offset, where it stands first."""
    answer = text(answer, column)
    places = _places(answer, context)
    if start is None or start != start:
        if not places:
            what = f"the answer {answer[:60]!r} does not stand in the context"
            raise DataError(what, where=column, fix="Write it as the context has it, letter by letter.")
        return Answer(answer, places[0])
    try:
        at = int(float(start))
    except (TypeError, ValueError):
        raise DataError(f"the offset {start!r} is no whole number", where=column, fix=_SHAPE) from None
    if at >= 0 and context.startswith(answer, at):
        return Answer(answer, at)
    found = context[max(at, 0) : max(at, 0) + len(answer)]
    what = f"at the offset {at} stands {found[:60]!r}, not the answer {answer[:60]!r}"
    nearest = min(places, key=lambda place: abs(place - at), default=None)
    fix = "It does not stand in the context: write it as the context has it, letter by letter."
    raise DataError(what, where=column, fix=fix if nearest is None else f"It begins at {nearest}: correct the offset.")


def _places(answer: str, context: str) -> list[int]:
    found, at = [], context.find(answer)
    while at >= 0:
        found.append(at)
        at = context.find(answer, at + 1)
    return found


class Windows(NamedTuple):
    """How long texts are read. longest: tokens of a window. overlap: tokens that two windows share."""

    longest: int
    overlap: int


def windows(tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], how: Windows) -> dict[str, list[Any]]:
    """Each question with each window of its context, in tokens.

    A question that would leave a window no room loses its end: it has a quarter of the window at most.

    Returns:
        Columns, one row a window: input_ids; token_type_ids where the tokenizer makes them; start_positions and
        end_positions, the first and last token of the first answer, or the place of the beginning token (also
        `blank`) where this window does not hold it whole; offsets, (tokens, 2) characters of the context, (-1, -1) for
        tokens that are none of it; question, the index in `questions`.
    """
    asked = _shortened(tokenizer, [each.question for each in questions], how.longest // 4)
    found = tokenizer(
        asked,
        [each.context for each in questions],
        truncation="only_second",
        max_length=how.longest,
        stride=how.overlap,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    columns: dict[str, list[Any]] = {name: found[name] for name in ("input_ids", "token_type_ids") if name in found}
    columns |= {name: [] for name in ("start_positions", "end_positions", "blank", "offsets", "question")}
    for at, source in enumerate(found["overflow_to_sample_mapping"]):
        ids, parts = found["input_ids"][at], found.sequence_ids(at)
        offsets = [
            pair if part == 1 else (-1, -1) for pair, part in zip(found["offset_mapping"][at], parts, strict=True)
        ]
        blank = ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0
        answers = questions[source].answers
        first, last = _tokens_of(answers[0], offsets) if answers else (blank, blank)
        values = (first if first >= 0 else blank, last if first >= 0 else blank, blank, offsets, source)
        for name, value in zip(
            ("start_positions", "end_positions", "blank", "offsets", "question"), values, strict=True
        ):
            columns[name].append(value)
    return columns


def _shortened(tokenizer: PreTrainedTokenizerBase, texts: list[str], longest: int) -> list[str]:
    found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False)
    return [
        text[: offsets[longest - 1][1]] if len(offsets) > longest else text
        for text, offsets in zip(texts, found["offset_mapping"], strict=True)
    ]


def _tokens_of(answer: Answer, offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """First and last token of the answer, (-1, -1) where the window does not hold it whole."""
    blanks = len(answer.text) - len(answer.text.lstrip())
    start, end = answer.start + blanks, answer.start + len(answer.text.rstrip())
    within = [at for at, (begin, stop) in enumerate(offsets) if begin >= 0 and stop > start and begin < end]
    if not within or offsets[within[0]][0] > start or offsets[within[-1]][1] < end:
        return -1, -1
    return within[0], within[-1]
