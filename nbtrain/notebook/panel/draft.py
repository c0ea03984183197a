"""What is filled in of a room's parameters, and what it means; without a widget, so that it can be read and tested."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nbtrain import export, trainers, verbs
from nbtrain.errors import ParamError
from nbtrain.notebook.panel.source import COLUMNS, Source
from nbtrain.params import Option, Params, words
from nbtrain.params.help import ordered

ON, OFF, NOTHING = "on", "off", "none"
"""How a switch, and a parameter without a value, are written in the form."""
_IN_CELLS = (
    "# {names}: from this notebook. The script stands here when the run has started, and reads the copy it keeps."
)
_FAULTY = "what is marked in the form comes first"
_FLAG = re.compile(r"--([a-z0-9-]+)")


@dataclass(frozen=True)
class Reading:
    """What a draft means.

    params: None where something is wrong. faults: by field, what is wrong with it; '' holds what belongs to none.
    line, cell, script: the same, as code.
    """

    params: Params | None
    faults: Mapping[str, str]
    line: str = f"# {_FAULTY}"
    cell: str = f"# {_FAULTY}"
    script: str = f"# {_FAULTY}"
    notices: list[str] = field(default_factory=list)


class Draft:
    """The fields of a room, each as the text that stands in it; a field that is at its default has none.

    Args:
        names: the user's namespace: rows and functions are given by their names in it.
    """

    def __init__(self, room: str, names: Mapping[str, Any]) -> None:
        self.room = trainers.command(room)
        self.params_class: type[Params] = trainers.load(room).Params
        self.options = self.params_class.options()
        self.names = names
        self.texts: dict[str, str] = {}

    def write(self, name: str, text: str) -> None:
        """Fill a field; '' leaves it at its default."""
        self.texts.pop(name, None)
        item = self.options[name]
        if text.strip() and text.strip() != self._text(item, item.default):
            self.texts[name] = text.strip()

    def fill(self, params: Params) -> None:
        """Fill the form with what these parameters say."""
        self.texts = {name: self._text(self.options[name], value) for name, value in params.changed().items()}

    @property
    def method(self) -> str:
        """The method whose fields are shown."""
        given = {"trainer": self.texts["trainer"]} if "trainer" in self.texts else {}
        return self.params_class.method_of(given)

    def fields(self) -> list[Option]:
        """The fields of the form, the essential ones first: what the method reads, what is not refused, no secrets.

        A secret is not typed here: a front end may save what stands in a form into the notebook.
        """
        known = [item for item in ordered(self.params_class) if item.applies_to(self.method)]
        shown = [item for item in known if not (item.refused or item.secret)]
        return sorted(shown, key=lambda item: (not item.essential, item.group != "Basic"))

    def read(self) -> Reading:
        """What the form says now."""
        faults: dict[str, str] = {}
        values: dict[str, Any] = {}
        for name, text in self._given():
            try:
                values |= words.read_line([self._token(name, text)], self.params_class, self.names, rows=verbs.rows)
            except ParamError as error:
                faults[name] = _sentence(error)
        source = Source(self.texts.get("data_path", ""), self.names)
        faults |= source.faults({name: text for name, text in self._given() if name.endswith(COLUMNS)})
        try:
            params, notices = self.params_class.read(values, source="panel")
        except ParamError as error:
            return Reading(None, self._placed(error) | faults)
        if faults:
            return Reading(None, faults)
        held = {name: self.texts[name] for name, value in values.items() if _lives_here(value)}
        return Reading(params, {}, *self._code(params, held), notices)

    def _given(self) -> Iterator[tuple[str, str]]:
        """What is filled in of the fields that the method reads; the others keep their text, and say nothing."""
        for name, text in self.texts.items():
            if self.options[name].applies_to(self.method):
                yield name, text

    def _token(self, name: str, text: str) -> str:
        item = self.options[name]
        negative = f"--no-{item.flag[2:]}"
        if item.is_switch and text in (ON, OFF):
            return item.flag if text == ON else negative
        if item.nullable and text == NOTHING and NOTHING not in item.choices:
            return negative
        return f"{item.flag}={text}"

    def _text(self, item: Option, value: Any) -> str:
        """A value as it stands in its field.

        Raises:
            ParamError: it has no name in the notebook.
        """
        if isinstance(value, bool) and item.is_switch:
            return ON if value else OFF
        if value is None:
            return NOTHING
        if _lives_here(value):
            named = (name for name, each in self.names.items() if each is value and not name.startswith("_"))
            found = next(named, None)
            if found is None:
                raise ParamError(
                    f"{item.flag} holds what no variable of the notebook names", fix="give it a name first"
                )
            return found
        return words.write_value(item, value)

    def _placed(self, error: ParamError) -> dict[str, str]:
        """Each fault with the field under which it is told: its own, or the first that its words name."""
        placed: dict[str, str] = {}
        for name, fault in (error.faults or {"": _sentence(error)}).items():
            named = (flag.replace("-", "_") for flag in _FLAG.findall(fault))
            place = name or next((each for each in named if each in self.options), "")
            placed[place] = "; ".join(filter(None, (placed.get(place), fault)))
        return placed

    def _code(self, params: Params, held: Mapping[str, str]) -> tuple[str, str, str]:
        script = _IN_CELLS.format(names=", ".join(held.values())) if held else export.script(params)
        return export.line(params, held), export.cell(params, held), script


def _lives_here(value: Any) -> bool:
    """Whether a value can only be written by the name of its variable."""
    from nbtrain.data.values import is_rows

    return callable(value) or (is_rows(value) and not isinstance(value, dict))


def _sentence(error: ParamError) -> str:
    return ". ".join(part.rstrip(".") for part in (error.what, error.why, error.fix) if part)
