"""AutoTrain's layout: task, base_model, project_name, log, backend, data, params, hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbtrain import peers, trainers
from nbtrain.configs.layout import Config, left_out, part
from nbtrain.errors import ParamError, nearest
from nbtrain.params import Params

TASKS = trainers.ALIASES | {
    "lm-training": "llm",
    "text-binary-classification": "text-classification",
    "text-multi-class-classification": "text-classification",
    "natural-language-inference": "text-classification",
    "text-single-column-regression": "text-regression",
    "text-token-classification": "token-classification",
    "text-summarization": "seq2seq",
    "image-binary-classification": "image-classification",
    "image-multi-class-classification": "image-classification",
    "image-single-column-regression": "image-regression",
    "image-object-detection": "object-detection",
    "text-extractive-question-answering": "extractive-question-answering",
    "ext-qa": "extractive-question-answering",
    "spacerunner": "generic",
}
"""AutoTrain's other names of the rooms."""

METHODS = {
    "binary-classification": "classification",
    "multi-class-classification": "classification",
    "multi-label-classification": "classification",
    "single-column-regression": "regression",
    "multi-column-regression": "regression",
}
"""AutoTrain's other names of what a room does."""

HERE = ("local", "local-cli", "local-ui")


def read(layout: dict[str, Any], where: str) -> Config:
    """The room and the parameters that a layout says.

    Raises:
        ParamError: there is no such task, or it is to be trained elsewhere.
    """
    backend = layout.pop("backend", None) or "local"
    if backend not in HERE:
        why = f"`backend: {backend}` is a machine of AutoTrain's; a config can only be trained here"
        raise ParamError("the config is for another machine", where=where, why=why, fix="set `backend: local`")
    room, method = _room(layout.pop("task"), where)
    params_class = trainers.load(room).Params
    given = _method(params_class, method, where) | _values(layout, params_class, where)
    values, notices = peers.translated(given, params_class)
    strangers = _strangers(values, params_class)
    kept = {name: value for name, value in values.items() if name not in strangers}
    return Config(room, kept, (*notices, *left_out(strangers.items())))


def without_idle_hub(layout: dict[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """The layout without an account that is not set in the environment, where nothing is to be pushed with it."""
    hub = layout.get("hub")
    if not isinstance(hub, dict) or hub.get("push_to_hub"):
        return layout
    unset = [name for name in ("username", "token") if str(hub.get(name)).strip("${}") not in variables]
    return layout | {"hub": {name: value for name, value in hub.items() if name not in unset or "${" not in str(value)}}


def _room(task: str, where: str) -> tuple[str, str]:
    """llm-sft is the room llm and its method sft; either spelling, with - or _, the method behind - or :."""
    wanted, known = task.strip().replace("_", "-"), trainers.names()
    for spelled in sorted([*known, *TASKS], key=len, reverse=True):
        room, rest = TASKS.get(spelled, spelled), wanted.removeprefix(spelled)
        if room in known and wanted.startswith(spelled) and rest[:1] in ("", "-", ":"):
            return room, rest[1:]
    spellings = [
        *known,
        *TASKS,
        *(f"llm-{method}" for method in trainers.load("llm").Params.options()["trainer"].choices),
    ]
    what = f"there is no task {task!r}; there are {', '.join(known)}.{nearest(wanted, spellings)}"
    raise ParamError(what, where=where)


def _method(params_class: type[Params], method: str, where: str) -> dict[str, Any]:
    """The parameter that says what the room does."""
    if not method:
        return {}
    options = params_class.options()
    name = next((each for each in ("trainer", "task") if each in options), None)
    if name is None:
        room = params_class.room
        raise ParamError(f"{room} does one thing, and {method!r} is none", where=where, fix=f"write `task: {room}`")
    choices = {str(choice).replace("_", "-"): str(choice) for choice in options[name].choices}
    return {name: choices.get(METHODS.get(method, method), method)}


def _values(layout: dict[str, Any], params_class: type[Params], where: str) -> dict[str, Any]:
    """The parts of the layout as one mapping of parameters."""
    options = params_class.options()
    found = {"model": layout.pop("base_model", None), "project_name": layout.pop("project_name", None)}
    data, given, hub = (part(layout, name, where) for name in ("data", "params", "hub"))
    found["data_path"] = data.pop("path", None)
    columns = part(data, "column_mapping", where)
    if columns.get("image_column") == "image":  # its name of the picture, also where a folder's table says file_name
        del columns["image_column"]
    roles = {name.removesuffix("_column"): column for name, column in columns.items() if name not in options}
    found |= {name: column for name, column in columns.items() if name in options}
    found |= {"column_mapping": {role: column for role, column in roles.items() if column} or None}
    found |= hub if hub.get("push_to_hub") else {name: value for name, value in hub.items() if name == "token"}
    return {name: value for name, value in found.items() if value is not None} | data | given | layout


def _strangers(values: Mapping[str, Any], params_class: type[Params]) -> dict[str, str]:
    """What AutoTrain reads, or passes over, and this room refuses or does not know, by name, and why."""
    options, room = params_class.options(), params_class.room
    found = {
        name: options[name].refused
        for name, value in values.items()
        if name in options and options[name].refused and value != options[name].default
    }
    unread = values.keys() - peers.known(params_class)
    if unread:
        others = set().union(*(peers.known(trainers.load(each).Params) for each in trainers.names()))
        # what no room has is a slip of the pen, and an error with the nearest name
        found |= {name: f"{room} does not read it" for name in unread & others}
    if "peft" in options and not values.get("peft") and values.get("quantization") not in (None, "none"):
        found["quantization"] = "quantised weights cannot be trained: with peft: true an adapter is"
    return {name: why.rstrip(".") for name, why in found.items()}
