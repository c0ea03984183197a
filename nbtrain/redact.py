"""Secrets are masked wherever text leaves the process: files, journal, terminal, page, errors."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Protocol

NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL)", re.IGNORECASE)
SHAPES = re.compile(r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,})\b")
MASK = "[secret]"
_SHORTEST = 8  # a shorter value would mask ordinary words

_known: set[str] = set()


def remember(secret: str | None) -> None:
    """From now on `secret` is masked in every text that `redact` sees, also where it stands quoted (JSON, repr)."""
    if secret and len(secret) >= _SHORTEST:
        _known.update((secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]))


def remember_environment() -> None:
    """Remember each variable of the environment whose name says that it holds a secret."""
    for name, value in os.environ.items():
        if NAMES.search(name):
            remember(value)


def redact(text: str) -> str:
    """`text` with each known secret, and each word of a well-known token's shape, replaced."""
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, MASK)
    return SHAPES.sub(MASK, text)


class Searched(Protocol):
    """bytes, or a file in memory."""

    def find(self, part: bytes, /) -> int:
        """Where `part` begins, -1 where it is not."""


def holds_secret(content: Searched) -> bool:
    """Whether a known secret stands in it."""
    return any(content.find(secret.encode("utf-8", "surrogatepass")) >= 0 for secret in _known)


def redact_all(value: Any) -> Any:
    """`value` with every text in it redacted; mappings, lists and tuples are walked.

    JSON is masked this way before it is written: afterwards a token behind an escaped line end is not a word
    of its own any more, and a secret made of digits would tear the numbers.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact_all(key): redact_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_all(item) for item in value]
    return value
