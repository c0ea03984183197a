"""A task that speaks for itself: it asks, judges the answer, and may ask again.

An environment is any class with two methods:

    class Guess:
        def __init__(self, highest=10): ...             # --rl-env-config '{"highest": 20}'

        def reset(self, row):                           # a row of the data, column to value
            return "Guess a number from 1 to 10."       # what the policy is asked: a text, or messages; None: the row's

        def step(self, answer):                         # what the policy wrote
            return Turn(reward=0.0, done=False, says="higher")

`step` may also give (reward, done), (reward, done, says) or a reward alone, after which it is over. One object plays
one row after another; `reset` begins a new one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from nbtrain.data import functions
from nbtrain.errors import NbtrainError, ParamError, TrainingError
from nbtrain.trainers.rl.rewards import Reward, labelled, text

LONGEST = 16  # turns of one row, where an environment never says that it is over


class Turn(NamedTuple):
    """What an environment makes of an answer. says: what it asks next, where it is not over."""

    reward: float
    done: bool = True
    says: str = ""


class Environment(Protocol):
    """The two methods; see the head of this module."""

    def reset(self, row: Mapping[str, Any]) -> Any:
        """Begin with a row; what the policy is asked, or None for the row's own prompt."""

    def step(self, answer: str) -> Any:
        """Judge an answer: a Turn, or what can be read as one."""


Make = Callable[[], Environment]


def named(module: str, name: str = "", config: str | Mapping[str, Any] | None = None) -> Make:
    """What makes the environment that --rl-env-module, --rl-env-class and --rl-env-config name.

    Args:
        module: a module, or a file of Python.
        name: its class; '' where it has one alone.
        config: arguments of the class, as JSON.

    Raises:
        ParamError: there is no such class, it lacks a method, or the config is none.
    """
    settings = _settings(config)
    kind = functions.load(f"{module}:{name}") if name else _only(module)
    missing = [method for method in ("reset", "step") if not callable(getattr(kind, method, None))]
    if missing:
        raise ParamError(
            f"the environment {name or module} has no method {' and no '.join(missing)}",
            fix="see nbtrain.trainers.rl.environments.",
        )

    def make() -> Environment:
        try:
            return kind(**settings)
        except TypeError as error:
            fix = "--rl-env-config holds its arguments, as JSON."
            raise ParamError(f"the environment {kind.__name__} does not take its config: {error}", fix=fix) from None

    make.__name__ = kind.__name__
    make()  # its faults are told before a model is loaded
    return make


def asked(environment: Environment, row: Mapping[str, Any], prompt: Any) -> Any:
    """What the policy is asked first: what `reset` says, else the row's prompt."""
    said = _told(environment, "reset", dict(row))
    return prompt if said is None else said


def judged(environment: Environment, answer: str) -> Turn:
    """What the environment makes of an answer.

    Raises:
        TrainingError: it raised, or gave what is no Turn.
    """
    said = _told(environment, "step", answer)
    try:
        turn = said if isinstance(said, Turn) else Turn(*said) if isinstance(said, (tuple, list)) else Turn(said)
        return Turn(float(turn.reward), bool(turn.done), str(turn.says))
    except (TypeError, ValueError):
        what = f"{type(environment).__name__}.step gave {said!r}"
        raise TrainingError(what, fix="return a reward, (reward, done), or (reward, done, what it says).") from None


def reward(make: Make) -> Reward:
    """An environment as a reward: of one answer, the first turn's; its later turns are not played."""

    def judge(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        environment, count = make(), len(completions)
        lists = {name: values for name, values in columns.items() if isinstance(values, list) and len(values) == count}
        found: list[float | None] = []
        for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            asked(environment, {name: values[place] for name, values in lists.items()}, prompt)
            found.append(judged(environment, text(completion)).reward)
        return found

    return labelled(judge, str(getattr(make, "__name__", "environment")))


def _told(environment: Environment, method: str, given: Any) -> Any:
    try:
        return getattr(environment, method)(given)
    except NbtrainError:
        raise
    except Exception as error:
        what = f"{type(environment).__name__}.{method} raised {type(error).__name__}: {error}"
        raise TrainingError(what, where=functions.last_line(error), fix="mend it, then start again.") from error


def _only(module: str) -> Any:
    """The one class of a module that has the two methods."""
    opened = functions.module(module)
    kinds = [each for each in vars(opened).values() if isinstance(each, type) and each.__module__ == opened.__name__]
    fitting = [kind for kind in kinds if hasattr(kind, "reset") and hasattr(kind, "step")]
    if len(fitting) != 1:
        there = ", ".join(kind.__name__ for kind in kinds) or "no class"
        what = f"--rl-env-module {module} has {len(fitting)} classes with reset and step ({there})"
        raise ParamError(what, fix="name one: --rl-env-class NAME.")
    return fitting[0]


def _settings(config: str | Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        found = json.loads(config) if isinstance(config, str) else config or {}
    except ValueError as error:
        raise ParamError(f"--rl-env-config is no JSON: {error}", where=str(config)[:80]) from None
    if not isinstance(found, Mapping):
        raise ParamError("--rl-env-config is an object of JSON", fix='as in {"highest": 20}')
    return dict(found)
