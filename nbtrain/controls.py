"""What may be asked of a run while it trains, refused in words where it would not be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbtrain import trainers
from nbtrain.errors import ParamError, RunError
from nbtrain.params import Params, words
from nbtrain.runs import control, status
from nbtrain.runs.control import CHANGEABLE, REQUESTS
from nbtrain.runs.folder import RunFolder, read_params

USAGE = {
    "stop": ("ID", "ask a run to finish its step, save and end"),
    "save": ("ID", "write a checkpoint now, while it trains"),
    "sample": ("ID", "show what the model does now, while it trains"),
    "pause": ("ID", "finish the step, save, and wait in memory"),
    "go": ("ID", "let a paused run go on"),
    "set": ("ID --lr 1e-5", "another learning rate from the next step on; the schedule keeps its course"),
}
"""Each verb: what follows it, and what it does."""
_TOLD = {
    "stop": "is asked to stop: it finishes its step and saves",
    "save": "is asked for a checkpoint",
    "sample": "is asked for a sample",
    "pause": "is asked to pause: it finishes its step, saves and waits; `go` lets it go on",
    "go": "goes on",
}


def ask(folder: RunFolder, request: str) -> None:
    """Ask a run for one of `control.REQUESTS`; it is done after the step that it computes.

    Raises:
        RunError: it has ended, or its room does not obey this.
    """
    _check(folder, request)
    control.ask(folder, request)


def change(folder: RunFolder, values: Mapping[str, Any]) -> None:
    """Ask a run to train with these values from its next step on.

    Raises:
        ParamError: the parameter does not exist, cannot be changed, or not to this value. RunError: as `ask`.
    """
    room = _room(folder)
    for name in values:
        if name not in CHANGEABLE:
            fix = f"what can be: {', '.join(f'--{each}' for each in CHANGEABLE)}; for the rest start another run"
            raise ParamError(f"--{name.replace('_', '-')} cannot be changed while a run trains", fix=fix)
        _check(folder, name)
    params, _ = room.read(values)
    for name in values:
        control.change(folder, name, getattr(params, name))


def answer(folder: RunFolder, verb: str, tokens: list[Any]) -> str:
    """Do what a verb of USAGE asks of a run; what is told of it.

    Raises:
        ParamError, RunError: as `ask` and `change`.
    """
    if verb != "set":
        if tokens:
            raise ParamError(f"{verb} takes the name of a run, and nothing else", fix=f"write {verb} {folder.name}")
        if verb == "stop" and status.read(folder).state in status.ENDED:
            return f"{folder.name} has ended already: {status.read(folder).state}"
        ask(folder, verb)
        return f"{folder.name} {_TOLD[verb]}"
    values = words.read_line(tokens, _room(folder))
    if not values:
        raise ParamError("set needs a value", fix=f"write set {folder.name} --lr 1e-5")
    change(folder, values)
    told = ", ".join(f"{name} {value}" for name, value in values.items())
    return f"{folder.name} trains with {told} from its next step on"


def refusals(folder: RunFolder) -> dict[str, str]:
    """By request, and by parameter that can be changed: why this run would not do it; '' where it would."""
    room = read_params(folder)["room"]
    obeyed = getattr(trainers.load(room), "OBEYS", (*REQUESTS, *CHANGEABLE))
    state = status.read(folder).state
    ended = f"it has ended: {state}" if state in status.ENDED else ""
    return {
        name: ended or ("" if name in obeyed else f"a run of {room} cannot be asked for it")
        for name in (*REQUESTS, *CHANGEABLE)
    }


def _check(folder: RunFolder, request: str) -> None:
    if why := refusals(folder)[request]:
        obeyed = [name for name, each in refusals(folder).items() if not each]
        fix = f"it can be asked for {', '.join(obeyed)}" if obeyed else f"resume {folder.name}, or start another run"
        raise RunError(f"{folder.name} does not do {request!r}: {why}", fix=fix)


def _room(folder: RunFolder) -> type[Params]:
    room: type[Params] = trainers.load(read_params(folder)["room"]).Params
    return room
