"""Words to values and back: one grammar for the magic's line, its cell and the command.

A line:  --trainer sft --lr 2e-4 --peft --no-merge-adapter --column-mapping {"text": "body"} --df frame
A cell:  trainer = "sft"          one line a parameter: a Python literal, or the name of a variable
"""

from __future__ import annotations

import ast
import json
import math
import os
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nbtrain.errors import ParamError, nearest
from nbtrain.params.base import Params
from nbtrain.params.options import Option
from nbtrain.params.tokens import Words, is_flag, needless, quote, split, take
from nbtrain.redact import redact

__all__ = ["Words", "needless", "read_body", "read_line", "split", "take", "write_body", "write_line", "write_tokens"]

Names = Mapping[str, Any]
Rows = Callable[[Names], Mapping[str, str]]
"""The variables that hold rows, and what they hold in words; it comes from above, where frames are known."""
_YES_OR_NO = ("true", "false", "yes", "no", "on", "off", "1", "0")


def _no_rows(names: Names) -> Mapping[str, str]:
    return {}


def read_line(
    tokens: Iterable[Any],
    params_class: type[Params],
    names: Names | None = None,
    *,
    rows: Rows = _no_rows,
) -> dict[str, Any]:
    """Values by parameter, out of the tokens of a line or a command.

    Args:
        tokens: as `split` gives them, or the arguments of a command.
        names: the user's namespace, for `--df NAME`; None outside a notebook.
        rows: finds the variables that hold rows; they are told where a name is wrong.

    Raises:
        ParamError: a flag that does not exist, stands twice or lacks its value; a stray word; no such variable.
    """
    values: dict[str, Any] = {}
    waiting = list(reversed(list(tokens)))
    while waiting:
        word = waiting.pop()
        if not is_flag(word):
            raise _stray(word, params_class)
        flag, equals, text = word.partition("=")
        item, off = _option(flag, params_class)
        if item.name in values:
            raise ParamError(f"{item.flag} is given twice", fix="leave one of them out")
        if off:
            if equals:
                raise ParamError(f"{flag} takes no value; found {text!r}", fix=f"write {flag}, or {item.flag} {text}")
            values[item.name] = False if item.is_switch else None
            continue
        given = text if equals else _next(waiting, item)
        if given is None:
            raise ParamError(
                f"{flag} needs a value", fix=f"write {flag} VALUE, or {flag}=VALUE where it begins with --"
            )
        values[item.name] = _value(given, item, flag, names, rows)
    return values


