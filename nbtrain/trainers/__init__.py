"""The rooms: each module or folder here is a trainer, and its name is the command.

A room has
- `Params`: a class of `nbtrain.params.Params`, one option() a field; a room with several methods has a field `trainer`;
- `train(params, run) -> dict`: trains, writes the model to `run.folder.model`, returns the last evaluation's values.
  `run` is an ActiveRun: news go out by `run.emit(event)`, notices by `run.warn(text)`, requests by `run.requests()`.
- `check(params, cache) -> list[str]`: reads the data into `cache` and judges every row; what it found, for a screen.
- `opened(params, path) -> (model, processor)`: the saved model, on the device that a run would use, and what turns rows
  into its inputs (a tokenizer, an image processor, None).
- `predict(params, model, processor, rows, **settings) -> list`: what the model says to each row.
- `evaluate(params, path, data) -> dict | None`, where it can: the saved model, measured on the rows that the run
  held out (data None) or on others; None by a method that measures while it trains only.
- `says(params) -> str` and `examples(params, data, cache) -> Examples`: the kind of what its models say, and the rows
  to measure a saved one on (those that the run held out, or others), for metrics by name; see `evaluate.examples`.
- `usage(params, path) -> (library, code)`: the hub's name of the library that opens the saved model, and Python that
  does so without nbtrain, for the card.
- `PIPELINE`, where the hub has one: its name for what the model does, or one by method (by task where there is none).
- `OBEYS`, where it does not obey all of `runs.control`: the requests and changes that it does.

A room never prints, never imports another room, imports heavy libraries only inside functions, and catches only what it
can mend.
A name with a leading underscore is a part that rooms share; `rl` is a library, for rooms and for users.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from nbtrain.errors import ParamError, nearest

ALIASES = {
    "extractive-qa": "extractive-question-answering",
    "image-scoring": "image-regression",
    "st": "sentence-transformers",
}
"""Other names of rooms, those that users of other systems type."""
LIBRARY = "rl"
"""What rooms and users build on; no room, though it has a name of its own."""


def names() -> list[str]:
    """The commands, sorted. No room is imported."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(command(name) for name in modules if not name.startswith("_") and name != LIBRARY)


def load(name: str) -> ModuleType:
    """The room of this command, in either spelling or by an alias.

    Raises:
        ParamError: there is none; the nearest is named.
    """
    found = command(name)
    if found not in names():
        raise ParamError(
            f"there is no trainer {name!r}.{nearest(found, names())}", fix=f"the trainers are: {', '.join(names())}."
        )
    return importlib.import_module(f"{__name__}.{found.replace('-', '_')}")


def command(name: str) -> str:
    """The command that `name` means, in either spelling or by an alias; `name` itself where it means none."""
    spelled = name.strip().replace("_", "-")
    return ALIASES.get(spelled, spelled)
