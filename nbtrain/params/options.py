"""One parameter: what is known of it, written once as a pydantic field."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo

Searched = Literal["", "log"] | tuple[Any, ...]


def option(
    default: Any,
    help: str,
    *,
    group: str,
    unit: str = "",
    only: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    essential: bool = False,
    secret: bool = False,
    refused: str = "",
    needs: str = "",
    searched: Searched = "",
    **bounds: float,
) -> Any:
    """Describe one parameter.

    Args:
        default: its value when none is given.
        help: one line for a user: what it does, in words.
        group: the heading it stands under.
        unit: tokens, rows, steps ..., where it is a number.
        only: the methods (values of `trainer`) it applies to; empty for all.
        aliases: other names under which it may be given.
        essential: shown first, before its group.
        secret: never written to any file or output.
        refused: why no other value than the default is taken, and what to do instead; for what users of other systems
            type.
        needs: the switch without which it has no effect.
        searched: what a sweep tries that was not told what to search: "log" for a decade to either side of the value
            (a whole number: half of it to four times), (low, high), or choices; empty: its value alone.
        bounds: ge, gt, le, lt.
    """
    extra = {"group": group, "unit": unit, "only": only, "aliases": aliases, "essential": essential, "secret": secret}
    extra |= {"refused": refused, "needs": needs, "searched": searched}
    return Field(default, description=help, json_schema_extra=extra, **bounds)  # type: ignore[call-overload]


def _text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


Location = Annotated[str, BeforeValidator(_text)]
"""A name or a path. A Run is a path too (its model), so it may stand wherever a model is asked for."""

Function = Annotated[Callable[..., Any] | str, BeforeValidator(_text)]
"""A function of the notebook, or where one is: `module:function`, `FILE.py:function`, a name that the room knows."""


@dataclass(frozen=True)
class Option:
    """What is known of one parameter; read from its field."""

    name: str
    type: Any
    default: Any
    help: str
    group: str
    unit: str
    only: tuple[str, ...]
    aliases: tuple[str, ...]
    essential: bool
    secret: bool
    refused: str
    needs: str
    searched: Searched
    bounds: Mapping[str, float]

    @property
    def flag(self) -> str:
        """As it is typed on a line: --batch-size."""
        return "--" + self.name.replace("_", "-")

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types its value may have, None left out: `Literal["a"] | int | None` gives (Literal["a"], int)."""
        return tuple(kind for kind in _flatten(self.type) if kind is not type(None))

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values it may have, where they can be counted."""
        return tuple(
            value for kind in self.kinds if typing.get_origin(kind) is Literal for value in typing.get_args(kind)
        )

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, so that `--peft` and `--no-peft` say all."""
        return bool in self.kinds

    @property
    def is_function(self) -> bool:
        """Whether its value may be a function."""
        return any(typing.get_origin(kind) is Callable for kind in self.kinds)

    @property
    def nullable(self) -> bool:
        """Whether it may be left without a value (None)."""
        return type(None) in _flatten(self.type)

    def applies_to(self, method: str) -> bool:
        """Whether a run of this method reads it."""
        return not self.only or method in self.only


def _flatten(kind: Any) -> tuple[Any, ...]:
    if typing.get_origin(kind) is Annotated:
        return _flatten(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(part for each in typing.get_args(kind) for part in _flatten(each))
    return (kind,)


def read_field(name: str, item: FieldInfo) -> Option:
    extra = typing.cast("dict[str, Any]", item.json_schema_extra or {})
    bounds = {
        bound: getattr(rule, bound)
        for rule in item.metadata
        for bound in ("ge", "gt", "le", "lt")
        if hasattr(rule, bound)
    }
    return Option(
        name=name, type=item.annotation, default=item.default, help=item.description or "", bounds=bounds, **extra
    )
