"""The parameters of a room: read, checked, told of, and written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from nbtrain.errors import ParamError, nearest
from nbtrain.params.options import Option, read_field

_YES = ("true", "t", "yes", "y", "on", "1")  # what pydantic reads as true: values may be text here

Source = Literal["default", "user", "panel", "auto"]


class Params(BaseModel):
    """The parameters of a room. A subclass declares the fields; its methods, where it has several, stand in `trainer`.

    Raises (when made):
        ParamError: a name that does not exist (with the nearest), a value out of range, fields that exclude each other.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, arbitrary_types_allowed=True, protected_namespaces=()
    )

    room: ClassVar[str] = ""  # the command: llm, text-classification ...
    _provenance: dict[str, Source] = PrivateAttr(default_factory=dict)
    _notices: list[str] = PrivateAttr(default_factory=list)

    @classmethod
    def __pydantic_init_subclass__(cls, **settings: Any) -> None:
        # the module of a room is its command, and stands nowhere else
        _, found, module = cls.__module__.partition("nbtrain.trainers.")
        if found:
            cls.room = module.split(".")[0].replace("_", "-")

    def __init__(self, **values: Any) -> None:
        known = type(self).options()
        given = {type(self).field_name(name): value for name, value in values.items()}
        understood, told = self.understood(given)
        kept, notices = _without_strangers(type(self), understood)
        try:
            super().__init__(**kept)
        except ValidationError as error:
            raise _as_param_error(error, known) from None
        for name in kept:
            if known[name].refused and not _same(getattr(self, name), known[name].default):
                raise ParamError(f"{known[name].flag} is refused", why=known[name].refused)
        self._notices = [*told, *notices]
        self._provenance = {name: "user" for name in kept}

    @classmethod
    def understood(cls, given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """What `given` (by field, as it was given) means to the room, and what the user should be told of it.

        A room whose methods have other names, or exclude some fields, says so here.
        """
        return given, []

    @classmethod
    def options(cls) -> dict[str, Option]:
        """By name: those of the class itself first, then its blocks', in the order in which they stand."""
        cached = cls.__dict__.get("_options")
        if cached is None:
            fields = cls.model_fields  # pydantic has those of the last block first
            written = (name for part in cls.__mro__ for name in vars(part).get("__annotations__", ()) if name in fields)
            cached = {name: read_field(name, fields[name]) for name in dict.fromkeys(written)}
            cls._options = cached  # type: ignore[attr-defined]
        return cached

    @classmethod
    def field_name(cls, given: str) -> str:
        """The field that `given` names: in either spelling, with or without dashes, or by an alias.

        Raises:
            ParamError: there is none; the nearest is named.
        """
        name = given.lstrip("-").replace("-", "_")
        options = cls.options()
        if name in options:
            return name
        for item in options.values():
            if name in item.aliases:
                return item.name
        close = nearest(name, options)
        hint = f" Did you mean {options[close.split()[-1][:-1]].flag}?" if close else ""
        what = f"{cls.room or cls.__name__} has no parameter --{name.replace('_', '-')}.{hint}"
        raise ParamError(what, fix=f"`{cls.room or 'ROOM'} --help` lists them all.")

    @classmethod
    def read(
        cls,
        mapping: Mapping[str, Any],
        *,
        source: Source | Mapping[str, Source] = "user",
        notices: Iterable[str] = (),
    ) -> tuple[Self, list[str]]:
        """Params from names and values, and what the user should be told of them.

        Args:
            mapping: names in any spelling; values of the field's type, or text that can be read as one.
            source: who gave the values; or, by field, who gave each.
            notices: what the user should be told already, of the words in which the values were given.
        """
        params = cls(**{cls.field_name(name): value for name, value in mapping.items()})
        params._provenance = {
            name: source if isinstance(source, str) else source.get(name, "auto") for name in params._provenance
        }
        params._notices = [*notices, *params._notices]
        return params, list(params._notices)

    @classmethod
    def method_of(cls, values: Mapping[str, Any]) -> str:
        """The method among the room's that `values` ask for, '' in a room with one."""
        if "trainer" not in cls.options():
            return ""
        return str(values.get("trainer", cls.options()["trainer"].default))

    @property
    def method(self) -> str:
        """The room's method that these parameters ask for, '' in a room with one."""
        return self.method_of(self.__dict__)

    @property
    def notices(self) -> list[str]:
        """What was ignored or decided when these parameters were read, in words."""
        return list(self._notices)

    def provenance(self, name: str) -> Source:
        """Who gave the value of `name`: nobody (default), the user, a panel, or nbtrain itself (auto)."""
        return self._provenance.get(name, "default")

    def given(self) -> set[str]:
        """Names of the parameters that someone gave a value."""
        return {name for name, source in self._provenance.items() if source != "auto"}

    def changed(self) -> dict[str, Any]:
        """The parameters whose value is not the default, secrets left out, in the order of declaration."""
        options = type(self).options()
        return {
            name: value
            for name, value in ((name, getattr(self, name)) for name in options)
            if not options[name].secret and not _same(value, options[name].default)
        }

    def secrets(self) -> dict[str, str]:
        """The secret parameters that have a value; they are handed on, and written nowhere."""
        named = (name for name, item in type(self).options().items() if item.secret)
        return {name: getattr(self, name) for name in named if getattr(self, name)}

    def record(self) -> dict[str, Any]:
        """All parameters as plain data, secrets left out; `Params.read` of it gives equal parameters."""
        return {name: getattr(self, name) for name, item in type(self).options().items() if not item.secret}

    def __eq__(self, other: object) -> bool:
        # who gave a value is told in the record, and makes no other run
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def but(self, *, source: Source = "auto", **values: Any) -> Self:
        """The same parameters with some values replaced; `source` says who did it."""
        kept = {name: getattr(self, name) for name in self._provenance} | values
        other = type(self)(**kept)
        other._provenance = self._provenance | {name: source for name in values}
        other._notices = list(self._notices)
        return other


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) in (str, int, float, bool, type(None), list, dict) and value == default)


