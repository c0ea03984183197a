"""One parameter in the form: its control, and below it a line that helps or says what is wrong.

Only controls that ipywidgets has in 7.7 and 8, that have an accessible name and can be used by keyboard alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets

from nbtrain.notebook import html
from nbtrain.notebook.html import Markup, fill
from nbtrain.notebook.panel.draft import NOTHING, OFF, ON
from nbtrain.notebook.panel.source import COLUMNS
from nbtrain.params import Option

_OFFERING = ("path", "model", "checkpoint", *COLUMNS)  # ends of the names of fields that offer what is at hand


class Looks:
    """Layouts and styles that many controls share: each of their own would be a message of its own."""

    def __init__(self) -> None:
        self.control = ipywidgets.Layout(width="auto", margin="6px 2px 0 2px")
        self.note = ipywidgets.Layout(width="auto", margin="0 2px")
        self._styles: dict[type[Any], Any] = {}

    def make(self, kind: type[Any], **settings: Any) -> Any:
        """A control of this kind."""
        style = self._styles.get(kind, {"description_width": "180px"})
        made = kind(layout=self.control, style=style, **settings)
        self._styles.setdefault(kind, made.style)
        return made


class Field:
    """A parameter as it stands in the form.

    Args:
        changed: called with its name and its text, '' where it is at its default, when the user changes it.
    """

    def __init__(self, item: Option, looks: Looks, changed: Callable[[str, str], None]) -> None:
        self.item = item
        self.control = _control(item, looks)
        self.note = html.widget(_note(item.help), layout=looks.note)
        self._told, self._changed, self._quiet = ("", ""), changed, False
        self.control.observe(self._edited, "value")

    @property
    def widgets(self) -> tuple[Any, Any]:
        """What stands in the form, from top to bottom."""
        return self.control, self.note

    @property
    def text(self) -> str:
        """What stands in it; '' for its default."""
        if isinstance(self.control, ipywidgets.Checkbox):
            return "" if self.control.value == self.item.default else ON if self.control.value else OFF
        return str(self.control.value or "")

    @text.setter
    def text(self, text: str) -> None:
        if text == self.text:
            return
        self._quiet = True  # whoever writes here knows
        try:
            if isinstance(self.control, ipywidgets.Checkbox):
                self.control.value = text == ON if text else self.item.default
            else:
                self.control.value = text
        finally:
            self._quiet = False

    def offer(self, texts: Iterable[str]) -> None:
        """What may stand in it, to choose from; something else may be typed."""
        found = tuple(dict.fromkeys(texts))
        if isinstance(self.control, ipywidgets.Combobox) and found != tuple(self.control.options):
            self.control.options = found

    def tell(self, fault: str = "", known: str = "") -> None:
        """What is wrong with it, else what is known of its value, else what it does."""
        if (fault, known) != self._told:
            self._told = (fault, known)
            self.note.value = _fault(fault) if fault else _note(known or self.item.help)

    def _edited(self, change: Any) -> None:
        if not self._quiet:
            self._changed(self.item.name, self.text)


def _control(item: Option, looks: Looks) -> Any:
    """The control that fits the values of a parameter; what it is without one stands in it as a hint."""
    name, default = item.name.replace("_", " "), item.default
    hint = "not given" if default is None else str(default)
    if item.choices:
        nothing = [("none", NOTHING)] if item.nullable and default is not None and NOTHING not in item.choices else []
        shown = [(f"{hint} (as it comes)", ""), *nothing, *((str(each), str(each)) for each in item.choices)]
        others = [(label, value) for label, value in shown if value != str(default)]
        return looks.make(ipywidgets.Dropdown, description=name, options=others, value="")
    if item.is_switch and not item.nullable and item.kinds == (bool,):
        return looks.make(ipywidgets.Checkbox, description=name, value=bool(default), indent=True)
    if item.is_switch and item.kinds == (bool,):
        shown = [(f"{hint} (as it comes)", ""), (ON, ON), (OFF, OFF)]
        return looks.make(ipywidgets.Dropdown, description=name, options=shown, value="")
    kind = ipywidgets.Combobox if item.name.endswith(_OFFERING) else ipywidgets.Text
    return looks.make(kind, description=name, placeholder=hint)


def _note(text: str) -> Markup:
    return fill('<div class="note mathjax_ignore tex2jax_ignore">$text</div>', text=text)


def _fault(text: str) -> Markup:
    # a reader of screens tells of it at once
    return fill(
        '<div class="note fault mathjax_ignore tex2jax_ignore" role="alert"><b>Not yet:</b> $text</div>', text=text
    )
