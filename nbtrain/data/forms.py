"""The forms in which chat data comes, each turned into messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtrain.data import columns
from nbtrain.errors import DataError, listing

if TYPE_CHECKING:
    from datasets import Dataset

Message = dict[str, Any]
ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant", "bot": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
LONGEST = 10_000_000  # characters of one cell; longer is a file that was put into a cell, or a quote never closed


@dataclass(frozen=True)
class Form:
    """How a data set holds its conversations.

    name: messages (role/content), sharegpt (from/value), alpaca, pair, or text. columns: role to column.
    numbers: the roles whose column holds numbers throughout; they are read as text.
    """

    name: str
    columns: Mapping[str, str]
    numbers: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name}: " + ", ".join(
            role if role == column else f"{role} from {column}" for role, column in self.columns.items()
        )

    def content(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """What is trained on, as (role, text); see `check.Form`."""
        if self.name == "text":
            column = self.columns["text"]
            return (("text", text(row[column], column, "text" in self.numbers)),)
        return tuple((turn["role"], turn["content"]) for turn in messages(row, self))

    def notes(self) -> list[str]:
        """What the user should know of how the columns are read."""
        return [f"Numbers are read as text: {', '.join(sorted(self.numbers))}."] if self.numbers else []


_SHAPES: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "alpaca": (("instruction", "input", "output"), ("system",)),
    "pair": (("prompt", "response"), ("system",)),
    "text": (("text",), ()),
}  # form to the roles it needs and those it may have, in the order in which they are tried


def recognise(
    dataset: Dataset, mapping: Mapping[str, str] | None = None, named: Mapping[str, str] | None = None
) -> Form:
    """The form of a data set, by the user's word and else by its columns and its first row.

    Args:
        dataset: at least one row.
        mapping: role to column, as --column-mapping has it.
        named: role to column, from flags of their own (--text-column) that the user gave; they go before the mapping.

    Raises:
        DataError: the columns make no form, or one that the user names is not there.
    """
    names = dataset.column_names
    given = columns.find(names, {role: () for role in columns.CHAT}, {**(mapping or {}), **(named or {})})
    wanted = given.get("messages") or (given.get("text") if not given.keys() - {"text"} else None)
    usual = columns.find(names, {"messages": columns.CHAT["messages"]}).values() if not given else ()
    for column in [wanted] if wanted else usual:
        if name := _kind_of_turns(dataset, column):
            return Form(name, {"messages": column})
    if "messages" in given:
        what = f"Column {wanted} holds no list of messages in its first rows."
        raise DataError(what, fix='A row looks like [{"role": "user", "content": "..."}, ...].')
    for name, (needed, optional) in _SHAPES.items():
        if given.keys() <= {*needed, *optional}:
            roles = {role: columns.CHAT[role] for role in (*needed, *optional)}
            found = columns.find(names, roles, given)
            if found.keys() >= set(needed):
                return Form(name, found, _numbers(dataset, found))
    known = "messages, conversations, instruction/input/output, prompt/response, question/answer, text"
    what = f"The columns {listing(names)} are no known form of text or chat ({known})."
    fix = 'Say which is which: --column-mapping \'{"prompt": "...", "response": "..."}\' or \'{"text": "..."}\'.'
    raise DataError(what, fix=fix)


def _kind_of_turns(dataset: Dataset, column: str) -> str:
    """'messages' or 'sharegpt' where the column holds conversations, else ''."""
    for value in dataset.select(range(min(len(dataset), 20)))[column]:
        turns = _parsed(value)
        if isinstance(turns, list) and turns and isinstance(turns[0], dict):
            keys = turns[0].keys()
            return "messages" if keys >= {"role", "content"} else "sharegpt" if keys >= {"from", "value"} else ""
    return ""


def _numbers(dataset: Dataset, found: Mapping[str, str]) -> frozenset[str]:
    from pyarrow import types

    schema = dataset.features.arrow_schema
    kinds = {role: schema.field(column).type for role, column in found.items()}
    return frozenset(role for role, kind in kinds.items() if types.is_integer(kind) or types.is_floating(kind))


def messages(row: Mapping[str, Any], form: Form) -> list[Message]:
    """The conversation of a row: [{"role": system|user|assistant|tool, "content": text}, ...].

    Raises:
        DataError: the row cannot be used; `where` is its column.
    """
    if form.name == "text":
        raise DataError("Plain text has no messages.", where=form.columns["text"])
    if form.name in ("messages", "sharegpt"):
        column = form.columns["messages"]
        return _judged(_turns(row[column], column), column)
    first = "instruction" if form.name == "alpaca" else "prompt"
    last = "output" if form.name == "alpaca" else "response"
    system = row.get(form.columns.get("system", ""))
    opening = _side(row, form, first, "user")
    extra = row[form.columns["input"]] if form.name == "alpaca" else None
    # most rows of alpaca data have no input
    if extra is not None and not (isinstance(extra, str) and not extra.strip()):
        opening[-1]["content"] += "\n\n" + text(extra, form.columns["input"], "input" in form.numbers)
    start = [{"role": "system", "content": text(system, form.columns["system"])}] if system else []
    return _judged([*start, *opening, *_side(row, form, last, "assistant")], form.columns[last])


def _side(row: Mapping[str, Any], form: Form, role: str, speaker: str) -> list[Message]:
    """One side of a pair: a text, or messages already."""
    column = form.columns[role]
    value = row[column]
    turns = _parsed(value)
    if isinstance(turns, list) and turns and isinstance(turns[0], dict) and {"role", "from"} & turns[0].keys():
        return _turns(turns, column)
    return [{"role": speaker, "content": text(value, column, role in form.numbers)}]


def text(value: Any, column: str, number: bool = False) -> str:
    """The value as text that can be trained on.

    Raises:
        DataError: it is missing, empty, of another type, too long, or holds what is no text; `where` is the column.
    """
    if number and isinstance(value, (int, float)) and value == value:
        return str(value)
    if value is None or value != value:
        raise DataError("nothing there (null)", where=column, fix="Fill it, or remove the row.")
    if not isinstance(value, str):
        what = f"text is expected, found {type(value).__name__}"
        raise DataError(what, where=column, fix="Write it as text, or name another column.")
    if not value or value.isspace():
        raise DataError("empty text", where=column, fix="Fill it, or remove the row.")
    if len(value) > LONGEST:
        what = f"{len(value):,} characters in one cell; {LONGEST:,} are the most"
        raise DataError(what, where=column, fix="Split it into rows; look for a quote that is never closed.")
    if "\0" in value:
        raise DataError("a NUL byte in the text", where=column, fix="Remove it; the file may be of another encoding.")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError("half a character (a lone surrogate)", where=column, fix="Write the row again as UTF-8.")
    return value


def _parsed(value: Any) -> Any:
    """The list in a text of JSON; all else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _turns(value: Any, column: str) -> list[Message]:
    turns = _parsed(value)
    if not isinstance(turns, list) or not turns:
        found = "nothing" if turns is None or turns == [] else type(turns).__name__
        what = f"a list of messages is expected, found {found}"
        raise DataError(what, where=column, fix='Write [{"role": "user", "content": "..."}, ...].')
    return [message for turn in turns if (message := _message(turn, column))]


