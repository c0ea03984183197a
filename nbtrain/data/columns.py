"""Which column plays which role: as the user says, or found by its usual names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nbtrain.errors import DataError, listing, nearest

Roles = Mapping[str, Sequence[str]]
"""Role to the names its column usually has, the likeliest first."""

CHAT: Roles = {
    "messages": ("messages", "conversations", "conversation", "chat", "dialogue", "dialog"),
    "prompt": ("prompt", "question", "instruction", "query", "problem", "user", "human", "input", "source"),
    "response": ("response", "completion", "answer", "output", "assistant", "solution", "reply", "target"),
    "instruction": ("instruction",),
    "input": ("input", "context"),
    "output": ("output", "response"),
    "system": ("system", "system_prompt"),
    "text": ("text", "content", "body", "document"),
}

_FLAGS = ("_column", "_columns")  # how the parameters end that name columns


def find(columns: Iterable[str], roles: Roles, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Role to column, for each role that has one; no column plays two roles.

    Args:
        columns: those there are.
        roles: those to find.
        given: role to column by the user's word; it comes before what names suggest. Case may differ where that leaves
            no doubt.

    Raises:
        DataError: the user names a role or a column that there is not; those there are and the nearest are told.
    """
    known = {name.lower(): name for name in reversed(list(columns))}
    names = list(known.values())[::-1]
    found: dict[str, str] = {}
    for role, column in (given or {}).items():
        if role not in roles:
            what = f"--column-mapping names the role {role!r}; roles here are {', '.join(roles)}.{nearest(role, roles)}"
            raise DataError(what, fix='Write {"role": "column"}.')
        if column not in names and column.lower() not in known:
            raise absent(role, column, names)
        found[role] = column if column in names else known[column.lower()]
    for role, usual in roles.items():
        free = (known[name] for name in usual if name in known and known[name] not in found.values())
        if role not in found and (column := next(free, "")):
            found[role] = column
    return found


def absent(role: str, column: str, columns: Sequence[str]) -> DataError:
    """The error for a column that the user names and that is not there."""
    what = f"There is no column {column!r} for {role}; there are {listing(columns)}.{nearest(column, columns)}"
    error = DataError(what, fix=f'Name one of them: --column-mapping \'{{"{role}": "..."}}\'.')
    error.column = column
    return error


@contextmanager
def placed(params: Any) -> Iterator[None]:
    """A DataError that names no place gets that of the data, and the flag that named the column.

    Args:
        params: of a room: its data_path, and its flags for columns.
    """
    try:
        yield
    except DataError as error:
        if not error.where and isinstance(source := getattr(params, "data_path", None), str):
            error.where = f"--data-path {source}"
            flags = [name for name in params.given() if name.endswith(_FLAGS) and _names(params, name, error.column)]
            if flags:
                flag = f"--{flags[0].replace('_', '-')}"
                error.where += f", {flag} {error.column}"
                error.fix = f"Set {flag} to one of them."
        raise


def _names(params: Any, name: str, column: str) -> bool:
    value = getattr(params, name)
    return bool(column) and (value == column or (isinstance(value, list) and column in value))
