"""All that a step changes, in the files of a checkpoint: the weights in safetensors, the rest as torch keeps states."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbtrain.errors import ParamError

STATE = "training_state.pt"


@dataclass(frozen=True)
class Parts:
    """What a checkpoint holds.

    modules: name to module; its trained weights and its buffers, in NAME.safetensors. states: name to what has
    state_dict and load_state_dict: optimizer and schedule by these names, anything else that a step changes.
    describe: writes more into the folder, so that it opens as a model (config, tokenizer); not read back.
    """

    modules: Mapping[str, Any]
    states: Mapping[str, Any] = field(default_factory=dict)
    describe: Callable[[Path], object] | None = None


def save(path: Path, parts: Parts, step: int) -> None:
    """Write the files of a checkpoint; it is one when it has been committed."""
    import torch
    from safetensors.torch import save_file

    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    for name, module in parts.modules.items():
        kept = {key: weight.detach().contiguous() for key, weight in _kept(module)}
        save_file(kept, path / f"{name}.safetensors", metadata={"format": "pt"})
    states = {name: state.state_dict() for name, state in parts.states.items()}
    torch.save({"states": states, "random": _random_state()}, path / STATE)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}), encoding="utf-8")
    if parts.describe is not None:
        parts.describe(path)


def load(path: Path, parts: Parts) -> int:
    """Make everything as it was when the checkpoint was written; the steps that were done.

    Raises:
        ParamError: another kind of training wrote it.
    """
    import torch

    files = [STATE, *(f"{name}.safetensors" for name in parts.modules)]
    if missing := [name for name in files if not (path / name).is_file()]:
        what = f"the checkpoint {path.name} is of another trainer or backend: it has no {missing[0]}"
        raise ParamError(
            what, where=str(path), fix="go on with the one that wrote it, or start from it: --model FOLDER."
        )
    load_modules(path, parts)
    kept = torch.load(path / STATE, map_location="cpu", weights_only=True)
    for name, state in parts.states.items():
        state.load_state_dict(kept["states"][name])
    _set_random_state(kept["random"])
    return int(json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])


def _kept(module: Any) -> Iterator[tuple[str, Any]]:
    """The weights that are trained and the buffers that are saved; one that has two names is given once."""
    saved = module.state_dict(keep_vars=True).keys()
    yield from ((name, weight) for name, weight in module.named_parameters() if weight.requires_grad)
    yield from ((name, buffer) for name, buffer in module.named_buffers() if name in saved)


def load_modules(path: Path, parts: Parts) -> None:
    """Make the weights as they were when the checkpoint was written."""
    import torch
    from safetensors.torch import load_file

    for name, module in parts.modules.items():
        kept = load_file(path / f"{name}.safetensors")
        with torch.no_grad():
            for key, weight in _kept(module):
                weight.copy_(kept[key])


def _random_state() -> dict[str, Any]:
    import numpy
    import torch

    kind, keys, *rest = numpy.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    import numpy
    import torch

    version, inner, gauss = state["python"]
    random.setstate((version, tuple(inner), gauss))
    numpy.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
