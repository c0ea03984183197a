"""The panel as it is seen: the form at the left, the code beside it, the buttons below."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets

from nbtrain.notebook import html, nearby
from nbtrain.notebook.html import Markup, fill
from nbtrain.notebook.panel import source
from nbtrain.notebook.panel.code import Code
from nbtrain.notebook.panel.draft import Draft, Reading
from nbtrain.notebook.panel.fields import Field, Looks
from nbtrain.notebook.panel.presets import PRESETS, texts
from nbtrain.notebook.panel.source import COLUMNS, Source
from nbtrain.notebook.theme import PANEL_STYLE
from nbtrain.params import Option

_FOUND = 12  # fields that a search shows
_NONE, _ALL = "none", "all"
_NAMED = [("my own values", ""), *((name, name) for name in PRESETS)]
BUTTONS = {"train": "Train", "stop": "Stop", "save": "Save now", "sample": "Sample now", "pause": "Pause"}


class Form:
    """The fields: essential ones, then those of a group or of a search.

    Args:
        edited: called after each change of the draft.
    """

    def __init__(self, draft: Draft, edited: Callable[[], None]) -> None:
        self.draft, self._edited, self._looks = draft, edited, Looks()
        self.fields: dict[str, Field] = {}
        self._preset: dict[str, str] = {}
        self._faulty: set[str] = set()
        make = self._looks.make
        self.preset = make(ipywidgets.Dropdown, description="begin with", options=_NAMED)
        self.group = make(ipywidgets.Dropdown, description="more fields", options=self._groups())
        self.search = make(ipywidgets.Text, description="find a field", placeholder="a word of its name or its help")
        self._told = html.widget(Markup(), layout=self._looks.note)
        self.widget = ipywidgets.VBox(
            layout=ipywidgets.Layout(flex="1 1 400px", max_width="620px", margin="0 16px 0 0")
        )
        self.preset.observe(self._preset_chosen, "value")
        for control in (self.group, self.search):
            control.observe(lambda change: self.arrange(), "value")

    def arrange(self) -> None:
        """Show the fields that the method reads, and of them those that are asked for."""
        fields = self.draft.fields()
        groups = self._groups()
        if tuple(groups) != tuple(self.group.options):
            chosen = self.group.value
            self.group.options = groups
            self.group.value = chosen if chosen in groups else _NONE
        more = self._found(fields) if self.search.value.strip() else self._of_group(fields)
        # what is filled in or wrong stays in sight
        kept = [item for item in fields if item.name in self.draft.texts or item.name in self._faulty]
        first = [item for item in fields if item.essential or (item in kept and item not in more)]
        parts = [self.preset, *self._shown(first), self.group, self.search, self._told, *self._shown(more)]
        if tuple(parts) != tuple(self.widget.children):
            self.widget.children = parts
            self.refresh()

    def fill(self) -> None:
        """Let the fields show what the draft says."""
        for name, each in self.fields.items():
            each.text = self.draft.texts.get(name, "")

    def tell(self, reading: Reading) -> None:
        """Each field's fault under it, and what is known of the data; what there is to choose from."""
        self._faulty = set(reading.faults)
        if not all(name in self.fields and self._is_shown(name) for name in self._faulty - {""}):
            self.arrange()
        data = self._data()
        for name, each in self.fields.items():
            each.tell(reading.faults.get(name, ""), data.told() if name == "data_path" else "")
            if name.endswith(COLUMNS):
                each.offer(data.columns)

    def refresh(self) -> None:
        """What is at hand now: a cell may have made rows or a file."""
        for name, each in self.fields.items():
            if name.endswith(COLUMNS):
                each.offer(self._data().columns)
            elif name == "data_path" and each.item.default == "demo":
                each.offer(source.offered(self.draft.names))
            elif name.endswith("model"):
                each.offer(["tiny", *nearby.models()])

    def _data(self) -> Source:
        return Source(self.draft.texts.get("data_path", ""), self.draft.names)

    def _groups(self) -> list[str]:
        groups = [item.group for item in self.draft.fields() if not item.essential]
        return [_NONE, *dict.fromkeys(groups), _ALL]

    def _of_group(self, fields: list[Option]) -> list[Option]:
        self._told.value = Markup()
        chosen = self.group.value
        return [item for item in fields if not item.essential and chosen in (item.group, _ALL)]

    def _found(self, fields: list[Option]) -> list[Option]:
        """The fields whose name, other names or help have all the words of the search."""
        wanted = self.search.value.lower().replace("-", " ").replace("_", " ").split()

        def has_all(item: Option) -> bool:
            text = " ".join((item.name, *item.aliases, item.help, item.group)).lower().replace("_", " ")
            return all(word in text for word in wanted)

        found = [item for item in fields if has_all(item)]
        more = f"; the first {_FOUND} are shown" if len(found) > _FOUND else ""
        told = f"fields found: {len(found)}{more}"
        self._told.value = fill('<div class="note mathjax_ignore tex2jax_ignore" role="status">$told</div>', told=told)
        return found[:_FOUND]

    def _is_shown(self, name: str) -> bool:
        return self.fields[name].control in self.widget.children

    def _shown(self, items: Iterable[Option]) -> list[Any]:
        return [widget for item in items for widget in self._field(item).widgets]

    def _field(self, item: Option) -> Field:
        if item.name not in self.fields:
            made = Field(item, self._looks, self._changed)
            made.text = self.draft.texts.get(item.name, "")
            self.fields[item.name] = made
        return self.fields[item.name]

    def _changed(self, name: str, text: str) -> None:
        self.draft.write(name, text)
        if name == "trainer":
            self.arrange()
        self._edited()

    def _preset_chosen(self, change: Any) -> None:
        for name, text in self._preset.items():  # what the last one filled in, unless it was changed since
            if self.draft.texts.get(name) == text:
                self.draft.write(name, "")
        self._preset = texts(change["new"], self.draft) if change["new"] else {}
        for name, text in self._preset.items():
            self.draft.write(name, text)
        self.fill()
        self.arrange()
        self._edited()


class Board:
    """All of the panel's widgets. Whoever makes it says what its buttons do."""

    def __init__(self, form: Form, title: str, about: str) -> None:
        self.form, self.code = form, Code()
        short = ipywidgets.Layout(width="112px")
        self.buttons = {name: ipywidgets.Button(description=text, layout=short) for name, text in BUTTONS.items()}
        self.buttons["train"].button_style = "primary"
        narrow = {"width": "210px"}
        self.rate = ipywidgets.Text(
            description="learning rate", placeholder="for the run", layout=narrow, style={"description_width": "90px"}
        )
        self.buttons["change"] = ipywidgets.Button(description="Change rate", layout=short)
        self.told = html.widget(Markup())
        head = html.widget(
            fill(
                "<style>$style</style><h3>$title</h3><div>$about</div>",
                style=fill(PANEL_STYLE),
                title=title,
                about=about,
            )
        )
        wrap = ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start")
        beside = ipywidgets.HBox([form.widget, self.code.widget], layout=wrap)
        rate = ipywidgets.HBox([self.rate, self.buttons["change"]])
        row = ipywidgets.HBox([*(self.buttons[name] for name in BUTTONS), rate], layout=wrap)
        self.widget = ipywidgets.VBox([head, beside, row, self.told])
        self.widget.add_class("nbtrain-panel")

    def say(self, text: str, *, fault: bool = False) -> None:
        """A line below the buttons."""
        kind = f"told{' fault' if fault else ''} mathjax_ignore tex2jax_ignore"
        self.told.value = fill('<div class="$kind" role="status">$text</div>', kind=kind, text=text)
