"""Rows as a teacher and its student see them.

Both see the same trained tokens. What stands before the first of them may differ: the teacher's row is the beginning
that its own prompt makes, and then the student's row from its first trained token on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from nbtrain.data import chat, prompts
from nbtrain.data.arrows import Writer
from nbtrain.data.read import Splits
from nbtrain.errors import DataError, ParamError
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers.llm import _teacher
from nbtrain.trainers.llm._distillation import INPUT
from nbtrain.trainers.llm._flat import IGNORED
from nbtrain.trainers.llm._teacher import Asked, Question, Teacher

_SEEN = 20  # rows that show whether there are answers
_ROWS = 256  # written at once

Prepare = Callable[..., Any]
"""(params, run, splits, form, tokenizer, longest) to Tokens, as each method has it."""


def recognise(usual: Callable[..., Any], params: Any, splits: Splits) -> Any:
    """The form of the rows; of chats, prompts without answers will do: the teacher writes them.

    Args:
        usual: (params, splits) to the form that the method reads without a teacher.
    """
    if params.trainer in ("default", "generic"):
        return usual(params, splits)
    try:
        form = usual(params, splits)
        if form.name != "text" and _answered(form, splits.train):
            return form
    except DataError:
        pass  # no column of answers; where there are no prompts either, it is told now
    named = {"prompt": params.text_column} if "text_column" in params.given() else {}
    return prompts.recognise(splits.train, params.column_mapping, named)


def _answered(form: chat.Form, rows: Any) -> bool:
    for row in rows.select(range(min(_SEEN, len(rows)))):
        try:
            return bool(form.content(row))
        except DataError:
            continue
    return False


@dataclass(frozen=True)
class Lesson:
    """What is needed to show rows to both.

    inner: a method's own way from rows to tokens. on_logits: whether both have the same tokens.
    """

    inner: Prepare
    params: Any
    run: ActiveRun
    teacher: Teacher
    tokenizer: Any
    on_logits: bool

    @property
    def views(self) -> tuple[str, str]:
        """The templates of the teacher's prompt and of the student's."""
        return self.params.teacher_prompt_template or INPUT, self.params.student_prompt_template

    @property
    def limit(self) -> int:
        """Tokens of the teacher's longest row."""
        return int(self.params.distill_max_teacher_length)


def prepare(  # noqa: PLR0913  the method's own, and what that takes
    inner: Prepare, params: Any, run: ActiveRun, splits: Splits, form: Any, tokenizer: Any, longest: int
) -> Any:
    """The tokens of the rows as the student sees them, and the teacher where it teaches on logits.

    A teacher with other tokens, or without any, writes what the student then learns as text.
    """
    teacher = _teacher.opened(params, run)
    on_logits = teacher.tokenizer is not None and teacher.tokenizer.get_vocab() == tokenizer.get_vocab()
    if on_logits and params.backend == "trl" and params.trainer in ("default", "generic", "sft"):
        raise ParamError("--backend trl has a loss of its own, which knows no teacher", fix="leave --backend out")
    lesson = Lesson(inner, params, run, teacher, tokenizer, on_logits)
    run.warn(f"The teacher is {teacher.name}: the student learns from its {'logits' if on_logits else 'text'}.")
    if not on_logits and "distill_temperature" in params.given():
        run.warn("--distill-temperature is for logits: on text it has no effect.")
    is_text = getattr(form, "name", "") == "text"
    tokens = (_texts if is_text and on_logits else _chats)(lesson, splits, form, longest)
    if teacher.cost.calls:
        run.warn(f"What the teacher wrote took {teacher.cost}.")
    run.report["teacher"] = {"name": teacher.name, "written": teacher.cost.record()}
    return replace(tokens, teacher=teacher) if on_logits else tokens


