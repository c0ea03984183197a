"""A line of words, cut into tokens as a POSIX shell cuts it, and written so that it is cut the same way again.

Beyond the shell there are four things, each for a line in a notebook:
- a trailing `;` silences the result;
- `{...}`, and a word that begins with `[`, end with their closing bracket: an expression, or JSON;
- `$name` and `{expression}` become their value, where they have one; single quotes keep them as they are;
- `$'...'` holds what has no place on one line: `$'two\\nlines'`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from nbtrain.errors import ParamError, nearest
from nbtrain.redact import redact


class Words(NamedTuple):
    """The tokens of a line, each text or the object that a variable holds; and whether a `;` ended it."""

    tokens: list[Any]
    silent: bool


class Given(str):
    """Text that came out of a variable: never a flag, whatever it begins with, since data must not set parameters."""


class _Value(NamedTuple):
    """What stands in a word instead of `$name` or `{expression}`."""

    value: Any


class _Piece(NamedTuple):
    text: str
    live: bool  # whether $ and { mean something in it
    plain: bool  # whether it stands outside of quotes


_PIECE = re.compile(
    r"""
    (?P<space>(?:\s|\\\r?\n)+)
  | \$'(?P<escaped>(?:[^'\\]|\\.)*)'
  | '(?P<literal>[^']*)'
  | "(?P<quoted>(?:[^"\\]|\\.)*)"
  | \\(?P<escape>.)
  | (?P<plain>[^\s'"\\$\#{\[]+|[$\#{\[])
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_BRACKETS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|.", re.DOTALL)
_IN_QUOTES = re.compile(r"\\([\"\\])")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_OPENING = re.compile(r"\$(?P<name>[A-Za-z_]\w*)|\{")
_FLAG = re.compile(r"(--?[\w-]+)=")
_JSON = re.compile(r"(?:--?[\w-]+=)?\s*(?:\[|\{\s*[\"'}])")
_NOTHING = object()
_NEEDLESS = {"--train": "", "--advanced": "--advanced is needless: every parameter can be given at any time"}


def split(line: str, names: Mapping[str, Any] | None = None) -> Words:
    """Cut a line into tokens.

    Args:
        line: of a magic; `#` begins a comment where a word could begin, `\\` at a line's end continues it.
        names: the user's namespace; None where there is none: then nothing is expanded.

    Raises:
        ParamError: a quote is not closed, or a word is a `$name` that does not exist.
    """
    words = [word for word in _words(line) if word]
    silent = False
    while words and words[-1][-1].plain and words[-1][-1].text.endswith(";"):
        silent = True
        words[-1][-1] = _Piece(words[-1][-1].text[:-1], live=True, plain=True)
        if not "".join(piece.text for piece in words[-1]) and all(piece.plain for piece in words[-1]):
            words.pop()
    return Words([token for word in words for token in _tokens(word, names)], silent)


def quote(token: str) -> str:
    """A token as it stands on a line: on one line, and kept from being expanded."""
    if token.isprintable():
        return shlex.quote(token)
    letters = (letter if letter.isprintable() and letter not in "\\'" else _escaped(letter) for letter in token)
    return f"$'{''.join(letters)}'"


def is_flag(word: Any) -> bool:
    """Whether a token is a flag: text that was typed, and begins with two dashes."""
    return isinstance(word, str) and not isinstance(word, Given) and word.startswith("--")


def take(
    tokens: Iterable[Any], *, switches: Collection[str] = (), valued: Collection[str] = ()
) -> tuple[dict[str, Any], list[Any]]:
    """The flags of a verb itself, and the tokens that are left.

    Args:
        switches: flags without a value, with their dashes.
        valued: flags with one.

    Returns:
        flag to value (True for a switch), and the other tokens in their order.
    """
    found: dict[str, Any] = {}
    rest: list[Any] = []
    waiting = list(reversed(list(tokens)))
    while waiting:
        word = waiting.pop()
        flag, equals, text = word.partition("=") if is_flag(word) else ("", "", "")
        flag = flag.replace("_", "-")
        if flag in switches and not equals:
            found[flag] = True
        elif flag in valued:
            if not equals and not waiting:
                raise ParamError(f"{flag} needs a value")
            found[flag] = text if equals else waiting.pop()
        else:
            rest.append(word)
    return found, rest


def needless(tokens: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """The tokens without those that other programs need and this does not, and what to tell the user of them."""
    found, rest = take(tokens, switches=_NEEDLESS)
    return rest, [_NEEDLESS[flag] for flag in found if _NEEDLESS[flag]]


def _words(line: str) -> Iterator[list[_Piece]]:
    """The words of a line, each as its pieces; an empty list now and then."""
    word: list[_Piece] = []
    at = 0
    while at < len(line):
        found = _PIECE.match(line, at)
        if found is None:
            what = "a \\ stands at the end of the line" if line[at] == "\\" else f"the quote {line[at]} is not closed"
            raise ParamError(
                what, where=redact(line[at:])[:40], fix="close it, or put the text into quotes of the other kind"
            )
        start, at = at, found.end()
        if found["space"] is not None:
            yield word
            word = []
        elif found["plain"] == "#" and not word:
            end = line.find("\n", start)
            at = len(line) if end < 0 else end
        elif found["plain"] == "{" or (found["plain"] == "[" and _begins_value(word)):
            at = _closing(line, start) or at
            word.append(_Piece(line[start:at], live=True, plain=True))
        else:
            word.append(_piece(found))
    yield word


def _piece(found: re.Match[str]) -> _Piece:
    if found["plain"] is not None:
        return _Piece(found["plain"], live=True, plain=True)
    if found["quoted"] is not None:
        return _Piece(_IN_QUOTES.sub(r"\1", found["quoted"]), live=True, plain=False)
    if found["escaped"] is not None:
        return _Piece(_ESCAPE.sub(_meant, found["escaped"]), live=False, plain=False)
    return _Piece(found["literal"] if found["escape"] is None else found["escape"], live=False, plain=False)


def _meant(escape: re.Match[str]) -> str:
    short, long, letter = escape.groups()
    return _ESCAPES.get(letter, letter) if letter else chr(int(short or long, 16))


def _escaped(letter: str) -> str:
    known = {"\\": "\\\\", "'": "\\'", **{meant: f"\\{name}" for name, meant in _ESCAPES.items()}}
    code = ord(letter)
    return known.get(letter) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _begins_value(word: Iterable[_Piece]) -> bool:
    before = "".join(piece.text for piece in word)
    return not before or _FLAG.fullmatch(before) is not None


def _closing(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` is closed, None where it never is; one in quotes does not count."""
    depth = 0
    for found in _IN_BRACKETS.finditer(text, start):
        depth += (found[0] in "{[(") - (found[0] in "}])")
        if depth == 0:
            return found.end()
    return None


def _tokens(word: list[_Piece], names: Mapping[str, Any] | None) -> list[Any]:
    """A word with its variables expanded: one token, or two for `--flag={frame}`, whose value is no text."""
    text = "".join(piece.text for piece in word)
    if names is None or _JSON.match(text):
        return [text]
    _check_missing(word, text, names)
    parts = [part for piece in _joined(word) for part in (_expanded(piece.text, names) if piece.live else [piece.text])]
    parts = [part for part in parts if part != ""]
    flag = _FLAG.fullmatch(parts[0]) if parts and isinstance(parts[0], str) else None
    if flag and len(parts) == 2 and isinstance(parts[1], _Value) and not isinstance(parts[1].value, str):
        return [flag[1], parts[1].value]
    if len(parts) == 1 and isinstance(parts[0], _Value) and not isinstance(parts[0].value, str):
        return [parts[0].value]
    whole = "".join(_as_text(part.value) if isinstance(part, _Value) else part for part in parts)
    return [Given(whole) if parts and isinstance(parts[0], _Value) else whole]


def _joined(word: list[_Piece]) -> Iterator[_Piece]:
    """Plain pieces that stand side by side as one, so that `$` meets its name."""
    text = ""
    for piece in word:
        if piece.plain:
            text += piece.text
            continue
        if text:
            yield _Piece(text, live=True, plain=True)
        text = ""
        yield piece
    if text:
        yield _Piece(text, live=True, plain=True)


def _check_missing(word: list[_Piece], text: str, names: Mapping[str, Any]) -> None:
    found = _OPENING.fullmatch(text)
    if found and found["name"] and all(piece.live for piece in word) and found["name"] not in names:
        what = f"there is no variable {found['name']}.{nearest(found['name'], names)}"
        raise ParamError(what, where=text, fix=f"define it, or write '{text}' in single quotes for the text itself")


def _expanded(text: str, names: Mapping[str, Any]) -> list[str | _Value]:
    """The text, cut where a name or an expression has a value; what has none stays as it is."""
    parts: list[str | _Value] = []
    kept = seen = 0
    for opening in _OPENING.finditer(text):
        start, name = opening.start(), opening["name"]
        if start < seen:
            continue
        seen = opening.end() if name else _closing(text, start) or opening.end()
        value = names.get(name, _NOTHING) if name else _evaluated(text[start + 1 : seen - 1], names)
        if value is not _NOTHING:
            parts += [text[kept:start], _Value(value)]
            kept = seen
    return [*parts, text[kept:]]


def _evaluated(expression: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression that the user typed, or _NOTHING; `{{ messages }}` is a template's, not ours."""
    if not expression.strip() or expression[0] == "{":
        return _NOTHING
    try:
        # the line is the user's own code, as in IPython's expansion; text of data never comes here
        return eval(expression.strip(), names if isinstance(names, dict) else dict(names))
    except Exception:
        return _NOTHING


def _as_text(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
