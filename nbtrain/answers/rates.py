"""Which learning rate: the loss at rates that rise from step to step, and what that suggests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbtrain.answers import Answer, aligned
from nbtrain.answers.rehearsed import rehearse
from nbtrain.errors import ParamError, RunError
from nbtrain.events import Event, Logged
from nbtrain.params import Params
from nbtrain.plain import line, number
from nbtrain.runs.curve import Curve, sparkline
from nbtrain.trainers._range import burst, smoothed

LOWEST, HIGHEST, STEPS = 1e-7, 1.0, 100
FLAGS = ("--steps", "--lowest", "--highest")
_FEWEST = 12  # points; fewer are noise
_SKIPPED = 0.1  # of the points at the beginning: their mean has hardly begun
# the answers of a policy are other ones at each step, so its loss does not tell how far it has come
_NO_LOSS = ("ppo", "grpo")


@dataclass(frozen=True, repr=False)
class Rates(Answer):
    """A learning-rate range test.

    rates, losses: (steps,), of each step. given: the rate that was asked for. asked: steps that there would have been.
    """

    name: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    given: float
    asked: int

    @property
    def means(self) -> list[float]:
        """(steps,) the losses, smoothed."""
        return smoothed(list(self.losses))

    def suggestions(self) -> dict[str, float]:
        """Rates by how they were found: valley and steep; none where the loss never fell.

        valley: two thirds down the longest fall of the loss. steep: where it falls fastest, per factor of the rate.
        """
        begin, means = round(_SKIPPED * len(self.losses)), self.means
        if len(means) - begin < _FEWEST or min(means[begin:]) >= means[begin]:
            return {}
        # behind the lowest loss there is nothing to be found
        end = begin + min(range(len(means) - begin), key=lambda at: means[begin + at]) + 1
        span = means[begin:end]
        first, last = _longest_fall(span)
        valley = first + round((last - first) * 2 / 3)
        slopes = [span[at + 1] - span[at - 1] for at in range(1, len(span) - 1)]
        steep = 1 + min(range(len(slopes)), key=slopes.__getitem__) if slopes else valley
        return {"valley": self.rates[begin + valley], "steep": self.rates[begin + steep]}

    def sentence(self) -> str:
        """What the test showed."""
        means, low, high = self.means, number(self.rates[0]), number(self.rates[-1])
        lowest = min(range(len(means)), key=means.__getitem__)
        told = f"{len(self.rates)} steps from {low} to {high}; the loss was lowest ({number(means[lowest])}) at "
        told += number(self.rates[lowest])
        return told + (f" and burst at {high}." if burst(list(self.losses)) else ".")

    def lines(self) -> list[str]:
        """The curve as one line, and the suggestions."""
        curve = Curve()
        for step, loss in enumerate(self.losses):
            curve.add(step, loss)
        found = [(name, number(rate), f"--lr {rate:.1e}") for name, rate in self.suggestions().items()]
        told = aligned(found) if found else ["no suggestion: the loss never fell; more --steps, or a higher --highest"]
        return [f"learning rates of {self.name}", self.sentence(), sparkline(curve), *told]


def lr_find(
    params: Params,
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
    news: Callable[[Rates], object] | None = None,
) -> Rates:
    """A learning-rate range test, in a process of its own; it changes no model and makes no run.

    Args:
        lowest, highest: rates of the first and the last step; it ends before that where the loss bursts.
        news: called with what is known so far, after each step.

    Raises:
        ParamError: the rates or the steps make no test. RunError: the method has no loss that tells.

    Source: Smith 2017, arXiv:1506.01186; the valley is fastai's.
    """
    if not 0 < lowest < highest or not math.isfinite(highest):
        what = f"lr-find needs 0 < lowest < highest; found {number(lowest)} and {number(highest)}"
        raise ParamError(what, fix=f"by default they are {LOWEST:g} and {HIGHEST:g}")
    if steps < _FEWEST:
        raise ParamError(f"lr-find needs {_FEWEST} steps or more; found {steps}")
    if params.method in _NO_LOSS:
        why = "its loss is of other answers at each step, and does not fall as the model gets better"
        raise RunError(f"lr-find cannot look into {params.room} {params.method}", why=why)
    rates, losses = list[float](), list[float]()
    name = f"{params.room} {params.method}".rstrip()
    given = float(getattr(params, "lr", math.nan))

    def follow(event: Event) -> None:
        if isinstance(event, Logged):
            rates.append(event.values["learning_rate"])
            losses.append(event.values["loss"])
            if news is not None:
                news(Rates(name, tuple(rates), tuple(losses), given, steps))

    asked = {"kind": "lr-find", "lowest": lowest, "highest": highest, "steps": steps}
    rehearse(params, asked, news=follow)
    if not rates:
        raise RunError("lr-find came to no loss that is a number", fix="a lower --lowest")
    return Rates(name, tuple(rates), tuple(losses), given, steps)


def settings(own: Mapping[str, str]) -> dict[str, Any]:
    """The flags of lr-find as `lr_find` takes them.

    Raises:
        ParamError: one is no number.
    """
    found: dict[str, Any] = {}
    for flag, text in own.items():
        try:
            found[flag[2:]] = int(text) if flag == "--steps" else float(text)
        except ValueError:
            raise ParamError(f"{flag} is a number; found {line(text)!r}") from None
    return found


def _longest_fall(values: Sequence[float]) -> tuple[int, int]:
    """(begin, end) of the longest falling subsequence, by where it begins and ends."""
    lengths, before = [1] * len(values), [-1] * len(values)
    for at in range(len(values)):
        for earlier in range(at):
            if values[earlier] > values[at] and lengths[earlier] + 1 > lengths[at]:
                lengths[at], before[at] = lengths[earlier] + 1, earlier
    end = begin = max(range(len(values)), key=lengths.__getitem__)
    while before[begin] >= 0:
        begin = before[begin]
    return begin, end
