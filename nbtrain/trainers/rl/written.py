"""Rewards that look at the completion alone: how long it is, what shape it has."""

from __future__ import annotations

import json as parser
import re
from collections.abc import Mapping
from typing import Any, Literal

from nbtrain.errors import MissingExtra, ParamError
from nbtrain.trainers.rl.rewards import Reward, each

THINKING = r"\s*<think>.*?</think>\s*<answer>.*?</answer>\s*"
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


def length(target: int = 20, unit: Literal["words", "characters"] = "words") -> Reward:
    """Near a length: 1 at `target`, falling evenly to 0 at none and at twice as much, and on to -1."""
    if target < 1:
        raise ParamError(f"the reward length has a target of 1 or more; found {target}")

    def score(text: str, row: Mapping[str, Any]) -> float:
        found = len(text.split() if unit == "words" else text)
        return max(1 - abs(found - target) / target, -1.0)

    return each("length", score)


def regex(pattern: str = r"\S", full: bool = False, ignore_case: bool = False) -> Reward:
    """1 where the pattern is found (`full`: where it is the whole text), else 0; a dot matches a line's end too."""
    try:
        compiled = re.compile(pattern, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
    except re.error as error:
        raise ParamError(f"the pattern {pattern!r} cannot be read: {error}") from None
    search = compiled.fullmatch if full else compiled.search
    return each("regex", lambda text, row: float(bool(search(text))))


def format(pattern: str = THINKING) -> Reward:  # noqa: A001 - its name in the library
    """1 where the whole text has this form, else 0; by default <think>...</think><answer>...</answer>."""
    found = regex(pattern, full=True)
    found.__name__ = "format"
    return found


def letters(of: str = "e", sign: float = 1.0) -> Reward:
    """The share of these letters among all letters, in either case; times `sign`: -1 for as few as possible."""
    wanted = set(of.lower())

    def score(text: str, row: Mapping[str, Any]) -> float:
        all_letters = [character for character in text.lower() if character.isalpha()]
        return sign * sum(character in wanted for character in all_letters) / max(len(all_letters), 1)

    return each("letters", score)


def json(schema: Mapping[str, Any] | None = None) -> Reward:
    """1 for JSON that fits the schema, 0.5 for JSON that does not, 0 for what is no JSON; it may be fenced by ```."""
    fits = _validator(schema) if schema else None

    def score(text: str, row: Mapping[str, Any]) -> float:
        fenced = _FENCED.search(text)
        try:
            value = parser.loads(fenced[1] if fenced else text)
        except (ValueError, RecursionError):
            return 0.0
        return 1.0 if fits is None or fits(value) else 0.5

    return each("json", score)


def _validator(schema: Mapping[str, Any]) -> Any:
    try:
        from jsonschema import exceptions, validators
    except ImportError:
        raise MissingExtra("the reward json with a schema needs jsonschema", fix="pip install jsonschema") from None
    checker = validators.validator_for(schema)
    try:
        checker.check_schema(schema)
    except exceptions.SchemaError as error:
        raise ParamError(f"the schema of the reward json is none: {error.message}") from None
    return checker(schema).is_valid
