"""Preferences: to each prompt an answer that was chosen and one that was rejected, in the forms in which they come."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nbtrain.data import columns, forms
from nbtrain.data.forms import Message
from nbtrain.errors import DataError, listing, nearest

if TYPE_CHECKING:
    from datasets import Dataset

ROLES: columns.Roles = {
    "prompt": ("prompt", "question", "instruction", "query", "problem", "input"),
    "chosen": ("chosen", "chosen_response", "response_chosen", "accepted", "preferred", "winner", "better", "text"),
    "rejected": ("rejected", "rejected_response", "response_rejected", "dispreferred", "loser", "worse"),
    "system": columns.CHAT["system"],
}
FLAGS = {"prompt": "--prompt-text-column", "chosen": "--text-column", "rejected": "--rejected-text-column"}


class Pair(NamedTuple):
    """A prompt and the two ways in which it goes on: messages, or plain text where no template writes them."""

    prompt: list[Message] | str
    chosen: list[Message] | str
    rejected: list[Message] | str


@dataclass(frozen=True)
class Preferences(forms.Form):
    """How a data set holds its pairs; a `check.Form`.

    name: answers (a prompt and two answers, each a text or messages), conversations (two of them, which begin alike),
    or texts (two whole texts). prompted: whether each pair needs a prompt, which whole texts have where they begin
    alike.
    """

    prompted: bool = True

    def content(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The pair as (role, text); see `check.Form`."""
        prompt, chosen, rejected = self.pair(row)
        return (*_spoken("prompt", prompt), *_spoken("chosen", chosen), *_spoken("rejected", rejected))

    def notes(self) -> list[str]:
        """What the user should know of how the columns are read."""
        begun = {
            "conversations": "What both conversations begin with is the prompt.",
            "texts": "Plain texts: no chat template; what both begin with is the prompt.",
        }
        return [*super().notes(), *([begun[self.name]] if self.name in begun else [])]

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """The pair of a row.

        Raises:
            DataError: the row cannot be used; `where` is its column.
        """
        found = {"answers": self._answers, "conversations": self._conversations, "texts": self._texts}[self.name](row)
        if found.chosen == found.rejected:
            raise DataError(
                "both answers are the same: there is nothing to prefer",
                where=self.columns["rejected"],
                fix="Remove the row.",
            )
        return found

    def _answers(self, row: Mapping[str, Any]) -> Pair:
        system = row.get(self.columns.get("system", ""))
        start: list[Message] = []
        if system:
            start = [{"role": "system", "content": forms.text(system, self.columns["system"])}]
        prompt = start + forms._side(row, self, "prompt", "user")
        return Pair(prompt, *(self._answer(prompt, row, role) for role in ("chosen", "rejected")))

    def _answer(self, prompt: list[Message], row: Mapping[str, Any], role: str) -> list[Message]:
        said = forms._side(row, self, role, "assistant")
        if said[: len(prompt)] == prompt:  # the prompt stands in the answer's column once more
            said = said[len(prompt) :]
        return self._judged(prompt, said, role)

    def _judged(self, prompt: list[Message], said: list[Message], role: str) -> list[Message]:
        """What one side says, when it is an answer to the prompt."""
        column = self.columns[role]
        if not said:
            raise DataError("nothing follows what both begin with", where=column, fix="Add the answer.")
        if said[0]["role"] != "assistant":
            raise DataError(
                f"the prompts differ: {said[0]['role']} speaks where the answers begin",
                where=column,
                fix="Both sides must answer the same prompt.",
            )
        forms._judged([*prompt, *said], column)
        return said

    def _conversations(self, row: Mapping[str, Any]) -> Pair:
        chosen, rejected = (
            forms._turns(row[self.columns[role]], self.columns[role]) for role in ("chosen", "rejected")
        )
        alike = [one == other for one, other in zip(chosen, rejected, strict=False)]
        shared = len(chosen) - 1 if chosen == rejected else [*alike, False].index(False)
        prompt = chosen[:shared]
        if not prompt:
            raise DataError(
                "the prompts differ: the two conversations begin with other turns",
                where=self.columns["rejected"],
                fix="Both sides must answer the same prompt.",
            )
        return Pair(
            prompt,
            self._judged(prompt, chosen[shared:], "chosen"),
            self._judged(prompt, rejected[shared:], "rejected"),
        )

    def _texts(self, row: Mapping[str, Any]) -> Pair:
        chosen, rejected = (
            forms.text(row[self.columns[role]], self.columns[role], role in self.numbers)
            for role in ("chosen", "rejected")
        )
        at = _whole_words(os.path.commonprefix([chosen, rejected]))
        if self.prompted and not at and chosen != rejected:
            raise DataError(
                "the two texts do not begin alike: there is no prompt",
                where=self.columns["rejected"],
                fix="Put what both answer into a column of its own and name it: --prompt-text-column.",
            )
        return Pair(chosen[:at], chosen[at:], rejected[at:])