def _texts(lesson: Lesson, splits: Splits, form: Any, longest: int) -> Any:
    """Plain text on logits: what its template has before {input} leads each text of the one and of the other.

    What a template has behind {input} no token of the text can see.
    """
    words = [view.partition(INPUT)[0] for view in lesson.views]
    theirs, ours = (_teacher.prompt_ids(lesson.tokenizer, lead) if lead else [] for lead in words)
    longest = min(longest - len(ours), lesson.limit - len(theirs))
    if longest < 2:
        what = f"--distill-max-teacher-length {lesson.limit} leaves no room behind the prompt of {len(theirs)} tokens"
        raise ParamError(what, fix="raise it, or shorten the template.")
    if not (theirs or ours):
        return lesson.inner(lesson.params, lesson.run, splits, form, lesson.tokenizer, longest)
    apart = lesson.params.but(packing=False)  # each text stands behind its own lead
    tokens = lesson.inner(apart, lesson.run, splits, form, lesson.tokenizer, longest)
    led = tuple(replace(each, ids=(*ours, *each.ids)) for each in tokens.prompts)
    return replace(_apart(lesson, tokens, lambda row: theirs, lambda row: theirs, lead=ours), prompts=led)


def _chats(lesson: Lesson, splits: Splits, form: Any, longest: int) -> Any:
    """Chats, and whatever the teacher writes."""
    params, teacher = lesson.params, lesson.teacher
    same = lesson.on_logits and lesson.views[0] == lesson.views[1]
    if same and teacher.tokenizer.chat_template:
        same = teacher.tokenizer.chat_template == chat.template_for(lesson.tokenizer, params.chat_template)
    if same and lesson.views[1] == INPUT and not isinstance(form, prompts.Prompts):
        return lesson.inner(params, lesson.run, splits, form, lesson.tokenizer, min(longest, lesson.limit))
    if not same and lesson.on_logits and (params.packing or params.trainer != "sft"):
        what = f"teacher and student see different prompts, which {'--packing' if params.packing else 'text'} joins"
        raise ParamError(what, fix="take --trainer sft without --packing, or the same prompt for both.")
    splits, form = _written(lesson, splits, form)
    tokens = lesson.inner(params, lesson.run, splits, form, lesson.tokenizer, longest)
    if same or not lesson.on_logits:
        return tokens
    template = lesson.tokenizer.chat_template  # as the method has set it

    def begins(rows: Any) -> Callable[[Mapping[str, Any]], list[int]]:
        return lambda row: _teacher.prompt_ids(teacher.tokenizer, json.loads(rows[row["row"] - 1]["asked"]), template)

    return _apart(lesson, tokens, begins(splits.train), begins(splits.valid))


class Seen(NamedTuple):
    """One row: what the data asks, how each sees it, and the data's own answer, None where it has none."""

    input: str
    teacher: Asked
    student: Asked
    answer: Mapping[str, Any] | None


def seen(row: Mapping[str, Any], form: Any, views: tuple[str, str]) -> Seen:
    """A row as both see it. In a conversation the template holds its first question."""
    if getattr(form, "name", "") == "text":
        words = form.content(row)[0][1]
        return Seen(words, *(view.replace(INPUT, words) for view in views), {"content": ""})
    if isinstance(form, prompts.Prompts):
        turns, answer = form.messages(row), None
    else:
        turns = chat.messages(row, form)
        last = max(place for place, turn in enumerate(turns) if turn["role"] == "assistant")
        turns, answer = turns[:last], turns[last]
    questions = [place for place, turn in enumerate(turns) if turn["role"] == "user"]

    def put(template: str) -> list[dict[str, Any]]:
        first = questions[0]
        told = turns[first] | {"content": template.replace(INPUT, turns[first]["content"])}
        return [*turns[:first], told, *turns[first + 1 :]]

    return Seen(turns[questions[-1]]["content"], put(views[0]), put(views[1]), answer)


def _written(lesson: Lesson, splits: Splits, form: Any) -> tuple[Splits, chat.Form]:
    """The rows as the student sees them, with the teacher's answers; "asked" is what the teacher sees, as JSON."""
    parts = {name: _answers(lesson, name, rows, form) for name, rows, _ in splits.items()}
    if not len(parts["train"]):
        raise DataError("The teacher has no answer to any row.", fix="Look at --teacher-model and its prompts.")
    valid = parts.get("valid")
    column = "text" if getattr(form, "name", "") == "text" else "messages"
    changed = replace(splits, train=parts["train"], valid=valid if valid is not None and len(valid) else None)
    return changed, chat.Form(column, {column: column})


