"""Pairs as a teacher and its student see them: the teacher teaches on the chosen answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from nbtrain.data.preferences import Preferences
from nbtrain.data.read import Splits
from nbtrain.errors import DataError, ParamError
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers.llm import _lessons, _teacher, _views
from nbtrain.trainers.llm._distillation import INPUT
from nbtrain.trainers.llm._flat import IGNORED
from nbtrain.trainers.llm._lessons import Lesson, Prepare
from nbtrain.trainers.llm._teacher import Question

_ROLES = {name: name for name in ("prompt", "chosen", "rejected")}


def prepare(  # noqa: PLR0913  the method's own, and what that takes
    inner: Prepare, params: Any, run: ActiveRun, splits: Splits, form: Preferences, tokenizer: Any, longest: int
) -> Any:
    """The tokens of the pairs as the student sees them, and the teacher where it teaches on logits.

    On logits each row gets a lesson: its prompt and its chosen answer, beside the teacher's row of the same answer. A
    teacher with other tokens, or without any, writes chosen answers, in a share of --distill-alpha.
    """
    lesson = _lessons.begun(inner, params, run, tokenizer)
    plain = lesson.same and lesson.views[1] == INPUT
    if form.name == "texts" and not plain:
        what = "these pairs are plain texts, which have no prompt that a template or a teacher's text could stand for"
        raise ParamError(what, fix="give prompt, chosen and rejected in columns of their own.")
    if not plain:
        parts = {name: _rewritten(lesson, name, rows, form) for name, rows, _ in splits.items()}
        splits, form = replace(splits, **parts), Preferences("answers", _ROLES)
    tokens = inner(params, run, splits, form, tokenizer, longest)
    if lesson.on_logits:
        valid = tokens.valid and _with_lessons(lesson, "valid", tokens.valid, None if plain else splits.valid)
        train = _with_lessons(lesson, "train", tokens.train, None if plain else splits.train)
        tokens = replace(tokens, train=train, valid=valid)
    return _lessons.ended(lesson, tokens)


def _rewritten(lesson: Lesson, name: str, rows: Any, form: Preferences) -> Any:
    """One split with its prompts as the student sees them; "asked" is what the teacher sees. All of it as JSON."""
    import numpy

    chance = numpy.random.default_rng(lesson.params.seed)
    drawn = chance.random(len(rows)) < (0 if lesson.on_logits else lesson.params.distill_alpha)
    pairs = [form.pair(row) for row in rows]
    seen = [_views.of_turns(list(pair.prompt), None, lesson.views) for pair in pairs]  # type: ignore[arg-type]
    places = numpy.flatnonzero(drawn).tolist()
    questions = [Question(seen[place].input, seen[place].teacher, lesson.limit) for place in places]
    answers = lesson.teacher.answers(questions, lesson.run, at_once=lesson.params.eval_batch_size)
    known = dict(zip(places, answers, strict=True))

    def taught() -> Iterator[dict[str, Any]]:
        for place, (pair, each) in enumerate(zip(pairs, seen, strict=True)):
            chosen = [{"role": "assistant", "content": known[place]}] if place in known else pair.chosen
            if known.get(place, "?") and chosen != pair.rejected:
                row = {"prompt": each.student, "chosen": chosen, "rejected": pair.rejected, "asked": each.teacher}
                yield {role: json.dumps(said, ensure_ascii=False) for role, said in row.items()}

    kept = list(taught())
    if len(kept) < len(pairs):
        without = len(pairs) - len(kept)
        lesson.run.warn(f"Left out, {without:,} of {len(pairs):,} pairs of {name}: the teacher has no better answer.")
    if not kept:
        raise DataError(f"The teacher has no answer to any row of {name}.", fix="Look at --teacher-model.")
    return _lessons.filed(kept, lesson.run.folder.data / f"taught-{name}.arrow")


def _with_lessons(lesson: Lesson, name: str, tokens: Any, asked: Any) -> Any:
    """Pairs in tokens with lesson_input_ids and lesson_labels, teacher_ids and teacher_labels.

    Args:
        asked: rows with what the teacher sees; None: what the student sees.
    """
    lost = 0

    def taught(row: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal lost
        prompt, answer = row["prompt_ids"], row["chosen_ids"]
        begin = prompt
        if asked is not None:
            turns = json.loads(asked[row["row"] - 1]["asked"])
            begin = _teacher.prompt_ids(lesson.teacher.tokenizer, turns, lesson.tokenizer.chat_template)
        whole = {"input_ids": [*prompt, *answer], "labels": [*[IGNORED] * len(prompt), *answer], "cut": 0}
        found = _views.pair(whole, begin, [], lesson.limit)
        if found is None:  # nothing of the answer has room: the pair is learnt without the teacher
            lost += 1
            found = {
                "input_ids": prompt[:1],
                "labels": [IGNORED],
                "teacher_ids": prompt[:1],
                "teacher_labels": [IGNORED],
            }
        named = {f"lesson_{key}": found[key] for key in ("input_ids", "labels")}
        return {**row, **named, "teacher_ids": found["teacher_ids"], "teacher_labels": found["teacher_labels"]}

    made = _lessons.filed((taught(row) for row in tokens), lesson.run.folder.data / f"lessons-{name}.arrow")
    if lost:
        limit = f"--distill-max-teacher-length {lesson.limit}"
        lesson.run.warn(
            f"{lost:,} pairs of {name} are learnt without the teacher, whose prompt leaves no room ({limit})."
        )
    return made
