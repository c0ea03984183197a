"""What is said about pictures: questions with their answers, captions, chats in which pictures stand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbtrain.data import columns, forms
from nbtrain.data.check import Content
from nbtrain.data.forms import Message, text
from nbtrain.data.images import ROLES as PICTURES
from nbtrain.data.images import seen
from nbtrain.errors import DataError, listing

if TYPE_CHECKING:
    from datasets import Dataset

PLACE = "<image>"
"""Stands for a picture in the text of a message, as LLaVA's data have it."""
VQA, CAPTIONING = "vqa", "captioning"
_IMAGE = ("image", "images", "picture", "pictures", *PICTURES["image"])
_PROMPT = ("prompt", "question", "query", "instruction", "problem")
_ANSWER = ("answer", "answers", "multiple_choice_answer", "response", "completion", "output", "text", "target", "label")
_CAPTION = ("caption", "captions", "description", "text", "sentence", "answer", "target", "response", "output")
_MESSAGES = columns.CHAT["messages"]
_WAITING = "..."
_HOLDS = ("image", "path", "url", "image_url", "bytes")  # keys of a part of a message that may hold its picture


@dataclass(frozen=True)
class Talk:
    """One row. pictures: cells as `images.opened` takes them, in the order of their places.

    messages: as `forms.messages` gives them, PLACE where a picture stands; the last is the answer.
    references: every answer that would be right, the one that is trained on among them.
    """

    pictures: tuple[Any, ...]
    messages: tuple[Message, ...]
    references: tuple[str, ...]

    @property
    def question(self) -> str:
        """What is asked before the last answer, without the places of pictures."""
        return " ".join(said.split()) if (said := bare(self.messages[-2]["content"])) else ""

    @property
    def answer(self) -> str:
        """What is trained on, the last of it in a chat with several answers."""
        return str(self.messages[-1]["content"])


def bare(content: str) -> str:
    """The text of a message without the places of pictures."""
    return content.replace(PLACE, "").strip()


def parts(content: str) -> list[dict[str, str]]:
    """The text of a message as a chat template takes it: its texts and the places of pictures, in their order."""
    found: list[dict[str, str]] = []
    for at, piece in enumerate(content.split(PLACE)):
        found += [{"type": "image"}] if at else []
        # a template writes what separates a picture from the text behind it
        found += [{"type": "text", "text": piece.strip("\n")}] if piece.strip() else []
    return found


@dataclass(frozen=True)
class Form:
    """Which column holds what; see `check.Form`.

    asked: what stands for a question where the rows have none.
    """

    columns: Mapping[str, str]
    asked: str = ""
    odd: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kind = "chats about pictures" if "messages" in self.columns else "pictures with texts"
        named = [role if role == name else f"{role} from {name}" for role, name in self.columns.items()]
        return f"{kind}: {', '.join(named)}"

    def content(self, row: Mapping[str, Any]) -> Content:
        """The prints of the pictures and the texts of the row; see `check.Form`."""
        talk, found = self.read(row), []
        for picture in talk.pictures:
            try:
                looked = seen(picture)
            except DataError as error:
                where = self.columns.get("image", self.columns.get("messages", ""))
                raise DataError(error.what, where=where, fix=error.fix) from None
            self.odd.update(looked.oddities)
            found.append(("image", f"{looked.size[0]} x {looked.size[1]} pixels, print {looked.print}"))
        self.answers[talk.answer.strip().casefold()] += 1
        return (*found, *((message["role"], message["content"]) for message in talk.messages))

    def notes(self) -> list[str]:
        """Pictures that were not ordinary, and how far the commonest answer gets."""
        found = [f"{count:,} pictures are {oddity}." for oddity, count in self.odd.items()]
        if self.answers and (common := self.answers.most_common(1)[0])[1] > 1:
            share = common[1] / self.answers.total()
            found.append(f"Whoever always says {common[0][:60]!r} is right in {share:.1%} of all rows.")
        return found

    def read(self, row: Mapping[str, Any]) -> Talk:
        """The row as pictures and messages.

        Raises:
            DataError: the row cannot be used; `where` is its column.
        """
        pictures = listed(row[self.columns["image"]]) if "image" in self.columns else ()
        if "messages" in self.columns:
            return self._chat(row, pictures)
        column = self.columns["text"]
        right = _answers(row[column], column)
        question = text(row[name], name, number=True) if (name := self.columns.get("prompt")) else self.asked
        return Talk(pictures, (_with_places(question, pictures, name or column), _said(right[0])), _unique(right))

    def _chat(self, row: Mapping[str, Any], pictures: tuple[Any, ...]) -> Talk:
        column = self.columns["messages"]
        turns, held = _flat(row[column])
        messages = forms.messages({column: turns}, forms.Form("messages", {"messages": column}))
        while messages[-1]["role"] != "assistant":
            messages.pop()  # nobody answers: nothing is learnt of it
        first = next(at for at, message in enumerate(messages) if message["role"] == "user")
        pictures = pictures or held
        if not any(PLACE in message["content"] for message in messages):
            messages[first] = _with_places(messages[first]["content"], pictures, column)
        places = sum(message["content"].count(PLACE) for message in messages)
        if not pictures or places != len(pictures):
            what = f"{places} places for pictures, and {len(pictures)} pictures"
            raise DataError(what, where=column, fix="Give each picture its place, or leave out all places.")
        if any(PLACE in message["content"] for message in messages if message["role"] == "assistant"):
            raise DataError("a picture in an answer", where=column, fix="The model writes texts only: move it.")
        return Talk(pictures, tuple(messages), (messages[-1]["content"],))


