"""What does a run again, as text: script, config, magic line, cell, command. Each reads back to equal parameters."""

from __future__ import annotations

import math
import pprint
import shlex
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nbtrain import __version__, doctor, redact
from nbtrain.configs import VARIABLE
from nbtrain.errors import ParamError, nearest
from nbtrain.params import Params, words
from nbtrain.runs.files import atomic_write
from nbtrain.runs.folder import RunFolder, read_params
from nbtrain.runs.journal import story
from nbtrain.runs.record import Record

SCRIPT = '''\
# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
{dependencies}
# ]
# ///
"""A training run of nbtrain, to do again: `python train.py`, or `uv run train.py` to get the versions above first.

Only what differs from nbtrain's defaults is written here. On a CPU the same versions give the same weights, to the bit.
It makes a run folder of its own below the folder it is started from; a relative path is looked for there too.
"""
{imports}
from nbtrain import {name}, train

if __name__ == "__main__":{changes}
    run = train(
        {call}
    )
    print(run)
'''
_AS_TEXT = r"$\g<0>"  # one more $ before it: not a variable
_DATA = ("train_split", "valid_split", "chat_template")  # fields that AutoTrain's layout keeps under `data`


def script(params: Params, folder: RunFolder | None = None) -> str:
    """A script that trains with these parameters; its head names the exact versions (PEP 723).

    Args:
        folder: the run that was trained; a file inside it is found beside the script, wherever the folder goes.
    """
    lines = [f"{name}={_literal(value, folder)}," for name, value in params.changed().items()]
    body = textwrap.indent("\n".join(lines), " " * 12)
    name = type(params).__name__
    call = f"{name}(\n{body}\n        )" if lines else f"{name}()"
    dependencies = "\n".join(f'#     "{each}",' for each in _dependencies(params, folder))
    imports = "\nfrom pathlib import Path\n" if "Path(__file__)" in call else ""
    parts = {"dependencies": dependencies, "imports": imports, "name": name, "call": call, "changes": _changes(folder)}
    return redact.redact(SCRIPT.format(**parts))


def _changes(folder: RunFolder | None) -> str:
    """What was changed while the run trained, as comments: the script begins as the run did, and keeps to it."""
    if folder is None:
        return ""
    changes = Record.of(story(folder.events)).by_hand
    told = (f"from step {each.step} on {each.name} was {each.new}, not {each.old}" for each in changes)
    return "".join(f"\n    # changed by hand while it trained, and not here: {each}" for each in told)


def yaml(params: Params, folder: RunFolder | None = None) -> str:
    """A config in AutoTrain's layout; `configs.read` reads it, and those that AutoTrain's and Oumi's users have.

    Args:
        folder: the run that was trained; a file inside it is written as `${here}/...`, the folder of the config.
    """
    import yaml as parser

    changed = {name: _portable(value, folder) for name, value in params.changed().items()}
    changed.pop("trainer", None)
    changed.setdefault("model", params.record().get("model"))
    changed.setdefault("data_path", params.record().get("data_path"))
    top = {"task": _task(params), "base_model": changed.pop("model"), "project_name": changed.pop("project_name", None)}
    columns = changed.pop("column_mapping", None) or {}
    columns |= {name: changed.pop(name) for name in list(changed) if name.endswith("_column")}
    data = {"path": changed.pop("data_path")} | {name: changed.pop(name) for name in _DATA if name in changed}
    data |= {"column_mapping": columns} if columns else {}
    layout = {name: value for name, value in top.items() if value is not None} | {"data": data, "params": changed}

    class Dumper(parser.SafeDumper):
        """As safe_dump, but a line end that only Unicode knows comes back as itself: unescaped, it reads as a space."""

    def text(dumper: Any, value: str) -> Any:
        style = '"' if any(end in value for end in "\x85\u2028\u2029") else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return redact.redact(parser.dump(layout, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120))


def line(params: Params, variables: Mapping[str, str] | None = None) -> str:
    """The magic's line. variables: by parameter, the name of the variable that holds its value."""
    return redact.redact(f"%autotrain {params.room} {words.write_line(params, variables)}".rstrip())


