"""What the layouts share: a config that was read, its parts, and how it is told what of it is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nbtrain.errors import ParamError


@dataclass(frozen=True)
class Config:
    """What a config says.

    values: parameters by name. notices: what the user should be told of how it was read.
    """

    room: str
    values: Mapping[str, Any]
    notices: tuple[str, ...] = ()


def part(layout: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """Take the part `name` out of a layout; empty where it is not there.

    Raises:
        ParamError: it is no mapping.
    """
    found = layout.pop(name, None) or {}
    if not isinstance(found, dict):
        raise ParamError(f"`{name}` in the config is no list of names and values", where=where)
    return dict(found)


def left_out(reasons: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """One notice for all that a config says and nothing here reads: (name, why and what to use instead)."""
    names = dict[str, list[str]]()
    for name, why in reasons:
        names.setdefault(why, []).append(name)
    told = "; ".join(f"{', '.join(sorted(group))} ({why})" for why, group in names.items())
    return (f"Left out of the config: {told}.",) if told else ()