def _message(turn: Any, column: str) -> Message | None:
    if not isinstance(turn, dict):
        what = f"a message is an object with role and content, found {type(turn).__name__}"
        raise DataError(what, where=column, fix='Write {"role": "user", "content": "..."}.')
    given = turn.get("role", turn.get("from"))
    role = ROLES.get(given.lower()) if isinstance(given, str) else None
    if role is None:
        what = f"unknown role {given!r}; roles are system, user, assistant, tool"
        raise DataError(what, where=column, fix="Rename the role.")
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        content = _joined(content, column)
    if role == "system" and content in (None, ""):
        return None
    if calls := turn.get("tool_calls"):
        return {"role": role, "content": content or "", "tool_calls": calls}
    try:
        return {"role": role, "content": text(content, column)}
    except DataError as error:
        raise DataError(f"{error.what} in a message of {role}", where=column, fix=error.fix) from None


def _joined(parts: list[Any], column: str) -> str:
    kinds = {part.get("type", "text") if isinstance(part, dict) else type(part).__name__ for part in parts}
    if kinds != {"text"}:
        what = f"content of parts that are not text ({', '.join(sorted(kinds - {'text'})) or 'nothing'})"
        raise DataError(what, where=column, fix="This room trains on text; pictures are for vlm.")
    return "".join(str(part.get("text") or "") for part in parts)


def _judged(turns: list[Message], column: str) -> list[Message]:
    """The turns, when they are a conversation that teaches an answer."""
    spoken = [turn["role"] for turn in turns if turn["role"] != "tool"]
    after = spoken[1:] if spoken[:1] == ["system"] else spoken
    if "assistant" not in after:
        raise DataError("no turn of the assistant: there is nothing to learn", where=column, fix="Add the answer.")
    if "system" in after:
        raise DataError("a system message that is not the first", where=column, fix="Put it first.")
    if after[0] != "user":
        raise DataError(f"the conversation starts with {after[0]}", where=column, fix="Start it with a user turn.")
    with_tools = len(spoken) < len(turns)
    for before, role in zip(after, after[1:], strict=False):
        # an assistant speaks again after a tool has answered
        if before == role and not (with_tools and role == "assistant"):
            what = f"roles do not alternate: {role} follows {before}"
            raise DataError(what, where=column, fix="Join the two turns, or remove one.")
    return turns
