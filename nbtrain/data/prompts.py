"""Prompts: questions, and conversations that wait for an answer, for rooms that let a model write the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtrain.data import columns, forms
from nbtrain.data.forms import Message
from nbtrain.errors import DataError, listing

if TYPE_CHECKING:
    from datasets import Dataset

_ROLES = {name: columns.CHAT[name] for name in ("prompt", "system", "input")} | {"text": columns.CHAT["text"]}


@dataclass(frozen=True)
class Prompts:
    """How a data set holds its prompts; a `check.Form`.

    columns: role to column: messages; or prompt, with system and input where they are there. numbers: roles whose
    column holds numbers throughout.
    """

    columns: Mapping[str, str]
    numbers: frozenset[str] = frozenset()
    name = "prompts"

    def __str__(self) -> str:
        return "prompts: " + ", ".join(
            role if role == column else f"{role} from {column}" for role, column in self.columns.items()
        )

    def content(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """What the model is asked, as (role, text); see `check.Form`."""
        return tuple((turn["role"], turn["content"]) for turn in self.messages(row))

    def notes(self) -> list[str]:
        """What the user should know of how the columns are read."""
        return [f"Numbers are read as text: {', '.join(sorted(self.numbers))}."] if self.numbers else []

    def messages(self, row: Mapping[str, Any]) -> list[Message]:
        """The conversation up to the turn that waits for an answer; an answer that is there already is left out.

        Raises:
            DataError: the row cannot be used; `where` is its column.
        """
        if "messages" in self.columns:
            return _open_ended(row[self.columns["messages"]], self.columns["messages"])
        column = self.columns["prompt"]
        if isinstance(row[column], list):
            return _open_ended(row[column], column)
        question = forms.text(row[column], column, "prompt" in self.numbers)
        extra = row.get(self.columns.get("input", "")) or ""
        if str(extra).strip():
            question += "\n\n" + forms.text(extra, self.columns["input"], "input" in self.numbers)
        system = row.get(self.columns.get("system", ""))
        start = [{"role": "system", "content": forms.text(system, self.columns["system"])}] if system else []
        return [*start, {"role": "user", "content": question}]


def recognise(
    dataset: Dataset, mapping: Mapping[str, str] | None = None, named: Mapping[str, str] | None = None
) -> Prompts:
    """The form of a data set of prompts, by the user's word and else by its columns and its first rows.

    Args:
        dataset: at least one row.
        mapping: role to column, as --column-mapping has it; roles that are none of a prompt (answer ...) are left out.
        named: role to column, from a flag of its own that the user gave; it goes before the mapping.

    Raises:
        DataError: no column holds prompts, or one that the user names is not there.
    """
    names = dataset.column_names
    known = {"messages": (), **_ROLES}
    asked = {role: column for role, column in {**(mapping or {}), **(named or {})}.items() if role in known}
    given = columns.find(names, {role: () for role in known}, asked)
    usual = columns.find(names, {"messages": columns.CHAT["messages"]}) if not given else {}
    for column in (given.get("messages"), usual.get("messages")):
        if column and forms._kind_of_turns(dataset, column):
            return Prompts({"messages": column})
    if "messages" in given:
        what = f"Column {given['messages']} holds no list of messages in its first rows."
        raise DataError(what, fix='A row looks like [{"role": "user", "content": "..."}, ...].')
    found = columns.find(names, _ROLES, given)
    if "prompt" not in found and "text" in found:
        found["prompt"] = found["text"]
    if "prompt" not in found:
        what = f"The columns {listing(names)} hold no prompts (prompt, question, instruction, messages, text)."
        raise DataError(what, fix='Say which does: --column-mapping \'{"prompt": "..."}\'.')
    kept = {role: found[role] for role in ("prompt", "system", "input") if role in found}
    if kept["prompt"].lower() != "instruction" and "input" not in given:
        kept.pop("input", None)  # beside an instruction it belongs to the prompt; elsewhere it may be anything
    return Prompts(kept, forms._numbers(dataset, kept))


def _open_ended(value: Any, column: str) -> list[Message]:
    """The turns up to the last one that waits for an answer."""
    turns = forms._turns(value, column)
    while turns and turns[-1]["role"] == "assistant":
        turns.pop()
    if not any(turn["role"] == "user" for turn in turns):
        raise DataError("no turn of the user: there is nothing to answer", where=column, fix="Add the question.")
    return turns