def read_body(
    text: str,
    params_class: type[Params],
    names: Names | None = None,
    *,
    rows: Rows = _no_rows,
) -> dict[str, Any]:
    """Values by parameter, out of the body of a cell: `key = value`, a Python literal or the name of a variable.

    Nothing of it is run.

    Raises:
        ParamError: a line is no such pair, a key does not exist or stands twice, a variable does not exist.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        number = getattr(error, "lineno", None) or 1
        line = text.splitlines()[number - 1 : number]
        fix = 'write `key = value`, with _ in the key and quotes around text: model = "gpt2"'
        raise ParamError("the cell cannot be read", where=f"line {number}: {redact(''.join(line))}", fix=fix) from None
    values: dict[str, Any] = {}
    for statement in statements:
        source = redact(ast.get_source_segment(text, statement) or "")
        where = f"line {statement.lineno}: {source[:80]}"
        match statement:
            case ast.Assign(targets=[ast.Name(id=key)]):
                item = params_class.options()[params_class.field_name(key)]
            case _:
                fix = "write one parameter a line: lr = 2e-4"
                raise ParamError("a line of the cell is no `key = value`", where=where, fix=fix)
        if item.name in values:
            raise ParamError(f"{item.name} is given twice", where=where, fix="leave one of them out")
        values[item.name] = _literal(statement.value, item, where, names or {}, rows)
    return values


def write_tokens(params: Params, variables: Mapping[str, str] | None = None) -> list[str]:
    """The parameters that are not at their default as flags and values; secrets are left out.

    Args:
        variables: by parameter, the name of the variable that holds its value, to stand for it.

    Raises:
        ParamError: a value lives in the notebook only.
    """
    options, tokens = params.options(), list[str]()
    for name, value in params.changed().items():
        held, item = (variables or {}).get(name), options[name]
        tokens += ["--df" if "df" in item.aliases else item.flag, held] if held else _written(item, value)
    return tokens


def write_line(params: Params, variables: Mapping[str, str] | None = None) -> str:
    """The same as one line: `read_line(split(line).tokens)` gives it back."""
    return " ".join(map(quote, write_tokens(params, variables)))


def write_body(params: Params, variables: Mapping[str, str] | None = None) -> str:
    """The same as the body of a cell: `read_body` gives it back."""
    held = variables or {}
    return "".join(f"{name} = {held.get(name) or _python(name, value)}\n" for name, value in params.changed().items())


def _stray(word: Any, params_class: type[Params]) -> ParamError:
    name, equals, text = word.partition("=") if isinstance(word, str) else ("", "", "")
    if equals and name.replace("-", "_") in params_class.options():
        return ParamError(f"{word!r} is no flag", fix=f"write --{name.replace('_', '-')} {text}")
    return ParamError(
        f"{word!r} belongs to no flag", fix="write --name before each value, and quotes around text with spaces"
    )


def _option(flag: str, params_class: type[Params]) -> tuple[Option, bool]:
    """The parameter of a flag, and whether the flag says `no` to it."""
    options, name = params_class.options(), flag.lstrip("-").replace("-", "_")
    positive = name.removeprefix("no_")
    known = options.keys() | {alias for item in options.values() for alias in item.aliases}
    if name not in known and positive in known and positive != name:
        item = options[params_class.field_name(positive)]
        if item.is_switch or item.nullable:
            return item, True
        raise ParamError(f"{item.flag} cannot be left without a value", fix=f"its default is {item.default}")
    return options[params_class.field_name(flag)], False


def _next(waiting: list[Any], item: Option) -> Any:
    """The value that follows a flag, None where it needs one and there is none."""
    if item.is_switch and not (waiting and _belongs_to_switch(waiting[-1], item)):
        return True
    return waiting.pop() if waiting and not is_flag(waiting[-1]) else None


def _belongs_to_switch(word: Any, item: Option) -> bool:
    if is_flag(word):
        return False
    words = (*_YES_OR_NO, "none") if item.nullable else _YES_OR_NO
    return len(item.kinds) > 1 or not isinstance(word, str) or word.lower() in words


def _value(given: Any, item: Option, flag: str, names: Names | None, rows: Rows) -> Any:
    """What a token says of a parameter; numbers and booleans are left as text, which pydantic reads."""
    if not isinstance(given, str):
        return given
    if Any in item.kinds:
        return _rows_or_place(str(given), flag, names, rows)
    if item.is_function and callable((names or {}).get(str(given))):
        return (names or {})[str(given)]
    if item.nullable and given == "none" and str not in item.kinds and "none" not in item.choices:
        return None
    if _structured(item):
        found = _structure(given)
        if isinstance(found, (list, dict)) or (isinstance(found, str) and str in item.kinds):
            return found
        if {typing.get_origin(kind) for kind in item.kinds} <= {list, dict}:
            raise ParamError(f"{flag} takes JSON; found {given!r}", fix=f"write it as in {flag} '{_example(item)}'")
    return str(given)


def _rows_or_place(given: str, flag: str, names: Names | None, rows: Rows) -> Any:
    """The variable that `--df NAME` means; with `--data` it may as well be a file, which then goes first."""
    if flag == "--df":
        if names is None:
            raise ParamError("--df names a variable, and there is no notebook here", fix="give a file with --data-path")
        return _variable(given, names, rows, where=f"--df {given}", fix="name a variable; a file: --data-path FILE.")
    if names is not None and given in names and not os.path.exists(given) and given in rows(names):
        return names[given]
    return given


def _variable(name: str, names: Names, rows: Rows, *, where: str, fix: str = "") -> Any:
    if name in names:
        return names[name]
    there = [f"{known} ({what})" for known, what in rows(names).items()]
    why = f"those that hold rows: {', '.join(there)}" if there else ""
    visible = [known for known in names if not known.startswith("_")]
    raise ParamError(f"there is no variable {name}.{nearest(name, visible)}", where=where, why=why, fix=fix)


def _structured(item: Option) -> bool:
    return any(typing.get_origin(kind) in (list, dict, tuple) or kind in (list, dict) for kind in item.kinds)


def _structure(text: str) -> Any:
    """What JSON, or a list or dict of Python, says; None where it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _example(item: Option) -> str:
    return '{"name": "value"}' if any(typing.get_origin(kind) is dict for kind in item.kinds) else '["one", "two"]'


def _literal(node: ast.expr, item: Option, where: str, names: Names, rows: Rows) -> Any:
    if isinstance(node, ast.Name):
        fix = f'for text write {item.name} = "{node.id}"'
        return _variable(node.id, names, rows if Any in item.kinds else _no_rows, where=where, fix=fix)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        fix = "put quotes around text; put an expression into a variable first, and its name here"
        raise ParamError(f"{item.name} is neither a literal nor the name of a variable", where=where, fix=fix) from None


def _written(item: Option, value: Any) -> list[str]:
    """One parameter as tokens of a line."""
    if value is None and not item.is_switch:
        return [f"--no-{item.flag[2:]}"]
    if isinstance(value, bool) and item.is_switch:
        return [item.flag if value else f"--no-{item.flag[2:]}"]
    text = write_value(item, value)
    # only behind an = is a value that looks like a flag none
    return [f"{item.flag}={text}"] if text.startswith("--") else [item.flag, text]


def write_value(item: Option, value: Any) -> str:
    """A value as it stands behind its flag."""
    if value is None:
        return "none"
    if isinstance(value, str):
        # text that reads as JSON has to say that it is text
        ambiguous = _structured(item) and isinstance(_structure(value), (str, list, dict))
        return json.dumps(value, ensure_ascii=False) if ambiguous else value
    if isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, (list, tuple, dict)):
        _check_plain(item.name, value)
        return json.dumps(value, ensure_ascii=False)
    raise _unwritable(item.name, value)


def _python(name: str, value: Any) -> str:
    _check_plain(name, value)
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"  # inf is no literal
    return repr(value)


def _check_plain(name: str, value: Any) -> None:
    """Raise ParamError unless the value is made of text, numbers, lists and dicts."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_plain(name, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_plain(name, key)
            _check_plain(name, item)
    elif not (value is None or isinstance(value, (str, bool, int, float))):
        raise _unwritable(name, value)


def _unwritable(name: str, value: Any) -> ParamError:
    what = f"{name} holds a {type(value).__name__}, which cannot be written as words"
    return ParamError(
        what, why="it lives in the notebook only", fix="export the run that used it: the run folder keeps it"
    )
