"""A finished language model beside the model that it was made of: the same question to both."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

from nbtrain import trainers
from nbtrain.answers import Answer
from nbtrain.errors import ParamError, RunError
from nbtrain.models import load
from nbtrain.plain import visible
from nbtrain.run import Run


@dataclass(frozen=True, repr=False)
class Said(Answer):
    """Two answers to one question. base: the name of the model that the run began with."""

    question: str
    run: str
    base: str
    answer: str
    before: str

    def lines(self) -> list[str]:
        """The question, and both answers under their names."""
        told = [("question", self.question), (self.base, self.before), (self.run, self.answer)]
        return [part for name, text in told for part in (f"{name}:", *_indented(text))]


def _indented(text: str) -> list[str]:
    return [f"  {each}" for each in visible(text).split("\n")]


class Pair:
    """A run's model and its base; both are loaded at the first question.

    Raises (when made):
        RunError: the run has no model, or it writes no text.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        params: Any = run.params
        room = trainers.load(params.room)
        writes = hasattr(room, "cannot_write")
        why_not = room.cannot_write(params) if writes else f"{params.room} is no language model"
        if why_not:
            raise RunError(f"the run {run.name} cannot chat: {why_not}", fix="run.predict(rows) asks it")
        run.__fspath__()  # says what is missing where there is no model
        self.base = str(params.model)
        self._opened: tuple[Any, Any] | None = None

    def ask(self, question: str, **settings: Any) -> Said:
        """Both answers.

        Args:
            settings: as `run.generate` takes them.

        Raises:
            ParamError: there is no question.
        """
        if not question.strip():
            raise ParamError("chat needs a question: chat ID QUESTION", fix="in a notebook `chat ID` opens a field")
        params: Any = self.run.params
        room = trainers.load(params.room)
        if self._opened is None:
            self._opened = room.opened(params, load.resolve(params.model))
        before = room.predict(params, *self._opened, [question], **settings)[0]
        return Said(question, self.run.name, self.base, str(self.run.generate(question, **settings)), str(before))

    def free(self) -> None:
        """Let go of both models and their memory."""
        self._opened = None
        self.run.free()
        gc.collect()
