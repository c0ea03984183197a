"""What the parameters of a room are, as text for a screen; made from their fields, like everything else about them."""

from __future__ import annotations

import sys
import textwrap
import typing
from collections.abc import Callable, Iterable
from typing import Any

from nbtrain.errors import ParamError, nearest
from nbtrain.params.base import Params
from nbtrain.params.options import Option

WIDTH = 100
_LEFT = 36  # columns of a flag and its value


def help_text(params_class: type[Params], method: str | None = None, *, command: str = "%autotrain") -> str:
    """All parameters of a room: the essential ones first, then each group.

    Args:
        method: of the room; then only what this method reads.
        command: how the room is called, before its name.

    Raises:
        ParamError: the room has no such method.
    """
    reader = None
    if method is not None:
        _check_method(params_class, method)
        reader = params_class.method_of({"trainer": method})  # a method may be another's second name
    everything = [item for item in ordered(params_class) if reader is None or item.applies_to(reader)]
    items = [item for item in everything if not item.refused]
    groups: dict[str, list[Option]] = {"Essential": [item for item in items if item.essential]}
    for item in items:
        if not item.essential:
            groups.setdefault(item.group, []).append(item)
    doc = (sys.modules[params_class.__module__].__doc__ or "").strip().split("\n")[0]
    about = textwrap.fill(doc, WIDTH)
    usage = f"{command} {params_class.room} --name value ... --switch --no-switch ..."
    parts = [f"{about}\n\n{usage}{f'   (what --trainer {method} reads)' if method else ''}"]
    parts += ["\n".join([heading, *(_entry(item, method) for item in group)]) for heading, group in groups.items()]
    if refused := ", ".join(item.name for item in everything if item.refused):
        told = f"Known from elsewhere, and refused (`explain NAME` says why): {refused}"
        parts.append(textwrap.fill(told, WIDTH, subsequent_indent="  "))
    return "\n\n".join(parts)


def explain(params_class: type[Params], name: str) -> str:
    """One parameter: what it does, its values, its default, who reads it.

    Raises:
        ParamError: there is none of this name; the nearest is named.
    """
    item = params_class.options()[params_class.field_name(name)]
    facts = {
        "value": _values(item),
        "default": _default(item),
        "read by": ", ".join(f"--trainer {method}" for method in item.only) or "every run of this room",
        "group": item.group,
        "needs": f"--{item.needs.replace('_', '-')}" if item.needs else "",
        "also": ", ".join(f"--{alias.replace('_', '-')}" for alias in item.aliases),
        "written": "never: it is a secret" if item.secret else "",
        "refused": item.refused,
    }
    lines = [f"{item.flag}   (in a cell: {item.name} = ...)", *textwrap.wrap(item.help, WIDTH - 2)]
    lines += [f"{label + ':':<9}{text}" for label, text in facts.items() if text]
    return "\n  ".join(lines)


def ordered(params_class: type[Params]) -> Iterable[Option]:
    """The parameters in the order in which the class names its blocks; pydantic has them the other way round."""
    options = params_class.options()
    names = [name for base in params_class.__mro__ for name in base.__dict__.get("__annotations__", {})]
    return [options[name] for name in dict.fromkeys(names) if name in options]


def _check_method(params_class: type[Params], method: str) -> None:
    trainer = params_class.options().get("trainer")
    known = [str(choice) for choice in trainer.choices] if trainer else []
    if method not in known:
        what = f"{params_class.room} has no method {method!r}.{nearest(method, known)}"
        raise ParamError(what, fix=f"its methods: {', '.join(known)}" if known else "it has one method only")


def _entry(item: Option, method: str | None) -> str:
    """A flag with its value at the left, what it does at the right."""
    flag = f"--[no-]{item.flag[2:]}" if item.is_switch else f"{item.flag} {_placeholder(item)}"
    left = f"  {flag}"
    notes = [f"[only {', '.join(item.only)}]"] if item.only and method is None else []
    if item.default is not None:
        notes.append(f"[default: {_default(item)}]")
    lines = textwrap.wrap(" ".join([item.help, *notes]), WIDTH - _LEFT)
    if len(left) > _LEFT - 2:
        return "\n".join([left, *(" " * _LEFT + line for line in lines)])
    return "\n".join([f"{left:<{_LEFT}}{lines[0]}", *(" " * _LEFT + line for line in lines[1:])])


def _placeholder(item: Option) -> str:
    """What stands for the value after a flag: its choices, its unit, or its type."""
    if item.choices:
        return "|".join(str(choice) for choice in item.choices)
    if {int, float} & set(item.kinds):
        return "NUMBER" if " " in item.unit or not item.unit else item.unit.upper()
    return "JSON" if any(_is_structure(kind) for kind in item.kinds) and str not in item.kinds else "TEXT"


def _values(item: Option) -> str:
    """The values that it may have, in words."""
    if item.choices:
        return " | ".join(str(choice) for choice in item.choices)
    if item.is_switch:
        return f"on ({item.flag}) or off (--no-{item.flag[2:]})"
    bounds = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = " and ".join(f"{bounds[name]} {limit:g}" for name, limit in item.bounds.items())
    words = [_name(kind) for kind in item.kinds]
    unit = f" ({item.unit})" if item.unit else ""
    nothing = f"; none ({f'--no-{item.flag[2:]}'})" if item.nullable else ""
    return f"{', or '.join(words)}{unit}{f', {limits}' if limits else ''}{nothing}"


def _name(kind: Any) -> str:
    if typing.get_origin(kind) is Callable:
        return "a function"
    if _is_structure(kind):
        return "a list, as JSON" if typing.get_origin(kind) is list else "names and values, as JSON"
    return {int: "a whole number", float: "a number", str: "text", Any: "text, or a variable"}.get(kind, "text")


def _is_structure(kind: Any) -> bool:
    return typing.get_origin(kind) in (list, dict, tuple)


def _default(item: Option) -> str:
    if item.default is None:
        return "none"
    if isinstance(item.default, bool):
        return "on" if item.default else "off"
    return str(item.default)