def _without_strangers(cls: type[Params], values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Take out the values that the chosen method does not read, each with a notice."""
    method, options, notices = cls.method_of(values), cls.options(), []
    kept = dict(values)
    for name, value in values.items():
        item = options[name]
        if item.needs and str(kept.get(item.needs)).lower() not in _YES:
            del kept[name]
            if not _same(value, item.default):
                notices.append(f"{name} only applies with {options[item.needs].flag}, will be ignored")
            continue
        if item.applies_to(method):
            continue
        del kept[name]
        if value != item.default:
            owners = "/".join(owner.upper() for owner in item.only)
            many = "trainers" if len(item.only) > 1 else "trainer"
            notices.append(f"{name} only applies to {owners} {many}, will be ignored")
    return kept, notices


def _as_param_error(error: ValidationError, options: Mapping[str, Option]) -> ParamError:
    """The first fault in words, with the flag as it is typed; the others are named after it."""
    places = [(item, _fault(dict(item), options)) for item in error.errors()]
    faults = [fault for _, fault in places]
    distinct = list(dict.fromkeys(faults))
    what, more = distinct[0], distinct[1:]
    told = ParamError(what, why="; ".join(more) and f"also: {'; '.join(more)}")
    told.faults = {str(item["loc"][0]) if item["loc"] else "": fault for item, fault in places}
    return told


def _fault(item: dict[str, Any], options: Mapping[str, Option]) -> str:
    name = str(item["loc"][0]) if item["loc"] else ""
    if name not in options:
        return str(item["msg"]).removeprefix("Value error, ")
    known = options[name]
    if known.choices and item["type"] != "value_error":
        hint = nearest(str(item["input"]), map(str, known.choices))
        return f"{known.flag} is one of {', '.join(map(str, known.choices))}; found {item['input']!r}.{hint}"
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f"{known.flag} {message}; found {item['input']!r}"
