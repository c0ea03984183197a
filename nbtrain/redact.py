"""Secrets are masked wherever text leaves the process: files, journal, terminal, page, errors."""

from __future__ import annotations

import os
import re

NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL)", re.IGNORECASE)
SHAPES = re.compile(r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,})\b")
MASK = "[secret]"
_SHORTEST = 8  # a shorter value would mask ordinary words

_known: set[str] = set()


def remember(secret: str | None) -> None:
    """From now on `secret` is masked in every text that `redact` sees."""
    if secret and len(secret) >= _SHORTEST:
        _known.add(secret)


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
