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
from typing import Any

from nbtrain.data import chat, prompts
from nbtrain.data.arrows import Writer
from nbtrain.data.read import Splits
from nbtrain.errors import DataError, ParamError
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers.llm import _teacher
from nbtrain.trainers.llm._distillation import INPUT
from nbtrain.trainers.llm._teacher import Question, Teacher
from nbtrain.trainers.llm._views import Seen, pair, seen

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
    def same(self) -> bool:
        """Whether both see the same tokens of a chat."""
        if not self.on_logits or self.views[0] != self.views[1]:
            return False
        theirs = self.teacher.tokenizer.chat_template
        return not theirs or theirs == chat.template_for(self.tokenizer, self.params.chat_template)

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
    lesson = begun(inner, params, run, tokenizer)
    is_text = form.name == "text"
    tokens = (_texts if is_text and lesson.on_logits else _chats)(lesson, splits, form, longest)
    return ended(lesson, tokens)


def begun(inner: Prepare, params: Any, run: ActiveRun, tokenizer: Any) -> Lesson:
    """The teacher opened, and how it teaches told."""
    teacher = _teacher.opened(params, run)
    on_logits = teacher.tokenizer is not None and teacher.tokenizer.get_vocab() == tokenizer.get_vocab()
    plain = params.trainer in ("default", "generic", "sft")
    if on_logits and plain and params.backend not in ("auto", "hf"):
        what = f"--backend {params.backend} has a loss of its own, which knows no teacher"
        raise ParamError(what, fix="leave --backend out")
    if on_logits and plain and params.custom_loss is not None:
        raise ParamError("--custom-loss and a teacher's logits are two losses", fix="leave one of them out")
    run.warn(f"The teacher is {teacher.name}: the student learns from its {'logits' if on_logits else 'text'}.")
    if not on_logits and "distill_temperature" in params.given():
        run.warn("--distill-temperature is for logits: on text it has no effect.")
    return Lesson(inner, params, run, teacher, tokenizer, on_logits)


def ended(lesson: Lesson, tokens: Any) -> Any:
    """The tokens with the teacher where its logits are learnt; what it wrote is told."""
    teacher, run = lesson.teacher, lesson.run
    if teacher.cost.calls:
        run.warn(f"What the teacher wrote took {teacher.cost}.")
    run.report["teacher"] = {"name": teacher.name, "written": teacher.cost.record()}
    return replace(tokens, teacher=teacher) if lesson.on_logits else tokens


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
    params, teacher, same = lesson.params, lesson.teacher, lesson.same
    teacher.alone = lesson.on_logits and isinstance(form, prompts.Prompts)
    if teacher.alone and params.distill_alpha < 1:
        lesson.run.warn("The data has no answers to weigh the teacher against (--distill-alpha): it counts alone.")
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


def _written(lesson: Lesson, splits: Splits, form: Any) -> tuple[Splits, chat.Form]:
    """The rows as the student sees them, with the teacher's answers; "asked" is what the teacher sees, as JSON."""
    parts = {name: _answers(lesson, name, rows, form) for name, rows, _ in splits.items()}
    if not len(parts["train"]):
        raise DataError("The teacher has no answer to any row.", fix="Look at --teacher-model and its prompts.")
    valid = parts.get("valid")
    column = "text" if form.name == "text" else "messages"
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
    return filed(taught(), target) if without < len(rows) else Dataset.from_dict({})


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
        parts[name] = filed(kept, lesson.run.folder.data / f"lessons-{name}.arrow") if kept else None
    if lost or cut:
        lesson.run.warn(
            f"Behind the teacher's prompt, {lesson.limit} tokens at most (--distill-max-teacher-length): {lost:,} rows "
            f"have no room for an answer and are left out, {cut:,} end early."
        )
    return replace(tokens, **parts)


def filed(rows: Iterable[dict[str, Any]], target: Path) -> Any:
    """The rows as a data set mapped from `target`."""
    from datasets import Dataset

    waiting = iter(rows)
    with Writer(target) as writer:
        while batch := list(islice(waiting, _ROWS)):
            writer.rows(batch)
    return Dataset.from_file(str(target))
