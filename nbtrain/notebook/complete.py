"""Tab: verbs, flags that are not given yet, their values, frames, columns, runs, files; from memory and disk only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nbtrain.errors import NbtrainError
from nbtrain.notebook import nearby

if TYPE_CHECKING:
    from nbtrain.params import Option, Params

_LINE = re.compile(r"\s*(?:[\w.,* ]+=\s*)?%autotrain(?=\s)")
_CELL = re.compile(r"\s*%%autotrain(?=\s)")
_KEY = re.compile(r"\s*(\w*)$")
_PAIR = re.compile(r"\s*(\w+)\s*=\s*(.*)$")
_FILES = ("path", "model", "checkpoint")  # ends of the names of parameters whose value may be a file
_MOST = 200  # suggestions
_OF_RUN = ("show", "attach", "resume", "export", "why", "chat", "panel", "push")

Names = Mapping[str, Any]


class Found(NamedTuple):
    """What may stand in place of `fragment`, the text right before the cursor."""

    fragment: str
    texts: list[str]


def install(shell: Any, root: Callable[[], str] = lambda: ".") -> Callable[[], None]:
    """Let the shell complete our magic; returns what undoes it.

    Args:
        root: gives the folder whose runs are offered.
    """
    completer = shell.Completer

    def found(text: str, line: int, column: int) -> Found | None:
        before = "\n".join([*text.split("\n")[:line], text.split("\n")[line][:column]])
        return suggest(text, len(before), shell.user_ns, root())

    try:
        from IPython.core.completer import SimpleCompletion, context_matcher
    except ImportError:  # IPython 7, as on Colab: its matchers see neither the cell nor the cursor
        return _wrap(completer, found)

    @context_matcher(identifier="nbtrain", priority=100)
    def match(context: Any) -> dict[str, Any]:
        ours = found(context.full_text, context.cursor_line, context.cursor_position)
        if ours is None:
            return {"completions": []}
        texts = [SimpleCompletion(text=text, type="magic") for text in ours.texts]
        return {"completions": texts, "matched_fragment": ours.fragment, "suppress": bool(texts), "ordered": True}

    completer.custom_matchers.append(match)
    return lambda: completer.custom_matchers.remove(match) if match in completer.custom_matchers else None


def _wrap(completer: Any, found: Callable[[str, int, int], Found | None]) -> Callable[[], None]:
    theirs = completer._complete

    def complete(*, cursor_line: int, cursor_pos: int, **texts: Any) -> Any:
        whole = texts.get("full_text") or texts.get("line_buffer") or texts.get("text") or ""
        column = len(whole) if cursor_pos is None else cursor_pos
        ours = found(whole, cursor_line, column) if "%autotrain" in whole else None
        if ours is None or not ours.texts:
            return theirs(cursor_line=cursor_line, cursor_pos=cursor_pos, **texts)
        return ours.fragment, ours.texts, ["nbtrain"] * len(ours.texts), ()

    completer._complete = complete
    return lambda: delattr(completer, "_complete") if completer.__dict__.get("_complete") is complete else None


def suggest(text: str, cursor: int, names: Names, root: str = ".") -> Found | None:
    """What may stand at the cursor.

    Args:
        text: of the whole cell.
        cursor: characters before it.
        names: the user's namespace.

    Returns:
        None where our magic is not what is being written.
    """
    before = text[:cursor]
    cell = _CELL.match(text)
    if cell and "\n" in before[cell.end() :]:
        header, _, body = text[cell.end() :].partition("\n")
        return _in_body(header, body, before.rpartition("\n")[2], names)
    lines = before.split("\n")
    first = len(lines) - 1
    while first and lines[first - 1].rstrip().endswith("\\"):
        first -= 1
    logical = "\n".join(lines[first:])
    start = _CELL.match(logical) or _LINE.match(logical)
    return _in_line(logical[start.end() :], names, root) if start else None


@dataclass(frozen=True)
class _Asked:
    """What is known of the room that is being written: its parameters, and what is given already."""

    params_class: type[Params]
    given: Mapping[str, str]  # field to its text
    names: Names

    @property
    def left(self) -> list[Option]:
        """The parameters that may still be given, the essential ones first."""
        from nbtrain.params.help import ordered

        method = self.params_class.method_of({"trainer": self.given["trainer"]} if "trainer" in self.given else {})
        known = (item for item in ordered(self.params_class) if item.name not in self.given and not item.refused)
        items = [item for item in known if item.applies_to(method)]
        return sorted(items, key=lambda item: not item.essential)

    @property
    def columns(self) -> list[str]:
        """The columns of the data that is named already."""
        from nbtrain.data.values import frames

        source = self.given.get("data_path", "").strip("\"'{}$")
        named = [frame.columns for frame in frames(self.names) if frame.name == source]
        return list(named[0]) if named else nearby.columns(source) if source else []


def _in_line(rest: str, names: Names, root: str) -> Found | None:
    from nbtrain import trainers, verbs
    from nbtrain.params.tokens import split

    fragment = re.search(r"\S*$", rest)[0]  # type: ignore[index]
    try:
        tokens = split(rest[: len(rest) - len(fragment)]).tokens
    except NbtrainError:
        return None  # inside of quotes
    if not tokens:
        return _matching(fragment, [*trainers.names(), *verbs.VERBS])
    verb, rest_of = trainers.command(str(tokens[0])), tokens[1:]
    if verb in (*verbs.OF_DATA, "panel") and rest_of:
        verb, rest_of = trainers.command(str(rest_of[0])), rest_of[1:]
    if verb in trainers.names():
        return _of_room(verb, rest_of, fragment, names)
    return _matching(fragment, _of_verb(verb, rest_of, root))


def _of_verb(verb: str, tokens: list[Any], root: str) -> list[str]:
    from nbtrain import controls, export, trainers, verbs
    from nbtrain.runs import folder

    if verb == "compare" or (verb in (*_OF_RUN, *controls.USAGE) and not tokens):
        rooms = trainers.names() if verb == "panel" else []
        return rooms + [run.name for run in reversed(folder.all_runs(root)[-_MOST:])]
    if verb == "export":
        return list(export.FORMS) if tokens[-1] == "--to" else ["--to"]
    if verb == "set":
        return [f"--{name}" for name in controls.CHANGEABLE]
    if verb == "explain":
        rooms = [room for room in trainers.names() if not tokens or room == tokens[0]]
        fields = [name for room in rooms for name in trainers.load(room).Params.options()]
        return [*([] if tokens else trainers.names()), *fields]
    return trainers.names() if verb in (*verbs.OF_DATA, "help") and not tokens else []


def _of_room(room: str, tokens: list[Any], fragment: str, names: Names) -> Found:
    from nbtrain import trainers
    from nbtrain.notebook.magics import SWITCHES, VALUED

    params_class = trainers.load(room).Params
    asked = _Asked(params_class, _given(tokens, params_class), names)
    flag, equals, value = fragment.partition("=")
    if equals and flag.startswith("--"):
        item = _option(flag, params_class)
        return _matching(value, _values(item, flag, asked, value), _word) if item else Found(value, [])
    last = str(tokens[-1]) if tokens else ""
    item = _option(last, params_class) if last.startswith("--") else None
    if item and not item.is_switch:
        return _matching(fragment, _values(item, last, asked, fragment), _word)
    if last in VALUED["room"]:
        return _matching(fragment, list(map(str, _choices("trainer", params_class))) if "trainer" in last else [])
    own = [each for each in (*SWITCHES["room"], *VALUED["room"]) if each not in tokens]
    off = [f"--no-{item.flag[2:]}" for item in asked.left if item.is_switch] if fragment.startswith("--no") else []
    return _matching(fragment, [*(item.flag for item in asked.left), *own, *off])


def _given(tokens: list[Any], params_class: type[Params]) -> dict[str, str]:
    """The parameters that a line gives already, each with its text."""
    given = {}
    for index, token in enumerate(map(str, tokens)):
        flag, equals, value = token.partition("=")
        item = _option(flag, params_class) if flag.startswith("--") else None
        if item:
            given[item.name] = value if equals else "".join(map(str, tokens[index + 1 : index + 2]))
    if tokens and str(tokens[-1]).startswith("--") and "=" not in str(tokens[-1]):
        item = _option(str(tokens[-1]), params_class)
        if item and not item.is_switch:
            given.pop(item.name, None)  # it is being written
    return given


def _in_body(header: str, body: str, line: str, names: Names) -> Found | None:
    """A line `key = value` of a cell, up to the cursor."""
    from nbtrain import trainers
    from nbtrain.params.tokens import split

    with suppress(NbtrainError):
        tokens = [str(token) for token in split(header).tokens]
        room = next((word for word in tokens if trainers.command(word) in trainers.names()), None)
        if room is None:
            return None
        params_class = trainers.load(room).Params
        pairs = [found for each in body.split("\n") if (found := _PAIR.match(each))]
        items = [(_option(pair[1], params_class), pair[2].strip().strip("\"'")) for pair in pairs]
        given = _given(tokens, params_class) | {item.name: value for item, value in items if item}
        asked = _Asked(params_class, given, names)
        if key := _KEY.match(line):
            return _matching(key[1], [f"{item.name} = " for item in asked.left])
        pair = _PAIR.match(line)
        item = _option(pair[1], params_class) if pair else None
        if pair and item:
            return _matching(pair[2], _literals(item, pair[1], asked, pair[2]))
    return None


def _literals(item: Option, key: str, asked: _Asked, fragment: str) -> list[str]:
    """The values of a parameter as a cell has them: text in quotes, variables without."""
    from nbtrain.data.values import frames

    if item.is_switch:
        return ["True", "False"]
    quote = fragment[0] if fragment[:1] in ("'", '"') else '"'
    texts = [f"{quote}{text}{quote}" for text in _values(item, "", asked, fragment.strip("\"'"), bare=True)]
    return [*([frame.name for frame in frames(asked.names)] if Any in item.kinds else []), *texts]


def _values(item: Option, flag: str, asked: _Asked, fragment: str, *, bare: bool = False) -> list[str]:
    """The values that a parameter may have, as far as they can be known."""
    from nbtrain.data.values import frames

    found: list[str] = list(map(str, item.choices))
    if Any in item.kinds and not bare:
        found += [frame.name for frame in frames(asked.names)]
        if flag == "--df":
            return found
    if item.name.endswith("_column"):
        found += asked.columns
    if item.name.endswith(_FILES):
        found += [str(item.default)] if isinstance(item.default, str) else []
        found += nearby.models(() if bare else asked.names) if item.name.endswith("model") else []
        found += nearby.files(fragment)
    return found


def _choices(name: str, params_class: type[Params]) -> Iterable[Any]:
    options = params_class.options()
    return options[name].choices if name in options else ()


def _option(flag: str, params_class: type[Params]) -> Option | None:
    with suppress(NbtrainError):
        return params_class.options()[params_class.field_name(flag)]
    return None


def _word(text: str) -> str:
    """A value as it stands on a line; a variable's `{name}` stays what it is."""
    from nbtrain.params.tokens import quote

    return text if text.startswith("{") else quote(text)


def _matching(fragment: str, texts: Iterable[str], write: Callable[[str], str] = str) -> Found:
    """Those of `texts` that begin with the fragment, each as `write` writes it."""
    begin = fragment.replace("_", "-") if fragment.startswith("--") else fragment
    return Found(fragment, list(dict.fromkeys(write(text) for text in texts if text.startswith(begin)))[:_MOST])
