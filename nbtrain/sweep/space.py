"""What is searched: each parameter with its range, out of --sweep-params or out of what is known of the fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from nbtrain.errors import ParamError, nearest
from nbtrain.params import Option, Params
from nbtrain.params.blocks import Hub
from nbtrain.params.processes import Processes
from nbtrain.params.sweep import Sweep
from nbtrain.peers import NAMES

TYPES = ("float", "uniform", "loguniform", "int", "categorical")
KEYS = ("type", "low", "high", "log", "step", "values", "choices", "min", "max")
_SAME = {"min": "low", "max": "high", "choices": "values"}
_DECADE = 10.0
_FACTORS = (0.5, 1, 2, 4)  # of a whole number's value, where nobody said what to try
_EXAMPLE = '{"lr": {"type": "loguniform", "low": 1e-5, "high": 1e-3}, "batch_size": [4, 8]}'
# each trial has its own name and folder; what is pushed is the best model, once
_FIXED = {
    *Sweep.model_fields, *Hub.model_fields, *Processes.model_fields,
    "project_name", "resume_from_checkpoint", "trainer", "max_minutes",
}  # fmt: skip


@dataclass(frozen=True)
class Dial:
    """One parameter that is searched.

    values: what may be tried; empty for numbers between low and high. log: its size matters, not its difference.
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False
    step: float | None = None

    def suggest(self, trial: Any) -> Any:
        """The value that a trial of Optuna tries."""
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def holds(self, value: Any) -> bool:
        """Whether it may come to this value."""
        if self.values:
            return any(type(value) is type(each) and value == each for each in self.values)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high
        off = (value - self.low) / self.step if number and self.step else 0.0
        return number and abs(off - round(off)) < 1e-9

    def written(self) -> dict[str, Any]:
        """As it stands in --sweep-params."""
        if self.values:
            return {"type": "categorical", "values": list(self.values)}
        kind = "int" if self.whole else "float"
        low, high = (int(self.low), int(self.high)) if self.whole else (self.low, self.high)
        found: dict[str, Any] = {"type": kind, "low": low, "high": high}
        return found | ({"log": True} if self.log else {}) | ({"step": self.step} if self.step else {})


def dials(params: Params) -> list[Dial]:
    """What a sweep of these parameters searches.

    Raises:
        ParamError: a name or a type that does not exist, a range that the field does not allow, nothing to search.
    """
    asked = params.sweep_params
    found = [_asked(params, name, said) for name, said in asked.items()] if asked else _usual(params)
    if not found:
        what = f"nobody said what a sweep of {params.room} searches, and the room has no usual ranges"
        raise ParamError(what, fix=f"write it as in --sweep-params '{_EXAMPLE}'")
    twice = {dial.name for dial in found if sum(other.name == dial.name for other in found) > 1}
    if twice:
        raise ParamError(f"--sweep-params has {', '.join(twice)} twice, by two of its names", fix="leave one out")
    return found


def _usual(params: Params) -> list[Dial]:
    """The fields that say what is usually tried, around the values that they have."""
    items = [item for item in params.options().values() if item.searched and item.applies_to(params.method)]
    return [_around(item, getattr(params, item.name)) for item in items]


def _around(item: Option, value: Any) -> Dial:
    if item.searched != "log":
        if item.kinds and not {int, float} & set(item.kinds):
            return Dial(item.name, values=tuple(item.searched))
        low, high = item.searched
        return Dial(item.name, low=min(low, value), high=max(high, value))
    least, most = item.bounds.get("ge", item.bounds.get("gt", 0)), item.bounds.get("le", math.inf)
    if float in item.kinds:
        return Dial(item.name, low=max(value / _DECADE, least), high=min(value * _DECADE, most), log=True)
    tried = {int(value * factor) for factor in _FACTORS}
    return Dial(item.name, values=tuple(sorted(number for number in tried if least <= number <= most)))


