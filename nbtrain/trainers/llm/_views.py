"""One row as a teacher sees it and as its student does, in words and in tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nbtrain.data import chat, prompts
from nbtrain.trainers.llm._distillation import INPUT
from nbtrain.trainers.llm._flat import IGNORED
from nbtrain.trainers.llm._teacher import Asked


class Seen(NamedTuple):
    """One row: what the data asks, how each sees it, and the data's own answer, None where it has none."""

    input: str
    teacher: Asked
    student: Asked
    answer: Mapping[str, Any] | None


def seen(row: Mapping[str, Any], form: Any, views: tuple[str, str]) -> Seen:
    """A row as both see it. In a conversation the template holds its first question."""
    if form.name == "text":
        words = form.content(row)[0][1]
        return Seen(words, *(view.replace(INPUT, words) for view in views), {"content": ""})
    if isinstance(form, prompts.Prompts):
        turns, answer = form.messages(row), None
    else:
        turns = chat.messages(row, form)
        last = max(place for place, turn in enumerate(turns) if turn["role"] == "assistant")
        turns, answer = turns[:last], turns[last]
    return of_turns(turns, answer, views)


def of_turns(turns: list[dict[str, Any]], answer: Mapping[str, Any] | None, views: tuple[str, str]) -> Seen:
    """A conversation as both see it, and its answer."""
    questions = [place for place, turn in enumerate(turns) if turn["role"] == "user"]

    def put(template: str) -> list[dict[str, Any]]:
        first = questions[0]
        told = turns[first] | {"content": template.replace(INPUT, turns[first]["content"])}
        return [*turns[:first], told, *turns[first + 1 :]]

    return Seen(turns[questions[-1]]["content"], put(views[0]), put(views[1]), answer)


def pair(row: Mapping[str, Any], begin: list[int], lead: list[int], limit: int) -> dict[str, Any] | None:
    """The student's row and the teacher's, with the same trained tokens in the same order; None where none is left.

    Args:
        row: input_ids and labels, -100 where not trained.
        begin: the teacher's tokens before the first trained one. lead: of the student, before the row.
        limit: tokens of the teacher's row; what is longer loses its end, and the student's with it.
    """
    skip = (
        1 if lead and row["labels"][0] == row["input_ids"][0] == lead[0] else 0
    )  # the lead has begun the text already
    ids = [*lead, *row["input_ids"][skip:]]
    labels = [*[IGNORED] * len(lead), *row["labels"][skip:]]
    first = next((place for place, label in enumerate(labels) if label != IGNORED), len(labels))
    if not (begin and first):  # nothing stands before it that could foresee it
        labels[first : first + 1] = [IGNORED]
    theirs, marks = [*begin, *ids[first:]], [*[IGNORED] * len(begin), *labels[first:]]
    over = max(0, len(theirs) - limit)
    end, stop = len(ids) - over, len(theirs) - over
    if all(label == IGNORED for label in labels[: max(end, 0)]):
        return None
    return {
        "input_ids": ids[:end],
        "labels": labels[:end],
        "length": end,
        "cut": over,
        "teacher_ids": theirs[:stop],
        "teacher_labels": marks[:stop],
    }