def _whole_words(shared: str) -> int:
    """Where a common beginning ends: after a whole word, the space behind it left to what follows."""
    while shared and not shared[-1].isspace():
        shared = shared[:-1]
    return len(shared.rstrip())


def _spoken(part: str, said: list[Message] | str) -> tuple[tuple[str, str], ...]:
    if isinstance(said, str):
        return ((part, said),) if said else ()
    return tuple((part if turn["role"] in ("user", "assistant") else turn["role"], turn["content"]) for turn in said)


def recognise(
    dataset: Dataset,
    mapping: Mapping[str, str] | None = None,
    named: Mapping[str, str] | None = None,
    *,
    prompted: bool = True,
) -> Preferences:
    """The form of a data set of preferences, by the user's word and else by its columns and first rows.

    Args:
        dataset: at least one row.
        mapping: role to column, as --column-mapping has it.
        named: role to column, from flags of their own that the user gave; they go before the mapping.
        prompted: whether each pair needs a prompt.

    Raises:
        DataError: a column is missing, or one that the user names is not there.
    """
    names = dataset.column_names
    given = {**(mapping or {}), **(named or {})}
    for role, column in (named or {}).items():
        if column.lower() not in map(str.lower, names):
            raise _missing(role, names, column)
    found = columns.find(names, ROLES, given)
    for role in ("chosen", "rejected"):
        if role not in found:
            raise _missing(role, names)
    kept = {role: found[role] for role in ("chosen", "rejected")}
    if _starts_with_a_question(dataset, found["chosen"]):
        return Preferences("conversations", kept, prompted=prompted)
    if "prompt" in found:
        kept = {role: found[role] for role in ROLES if role in found}
        return Preferences("answers", kept, forms._numbers(dataset, kept), prompted)
    if forms._kind_of_turns(dataset, found["chosen"]):
        raise _missing("prompt", names)
    return Preferences("texts", kept, forms._numbers(dataset, kept), prompted)


def _starts_with_a_question(dataset: Dataset, column: str) -> bool:
    """Whether a column holds whole conversations, and not answers alone."""
    if not forms._kind_of_turns(dataset, column):
        return False
    for value in dataset.select(range(min(len(dataset), 20)))[column]:
        try:
            return bool(forms._turns(value, column)[0]["role"] != "assistant")
        except (DataError, IndexError):
            continue
    return False


def _missing(role: str, names: list[str], column: str = "") -> DataError:
    found = f"There is no column {column!r} for {role}" if column else f"There is no column for {role}"
    near = nearest(column or role, names)
    return DataError(
        f"{found} ({FLAGS[role]}); there are {listing(names)}.{near}",
        why="preferences are pairs: an answer that was chosen and one that was rejected, of the same prompt",
        fix=f"Name it: {FLAGS[role]} COLUMN.",
    )