def _asked(params: Params, given: str, said: Any) -> Dial:
    """One entry of --sweep-params."""
    name = _named(params, given)
    item = params.options()[name]
    if isinstance(said, (list, tuple)):
        said = {"type": "categorical", "values": said}
    if not isinstance(said, Mapping):
        fix = f"a list of values, or a range; as in {_EXAMPLE}. For one value alone write {item.flag} {said}"
        raise ParamError(f"--sweep-params {given}: {said!r} is nothing to search", fix=fix)
    for key in said:
        if key not in KEYS:
            what = f"--sweep-params {given}: there is no {key!r}.{nearest(str(key), KEYS)}"
            raise ParamError(what, fix=f"it takes {', '.join(KEYS)}")
    rule = {_SAME.get(key, key): value for key, value in said.items()}
    read = _choices if "values" in rule or rule.get("type") == "categorical" else _range
    dial = read(item, given, rule)
    for value in dial.values or (dial.low, dial.high):
        _check_value(params, item, given, int(value) if dial.whole else value)
    return dial


def _named(params: Params, given: str) -> str:
    options = params.options()
    try:
        name = params.field_name(NAMES.get(given, given))
    except ParamError as error:
        hint = "" if "Did you mean" in error.what else nearest(given, NAMES)
        raise ParamError(f"--sweep-params: {error.what}{hint}", fix=error.fix) from None
    item = options[name]
    if name in _FIXED or item.secret or item.refused:
        raise ParamError(f"--sweep-params: {name} cannot be searched", fix=f"set it for all trials with {item.flag}")
    if not item.applies_to(params.method):
        readers = ", ".join(item.only)
        raise ParamError(f"--sweep-params: {name} only applies to {readers}; this is {params.method}")
    return name


def _choices(item: Option, given: str, rule: Mapping[str, Any]) -> Dial:
    values = rule.get("values")
    if not isinstance(values, (list, tuple)) or not values:
        raise ParamError(f"--sweep-params {given}: values is a list with something in it; found {values!r}")
    if any(not (value is None or isinstance(value, (str, bool, int, float))) for value in values):
        raise ParamError(f"--sweep-params {given}: a value is a text, a number, true, false or null; found {values!r}")
    kept: list[Any] = []
    for value in values:
        # 1, 1.0 and true are equal in Python, and not the same
        if not any(type(value) is type(each) and value == each for each in kept):
            kept.append(value)
    return Dial(item.name, values=tuple(kept))


def _range(item: Option, given: str, rule: Mapping[str, Any]) -> Dial:
    numbers = {int, float} & set(item.kinds)
    if not numbers or item.is_switch:
        fix = f"list what to try: {{{given!r}: [...]}}"
        raise ParamError(f"--sweep-params {given}: {item.name} is no number, and has no range", fix=fix)
    kind = rule.get("type", "int" if numbers == {int} else "float")
    if kind not in TYPES:
        hint = nearest(str(kind), TYPES)
        raise ParamError(f"--sweep-params {given}: type is one of {', '.join(TYPES)}; found {kind!r}.{hint}")
    if kind == "float" and numbers == {int}:
        raise ParamError(f"--sweep-params {given}: {item.name} takes whole numbers", fix="write type int")
    low, high, step = rule.get("low"), rule.get("high"), rule.get("step")
    whole = kind == "int" or numbers == {int}
    for name, value in (("low", low), ("high", high), ("step", step)):
        _check_number(given, name, value, whole)
    log = bool(rule.get("log")) or kind == "loguniform"
    if low >= high or (step is not None and step <= 0):
        raise ParamError(f"--sweep-params {given}: low is below high, and a step above 0; found {dict(rule)!r}")
    if log and (low <= 0 or step is not None):
        raise ParamError(f"--sweep-params {given}: a logarithmic range is above 0 and has no step", fix="type uniform")
    return Dial(item.name, low=low, high=high, whole=whole, log=log, step=step)


def _check_number(given: str, name: str, value: Any, whole: bool) -> None:
    if value is None and name == "step":
        return
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or (whole and value != int(value)):
        number = "whole number" if whole else "number"
        raise ParamError(f"--sweep-params {given}: {name} is a {number}; found {value!r}", fix=f"as in {_EXAMPLE}")


def _check_value(params: Params, item: Option, given: str, value: Any) -> None:
    """Raise ParamError unless the field takes the value."""
    field = type(params).model_fields[item.name]
    taken: TypeAdapter[Any] = TypeAdapter(Annotated[(field.annotation, "the field", *field.metadata)])
    try:
        taken.validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("Input ")
        hint = nearest(str(value), map(str, item.choices)) if item.choices else ""
        raise ParamError(f"--sweep-params {given}: {item.flag} {said}; found {value!r}.{hint}") from None