def _answers(lesson: Lesson, name: str, rows: Any, form: Any) -> Any:
    """One split with its answers: the teacher's where the data has none, and on text in a share of alpha."""
    import numpy
    from datasets import Dataset

    chance = numpy.random.default_rng(lesson.params.seed)
    drawn = chance.random(len(rows)) < (0 if lesson.on_logits else lesson.params.distill_alpha)
    asked, questions = [], []
    for place, row in enumerate(rows):
        each = seen(row, form, lesson.views)
        if each.answer is None or drawn[place]:
            asked.append(place)
            questions.append(Question(each.input, each.teacher, lesson.limit))
    answers = lesson.teacher.answers(questions, lesson.run, at_once=lesson.params.eval_batch_size)
    known = dict(zip(asked, answers, strict=True))
    without = sum(not answer for answer in answers)
    if without:
        lesson.run.warn(f"Left out, {without:,} of {len(rows):,} rows of {name}: the teacher has no answer to them.")

    def taught() -> Iterator[dict[str, Any]]:
        for place, row in enumerate(rows):
            if known.get(place, "?"):
                yield _row(seen(row, form, lesson.views), known.get(place))

    target = lesson.run.folder.data / f"taught-{name}.arrow"
    return _file(taught(), target) if without < len(rows) else Dataset.from_dict({})


def _row(each: Seen, answer: str | None) -> dict[str, Any]:
    """answer: the teacher's; None: the data's own."""
    said = dict(each.answer or {"role": "assistant"}) | ({} if answer is None else {"content": answer})
    if isinstance(each.student, str):
        return {"text": each.student + said["content"]}
    turns = each.teacher if isinstance(each.teacher, list) else []
    roles = [turn["role"] for turn in turns]
    begin = turns[: roles.index("assistant")] if "assistant" in roles else turns
    as_json = {"messages": [*each.student, said], "asked": begin}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in as_json.items()}


Begin = Callable[[Mapping[str, Any]], list[int]]
"""A row of tokens to the tokens of the teacher's prompt."""


def _apart(lesson: Lesson, tokens: Any, train: Begin, valid: Begin, *, lead: list[int] | None = None) -> Any:
    """Tokens with rows of the teacher's own: teacher_ids and teacher_labels.

    Args:
        train, valid: what stands before the first trained token of the teacher's row.
        lead: tokens before each row of the student.
    """
    parts, cut, lost = {}, 0, 0
    for name, rows, begin in (("train", tokens.train, train), ("valid", tokens.valid, valid)):
        if rows is None:
            parts[name] = None
            continue
        pairs = [pair(row, begin(row), lead or [], lesson.limit) for row in rows]
        kept = [each for each in pairs if each is not None]
        if name == "train" and not kept:
            what = f"No row has room for an answer within --distill-max-teacher-length {lesson.limit}."
            raise DataError(what, fix="Raise it, or shorten --teacher-prompt-template.")
        lost += len(pairs) - len(kept)
        cut += sum(new["cut"] > 0 for new in kept)
        parts[name] = _file(kept, lesson.run.folder.data / f"lessons-{name}.arrow") if kept else None
    if lost or cut:
        lesson.run.warn(
            f"Behind the teacher's prompt, {lesson.limit} tokens at most (--distill-max-teacher-length): {lost:,} rows "
            f"have no room for an answer and are left out, {cut:,} end early."
        )
    return replace(tokens, **parts)


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


def _file(rows: Iterable[dict[str, Any]], target: Path) -> Any:
    """The rows as a data set mapped from `target`."""
    from datasets import Dataset

    waiting = iter(rows)
    with Writer(target) as writer:
        while batch := list(islice(waiting, _ROWS)):
            writer.rows(batch)
    return Dataset.from_file(str(target))
