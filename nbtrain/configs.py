"""Configs in YAML: those that nbtrain writes, AutoTrain's, and Oumi's; each becomes a room and its parameters."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtrain import peers, trainers
from nbtrain.errors import ParamError, nearest
from nbtrain.params import Params

VARIABLE = re.compile(r"\$(\$?)\{(\w+)\}")
"""`${NAME}`; with one more `$` before it the text itself."""

TASKS = trainers.ALIASES | {
    "lm-training": "llm",
    "text-binary-classification": "text-classification",
    "text-multi-class-classification": "text-classification",
    "text-single-column-regression": "text-regression",
    "text-token-classification": "token-classification",
    "image-binary-classification": "image-classification",
    "image-multi-class-classification": "image-classification",
    "image-single-column-regression": "image-regression",
    "image-object-detection": "object-detection",
    "text-extractive-question-answering": "extractive-question-answering",
    "ext-qa": "extractive-question-answering",
}
"""AutoTrain's other names of the rooms."""

TRAINERS = {
    "TRL_SFT": {"trainer": "sft"},
    "TRL_DPO": {"trainer": "dpo"},
    "TRL_KTO": {"trainer": "kto"},
    "TRL_GRPO": {"trainer": "grpo"},
    "HF": {"trainer": "default", "backend": "hf"},
    "OUMI": {"trainer": "default", "backend": "native"},
}
"""Oumi's trainer_type, in the words of the room llm."""


@dataclass(frozen=True)
class Config:
    """What a config says.

    values: parameters by name. notices: what the user should be told of how it was read.
    """

    room: str
    values: Mapping[str, Any]
    notices: tuple[str, ...] = ()


def read(path: str | os.PathLike[str]) -> Config:
    """The room and the parameters of a config in AutoTrain's layout, or Oumi's.

    `${NAME}` is the environment's variable, `${here}` the folder of the config, `$${NAME}` the text itself.

    Raises:
        ParamError: the file cannot be read as YAML, names no task or trainer_type, or names a room, a trainer or a
            variable that does not exist.
    """
    import yaml as parser

    where = str(path)
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
    layout = _expanded(layout, {**os.environ, "here": str(Path(path).resolve().parent)}, where)
    if oumis:
        return _of_oumi(layout, where)
    room, method = _room(layout.pop("task"), where)
    values = _of_autotrain(layout, trainers.load(room).Params, where)
    return Config(room, ({"trainer": method} if method else {}) | values)


def _room(task: str, where: str) -> tuple[str, str]:
    """llm-sft is the room llm and its method sft; either spelling, with - or _, the method behind - or :."""
    wanted, known = task.strip().replace("_", "-"), trainers.names()
    for spelled in sorted([*known, *TASKS], key=len, reverse=True):
        room, rest = TASKS.get(spelled, spelled), wanted.removeprefix(spelled)
        if room not in known or not wanted.startswith(spelled) or rest[:1] not in ("", "-", ":"):
            continue
        trainer = trainers.load(room).Params.options().get("trainer")
        methods = {str(choice).replace("_", "-"): str(choice) for choice in (trainer.choices if trainer else ())}
        return room, methods.get(rest[1:], rest[1:])
    raise ParamError(f"there is no task {task!r}; there are {', '.join(known)}.{nearest(wanted, known)}", where=where)


def _of_autotrain(layout: dict[str, Any], params_class: type[Params], where: str) -> dict[str, Any]:
    """The parts of AutoTrain's layout as one mapping of parameters."""
    options = params_class.options()
    found = {"model": layout.pop("base_model", None), "project_name": layout.pop("project_name", None)}
    data, given, hub = (_part(layout, name, where) for name in ("data", "params", "hub"))
    if layout.pop("backend", "local") not in ("local", None):
        raise ParamError("a config can only be trained here", where=where, fix="set `backend: local`")
    found["data_path"] = data.pop("path", None)
    columns = data.pop("column_mapping", None) or {}
    roles = {name.removesuffix("_column"): column for name, column in columns.items() if name not in options}
    found |= {name: column for name, column in columns.items() if name in options}
    found |= {"column_mapping": roles or None}
    found |= hub if hub.get("push_to_hub") else {name: value for name, value in hub.items() if name == "token"}
    return {name: value for name, value in found.items() if value is not None} | data | given | layout


def _of_oumi(layout: dict[str, Any], where: str) -> Config:
    """The fields of Oumi's layout that have a counterpart; the others are named."""
    model, data, training, peft = (_part(layout, name, where) for name in ("model", "data", "training", "peft"))
    kind = str(training.pop("trainer_type"))
    if kind.upper() not in TRAINERS:
        fix = f"it is one of {', '.join(TRAINERS)}.{nearest(kind.upper(), TRAINERS)}"
        raise ParamError(f"there is no trainer_type {kind!r} here", where=where, fix=fix)
    params_class = trainers.load("llm").Params
    train, strangers = _rows_of_oumi(data, where)
    rl = {name: value for name, value in _part(training, "grpo", where).items() if value is not None}
    if peft.pop("q_lora", False):
        peft["quantization"] = f"int{peft.pop('q_lora_bits', 4)}"
    given = {**model, **train, **_moments(training), **rl, **peft, **TRAINERS[kind.upper()]}
    if peft:
        given["peft"] = True
    values, notices = peers.translated(given, params_class)
    known = params_class.options().keys() | {
        alias for item in params_class.options().values() for alias in item.aliases
    }
    strangers += sorted(values.keys() - known) + sorted(layout)
    if strangers:
        notices.append(f"These have no counterpart here and are left out: {', '.join(strangers)}.")
    kept = {name: value for name, value in values.items() if name in known and value is not None}
    return Config("llm", kept, tuple(notices))


def _rows_of_oumi(data: dict[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Oumi's `data` in our words, and the names of what has none."""
    train, valid = _part(data, "train", where), _part(data, "validation", where)
    sources, held_out = train.pop("datasets", None) or [], valid.pop("datasets", None) or []
    if len(sources) != 1 or not isinstance(sources[0], dict):
        what = f"the config names {len(sources)} data sets to train on; a run here has one"
        raise ParamError(what, where=where, fix="join them into one file, and name it in data.train.datasets")
    source = dict(sources[0])
    name, path, subset = (source.pop(key, None) for key in ("dataset_name", "dataset_path", "subset"))
    found = {"data_path": path or (f"{name}:{subset}" if subset else name), **train, **source}
    strangers = [f"data.{part}" for part in data]
    same = [each for each in held_out if each.get("dataset_path", path) == path and each.get("dataset_name") == name]
    if len(held_out) == len(same) == 1:
        found["valid_split"] = same[0].get("split", "validation")
    elif held_out:
        strangers.append("data.validation (rows are held out of the training data)")
    return found, strangers


def _moments(training: dict[str, Any]) -> dict[str, Any]:
    """When Oumi saves and evaluates: a number of steps there is a strategy here."""
    found = dict(training)
    if found.pop("save_epoch", False):
        found["save_strategy"] = "epoch"
    elif (found.get("save_steps") or 0) > 0:
        found["save_strategy"] = "steps"
    elif found.pop("save_steps", None) is not None:
        found["save_strategy"] = "no"
    return found


def _part(layout: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    part = layout.pop(name, None) or {}
    if not isinstance(part, dict):
        raise ParamError(f"`{name}` in the config is no list of names and values", where=where)
    return part


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