def cell(params: Params, variables: Mapping[str, str] | None = None) -> str:
    """A cell: the magic and a line for each parameter; variables as in `line`."""
    return redact.redact(f"%%autotrain {params.room}\n{words.write_body(params, variables)}")


def command(params: Params) -> str:
    """The command for a terminal."""
    return redact.redact(f"nbtrain {params.room} {shlex.join(words.write_tokens(params))}".rstrip())


_FORMS: dict[str, Callable[[Params, RunFolder | None], str]] = {
    "script": script,
    "yaml": yaml,
    "line": lambda params, folder: line(params),
    "cell": lambda params, folder: cell(params),
    "command": lambda params, folder: command(params),
}
FORMS = tuple(_FORMS)


def text(params: Params, to: str, folder: RunFolder | None = None) -> str:
    """One of FORMS, by its name.

    Raises:
        ParamError: there is no such form.
    """
    if to not in _FORMS:
        raise ParamError(f"--to is one of {', '.join(FORMS)}; found {to!r}.{nearest(to, FORMS)}")
    return _FORMS[to](params, folder)


def write(params: Params, folder: RunFolder) -> None:
    """Put train.py and config.yaml into the run folder, each whole or not at all."""
    atomic_write(folder.script, script(params, folder))
    atomic_write(folder.config, yaml(params, folder))


def _dependencies(params: Params, folder: RunFolder | None) -> list[str]:
    """nbtrain with the room's extra, and the exact version of each package that the extra names."""
    extra = doctor.extra_of(params.room)
    recorded = read_params(folder).get("versions", {}) if folder and folder.params.exists() else {}
    now = {each.name: doctor.installed(each.name) for each in doctor.needed(extra)}
    # the local part of a version (2.13.0+cpu) names a build that only its own index has
    pins = [f"{name}=={version.split('+')[0]}" for name, version in sorted((now | recorded).items()) if version]
    return [f"nbtrain[{extra}]=={__version__}" if extra else f"nbtrain=={__version__}", *pins]


def inside(value: Any, folder: RunFolder | None) -> str | None:
    """The path relative to the run folder, where `value` is one inside it."""
    if folder is None or not isinstance(value, str) or not value or "\0" in value:
        return None
    path, home = Path(value).resolve(), folder.path.resolve()
    return path.relative_to(home).as_posix() if path.is_relative_to(home) and path != home and path.exists() else None


def _literal(value: Any, folder: RunFolder | None) -> str:
    place = inside(value, folder)
    if place:
        return f"Path(__file__).resolve().parent / {_quoted(place)}"
    if isinstance(value, list) and any(inside(each, folder) for each in value):
        parts = (_literal(each, folder) for each in value)
        return f"[{', '.join(f'str({part})' if part.startswith('Path(') else part for part in parts)}]"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, (list, tuple, dict)) or value is None or isinstance(value, (bool, int, float)):
        return pprint.pformat(value, width=100, sort_dicts=False)
    raise ParamError(
        f"a {type(value).__name__} cannot be written into a script",
        why="it lives in the notebook only",
        fix="export the run that used it: the run folder keeps what came from the notebook",
    )


def _quoted(text: str) -> str:
    """As a formatter would have it: double quotes where that needs no more escapes."""
    literal = repr(text)
    return literal if '"' in literal or literal[0] == '"' else f'"{literal[1:-1]}"'


def _portable(value: Any, folder: RunFolder | None) -> Any:
    """Only what YAML's safe subset knows, with `${` kept from being read as a variable."""
    place = inside(value, folder)
    if place:
        return "${here}/" + VARIABLE.sub(_AS_TEXT, place)
    if isinstance(value, str):
        return VARIABLE.sub(_AS_TEXT, value)
    if isinstance(value, (list, tuple)):
        return [_portable(item, None) for item in value]
    if isinstance(value, Mapping):
        return {_portable(name, None): _portable(item, None) for name, item in value.items()}
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _literal(value, folder)


def _task(params: Params) -> str:
    return f"{params.room}-{params.method}" if params.method else params.room
