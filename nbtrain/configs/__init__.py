"""Configs in YAML: those that nbtrain writes, AutoTrain's, and Oumi's; each becomes a room and its parameters."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbtrain.configs import autotrain, oumi
from nbtrain.configs.layout import Config
from nbtrain.errors import ParamError

__all__ = ["VARIABLE", "Config", "read"]

VARIABLE = re.compile(r"\$(\$?)\{(\w+)\}")
"""`${NAME}`; with one more `$` before it the text itself."""


def read(path: str | os.PathLike[str]) -> Config:
    """The room and the parameters of a config in AutoTrain's layout, or Oumi's.

    `${NAME}` is the environment's variable, `${here}` the folder of the config, `$${NAME}` the text itself.

    Raises:
        ParamError: the file cannot be read as YAML, names no task or trainer_type, or names a room, a trainer, a
            backend or a variable that does not exist here.
    """
    import yaml as parser

    where = str(path)
    if where.startswith(("http://", "https://")):
        fix = "download it, read it, and give the file: a config decides what runs here"
        raise ParamError("a config is a file", where=where, fix=fix)
    try:
        layout = parser.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, parser.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ParamError("the config cannot be read", where=where, why=reason, fix="give a YAML file") from None
    layout = layout if isinstance(layout, dict) else {}
    oumis = isinstance(layout.get("training"), dict) and "trainer_type" in layout["training"]
    if not oumis and not isinstance(layout.get("task"), str):
        fix = "begin it with a line such as `task: llm-sft`; Oumi's have `training: {trainer_type: TRL_SFT}`"
        raise ParamError("the config names no task", where=where, fix=fix)
    variables = {**os.environ, "here": str(Path(path).resolve().parent)}
    if oumis:
        return oumi.read(_expanded(layout, variables, where), where)
    return autotrain.read(_expanded(autotrain.without_idle_hub(layout, variables), variables, where), where)


def _expanded(value: Any, variables: Mapping[str, str], where: str) -> Any:
    if isinstance(value, dict):
        return {_expanded(name, variables, where): _expanded(item, variables, where) for name, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, variables, where) for item in value]
    if not isinstance(value, str):
        return value

    def replace(found: re.Match[str]) -> str:
        escaped, name = found.groups()
        if escaped:
            return f"${{{name}}}"
        if name not in variables:
            raise ParamError(
                f"the config asks for the variable {name}, which is not set", where=where, fix=f"export {name}=..."
            )
        return variables[name]

    return VARIABLE.sub(replace, value)
