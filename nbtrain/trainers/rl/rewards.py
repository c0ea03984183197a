"""What an answer is worth.

A reward is a callable `(prompts, completions, **columns) -> list[float | None]`, as TRL's trainers call theirs:
prompts and completions are texts or lists of messages, the columns of the data come as lists of the same length, and
None says that a reward has no opinion on a row. What the trainer adds (trainer_state ...) is passed on as it is.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbtrain.data import functions
from nbtrain.errors import NbtrainError, ParamError, TrainingError, nearest

Reward = Callable[..., list[float | None]]

LIBRARY: Mapping[str, str] = {
    "length": "written",
    "format": "written",
    "regex": "written",
    "letters": "written",
    "json": "written",
    "exact": "answers",
    "math": "answers",
    "bleu": "answers",
    "rouge": "answers",
    "code": "sandbox",
    "classifier": "judges",
    "sentiment": "judges",
}
"""Name to the module that has it; each is a function `NAME(**settings) -> Reward`, with defaults for all settings."""


@dataclass(frozen=True)
class Combined:
    """Several rewards as one: their weighted sum; a reward without an opinion on a row counts nothing there.

    Args:
        rewards: name to reward.
        weights: one a reward.
        low, high: the sum is kept between them.
    """

    rewards: Mapping[str, Reward]
    weights: Sequence[float]
    low: float = -math.inf
    high: float = math.inf

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        return self.total(self.parts(prompts, completions, **columns))

    def parts(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> dict[str, list[float | None]]:
        """What each reward says, by its name, unweighted."""
        return {name: judge(name, each, prompts, completions, columns) for name, each in self.rewards.items()}

    def total(self, parts: Mapping[str, Sequence[float | None]]) -> list[float | None]:
        """The weighted sum of what `parts` gave, None where none has an opinion."""
        return [self._sum(row) for row in zip(*parts.values(), strict=True)]

    def _sum(self, row: Sequence[float | None]) -> float | None:
        said = [weight * value for weight, value in zip(self.weights, row, strict=True) if value is not None]
        return min(max(sum(said), self.low), self.high) if said else None


def combined(
    spec: Any, weights: Sequence[float] | None = None, *, low: float = -math.inf, high: float = math.inf
) -> Combined:
    """One reward, or several with weights.

    Args:
        spec: as `named` takes it, or a list of such.
        weights: one a reward; None: 1 each.

    Raises:
        ParamError: there is no such reward, or there are more or fewer weights than rewards.
    """
    specs = spec if isinstance(spec, (list, tuple)) else [spec]
    found = [named(each) for each in specs]
    if weights is not None and len(weights) != len(found):
        raise ParamError(
            f"there are {len(found)} rewards and {len(weights)} weights", fix="--rl-reward-weights has one for each."
        )
    if not found:
        raise ParamError("the list of rewards is empty", fix=f"the library has: {', '.join(LIBRARY)}.")
    names = [name_of(reward) for reward in found]
    distinct = [name if names.count(name) == 1 else f"{name}-{place}" for place, name in enumerate(names, 1)]
    return Combined(dict(zip(distinct, found, strict=True)), weights or [1.0] * len(found), low, high)


def named(spec: Any) -> Reward:
    """The reward that `spec` says.

    Args:
        spec: a callable; a name of LIBRARY; `module:function`; a file of Python or a stored function; or a mapping (or
            its JSON) with such a `name`, the reward's settings, and `clip`: [low, high].

    Raises:
        ParamError: there is no such reward, or it has no such setting.
    """
    if callable(spec):
        return spec
    if isinstance(spec, str) and spec.lstrip().startswith("{"):
        spec = _read(spec)
    if isinstance(spec, Mapping):
        settings = dict(spec)
        name, clip = settings.pop("name", None), settings.pop("clip", None)
        reward = _built(name, settings) if name in LIBRARY else _found(name, settings)
        return clipped(reward, *clip) if clip else reward
    return _built(spec, {}) if spec in LIBRARY else _found(spec, {})


def clipped(reward: Reward, low: float, high: float) -> Reward:
    """The same reward, kept between `low` and `high`."""

    def within(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        values = reward(prompts, completions, **columns)
        return [None if value is None else min(max(value, low), high) for value in values]

    return labelled(within, name_of(reward))


def each(name: str, score: Callable[[str, Mapping[str, Any]], float | None]) -> Reward:
    """A reward that judges each text by itself.

    Args:
        score: (text of the completion, its row: column to value, with `prompt` as text) -> its worth.
    """

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        count = len(completions)
        lists = {key: values for key, values in columns.items() if isinstance(values, list) and len(values) == count}
        lists["prompt"] = [text(prompt) for prompt in prompts]
        rows = ({key: values[place] for key, values in lists.items()} for place in range(count))
        return [score(text(completion), row) for completion, row in zip(completions, rows, strict=True)]

    return labelled(reward, name)


def text(completion: Any) -> str:
    """The words of a completion, or of a prompt: a text, or the last message's."""
    if isinstance(completion, str):
        return completion
    return str(completion[-1].get("content") or "") if completion else ""


def judge(
    name: str, reward: Reward, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]
) -> list[float | None]:
    """What the reward says of each completion, seen to be a number or None.

    Raises:
        TrainingError: it raised, or gave something else.
    """
    try:
        values = list(reward(prompts=prompts, completions=completions, **columns))
    except NbtrainError:
        raise
    except Exception as error:
        # it is the user's code: whatever it raises is told by its name
        what = f"the reward {name} raised {type(error).__name__}: {error}"
        raise TrainingError(what, where=functions.last_line(error), fix="mend it, then start again.") from error
    if len(values) != len(completions):
        what = f"the reward {name} gave {len(values)} values for {len(completions)} completions"
        raise TrainingError(what, fix="return a list with one number (or None) for each.")
    return [_number(name, value) for value in values]


def name_of(reward: Reward) -> str:
    """As it stands in the journal: reward/NAME."""
    return str(getattr(reward, "__name__", type(reward).__name__)).strip("<>")


def labelled(reward: Reward, name: str) -> Reward:
    """`reward`, called `name`; TRL names its figures by it."""
    reward.__name__ = reward.__qualname__ = name
    return reward


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        what = f"the reward {name} gave {value!r}, which is no number"
        raise TrainingError(what, fix="return a finite number, or None where it has no opinion.")
    return number


def _built(name: str, settings: Mapping[str, Any]) -> Reward:
    build = getattr(importlib.import_module(f"nbtrain.trainers.rl.{LIBRARY[name]}"), name)
    try:
        return build(**settings)
    except TypeError as error:
        raise ParamError(f"the reward {name} does not take these settings: {error}") from None


def _found(spec: Any, settings: Mapping[str, Any]) -> Reward:
    if not functions.is_place(spec):
        hint = nearest(str(spec), LIBRARY)
        fix = f"the library has {', '.join(LIBRARY)}; your own: module:function, FILE.py:function, or the function."
        raise ParamError(f"there is no reward {spec!r}.{hint}", fix=fix)
    if settings:
        fix = f"settings are for: {', '.join(LIBRARY)}."
        raise ParamError(f"{spec!r} takes no settings ({', '.join(settings)})", fix=fix)
    return functions.load(spec)


def _read(written: str) -> Any:
    try:
        return json.loads(written)
    except ValueError as error:
        fix = 'write {"name": "length", "target": 20}'
        raise ParamError(f"a reward cannot be read as JSON: {error}", where=written[:80], fix=fix) from None
