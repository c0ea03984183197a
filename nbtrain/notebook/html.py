"""The only way of text into a page. What is not markup of ours is escaped; there is no third kind."""

from __future__ import annotations

import html
from collections.abc import Iterable
from string import Template
from typing import Any, LiteralString

from nbtrain.plain import visible

_TOLD = 40  # bytes in which `clip` says how much it cut


class Markup(str):
    """HTML made by `fill` or `join`, and so of templates that stand in this package."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """`text` as text: no tag, no attribute, no entity, and no character that cannot be seen."""
    return Markup(html.escape(visible(text), quote=True))


def clip(text: object, size: int) -> Markup:
    """`escape(text)` in at most `size` bytes of UTF-8, with how much was cut: an escaped character may take six."""
    whole = str(text)
    if len(whole) <= size and len((found := escape(whole)).encode()) <= size:
        return found
    kept, room = size, size - _TOLD
    while (taken := len((found := escape(whole[:kept])).encode())) > room:
        kept = min(kept - 1, kept * room // taken)
    return fill("$found… ($left more characters)", found=found, left=f"{len(whole) - kept:,}")


def fill(template: LiteralString, /, **parts: object) -> Markup:
    """The template with each `$name` replaced: markup as it is, everything else escaped.

    Attributes of the template stand in double quotes: what `escape` leaves cannot end one.
    """
    # one pass: a `$name` inside a value is never looked at again
    return Markup(Template(template).substitute({name: _safe(part) for name, part in parts.items()}))


def join(parts: Iterable[Markup]) -> Markup:
    """These pieces, one after the other."""
    return Markup("".join(map(_safe, parts)))


def widget(markup: Markup, **settings: Any) -> Any:
    """A widget of ipywidgets that shows markup; set its `value` to other markup and to nothing else."""
    from ipywidgets import HTML

    return HTML(_safe(markup), **settings)


def _safe(part: object) -> Markup:
    return part if isinstance(part, Markup) else escape(part)