def recognise(rows: Dataset, trainer: str, *, given: Mapping[str, str], asked: str) -> Form:
    """The columns by the user's word, and else by their usual names.

    Args:
        trainer: vqa or captioning.
        given: role (image, prompt, text, messages) to column, by the user's word.
        asked: what stands for a question in captions.

    Raises:
        DataError: a role has no column, or one that the user names is not there.
    """
    found = columns.find(rows.column_names, _roles(trainer), given)
    needed = ("image", *_needed(trainer), "text")
    if "messages" in given or ("messages" in found and not {"text", *_needed(trainer)} <= found.keys()):
        return Form({role: found[role] for role in ("messages", "image") if role in found})
    found.pop("messages", None)
    if lacking := [role for role in needed if role not in found]:
        flags = {"image": "--image-column", "prompt": "--prompt-text-column", "text": "--text-column"}
        what = f"There is no column for the {' and the '.join(lacking)}; there are {listing(rows.column_names)}."
        hint = " Captions have no questions: --trainer captioning." if lacking == ["prompt"] else ""
        raise DataError(what, fix=f"Name it: {', '.join(flags[role] for role in lacking)}.{hint}")
    return Form(found, asked)


def holds_chats(rows: Dataset, column: str) -> bool:
    """Whether the cells of this column are chats, as lists of messages or as their JSON."""
    cell = next(iter(rows.select(range(min(1, len(rows))))[column]), None) if column in rows.column_names else None
    turns, _ = _flat(cell)
    return isinstance(turns, list) and bool(turns) and isinstance(turns[0], Mapping) and "role" in turns[0]


def waiting(row: Mapping[str, Any], trainer: str, named: Mapping[str, str], asked: str) -> Talk:
    """A new row, which waits for its answer; what stands in the answer's place says nothing.

    Args:
        named: role to column, where the row has it; else the usual names count.
        asked: what stands for a question in captions.

    Raises:
        DataError: it has no picture, or no question where there should be one.
    """
    roles = _roles(trainer)
    given = {role: name for role, name in named.items() if role in roles and name in row}
    found = columns.find(row, roles, given)
    if "messages" in found and "prompt" not in found:
        turns, held = _flat(row[found["messages"]])
        pictures = listed(row[found["image"]]) if "image" in found else held
        return Form({"messages": "chat", "image": "seen"}).read({"chat": [*turns, _said(_WAITING)], "seen": pictures})
    if lacking := [role for role in ("image", *_needed(trainer)) if role not in found]:
        what = f"a row to predict has no {' and no '.join(lacking)}; it has {', '.join(map(str, row))}"
        raise DataError(what, fix="Name its columns as in training, or image and question.")
    cells = {role: row[found[role]] for role in ("image", "prompt") if role in found}
    return Form({role: role for role in (*cells, "text")}, asked).read({**cells, "text": _WAITING})


def _roles(trainer: str) -> columns.Roles:
    captions = trainer == CAPTIONING
    return {
        "image": _IMAGE,
        # of captions only a column that is called so: a question beside them is no part of them
        "prompt": ("prompt",) if captions else _PROMPT,
        "text": _CAPTION if captions else _ANSWER,
        "messages": _MESSAGES,
    }


def _needed(trainer: str) -> tuple[str, ...]:
    return () if trainer == CAPTIONING else ("prompt",)


def listed(cell: Any) -> tuple[Any, ...]:
    """The pictures of a cell: one, or all in its list."""
    if isinstance(cell, str) and cell.startswith("["):
        try:
            cell = json.loads(cell)
        except ValueError:
            return (cell,)
    return tuple(cell) if isinstance(cell, (list, tuple)) else (cell,)


def _said(answer: str) -> Message:
    return {"role": "assistant", "content": answer}


def _with_places(question: str, pictures: Sequence[Any], column: str) -> Message:
    """The question of a user, the pictures before it unless it has places for them."""
    places = question.count(PLACE)
    if places and places != len(pictures):
        what = f"{places} places for pictures, and {len(pictures)} pictures"
        raise DataError(what, where=column, fix=f"Write {PLACE} once for each picture, or not at all.")
    return {"role": "user", "content": question if places else PLACE * len(pictures) + question}


def _answers(cell: Any, column: str) -> list[str]:
    """The texts of a cell, the one that is given most often first."""
    cells = cell if isinstance(cell, list) and cell else [cell]
    cells = [each.get("answer") if isinstance(each, Mapping) else each for each in cells]
    found = [text(each, column, number=True) for each in cells]
    if any(PLACE in each for each in found):
        raise DataError(f"{PLACE} in an answer", where=column, fix="Remove it: the model writes texts only.")
    return [each for each, _ in Counter(found).most_common()]


def _unique(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _flat(value: Any) -> tuple[Any, tuple[Any, ...]]:
    """Messages with PLACE where a part is a picture, and the pictures that the parts hold themselves."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return value, ()
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
        return value, ()
    held: list[Any] = []
    turns = []
    for turn in value:
        content = turn.get("content", turn.get("value"))
        if isinstance(content, list):
            content = "".join(_part(part, held) for part in content)
        turns.append({"role": turn.get("role", turn.get("from")), "content": content})
    return turns, tuple(held)


def _part(part: Any, held: list[Any]) -> str:
    """A part of a message as text; the picture it holds is added to `held`."""
    if not isinstance(part, Mapping):
        return str(part)
    kind = part.get("type") or "text"
    if kind not in ("image", "image_url"):
        return str(part.get("text") or "")
    picture = next((part[key] for key in _HOLDS if part.get(key)), None)
    if isinstance(picture, Mapping) and "url" in picture:
        picture = picture["url"]
    held += [picture] if picture is not None else []
    return PLACE
