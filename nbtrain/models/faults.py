"""What can be wrong with a model, in words: libraries' errors say what they did, these say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbtrain.errors import ModelError, NbtrainError, nearest

MARKS = ("config.json", "adapter_config.json")


def folder_with_model(path: Path) -> Path:
    """`path`, or the model of the run that `path` is.

    Raises:
        ModelError: neither.
    """
    for folder in (path, path / "model"):
        if any((folder / mark).is_file() for mark in MARKS):
            return folder.resolve()
    if (path / "params.json").is_file():
        raise ModelError(f"The run {path} has no model yet.", fix="wait until it has finished, or take one of its checkpoints.")
    raise ModelError(f"{path} holds no model: no {' and no '.join(MARKS)}.", fix="name the folder that from_pretrained would load.")


def refuse_missing_path(model: str, path: Path) -> None:
    """A name that can only be a path, and is not there, is an error; another may be a hub id.

    Raises:
        ModelError: with the nearest folder beside it.
    """
    if not (path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or path.exists()):
        return
    if path.exists():
        raise ModelError(f"{model} is a file; a model is a folder.")
    beside = [str(folder) for folder in path.parent.iterdir() if folder.is_dir()] if path.parent.is_dir() else []
    raise ModelError(f"There is no folder {model}.{nearest(str(path), beside)}")


def refuse_other_models(config: Any, model: str) -> None:
    """Only models that write from left to right can be trained here."""


@contextmanager
def in_words(model: str, part: str) -> Iterator[None]:
    """Errors of the libraries, while they open `part` of `model`, as ModelErrors."""
    try:
        yield
    except NbtrainError:
        raise
    except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
        raise ModelError(f"The {part} of {model} cannot be opened.", why=str(error)) from error


def no_such_layers(targets: str, model: Any) -> ModelError:
    """The error for names of layers that the model does not have."""
    import torch

    names = sorted({name.split(".")[-1] for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)})
    return ModelError(f"--target-modules {targets} matches no layer of the model; it has {', '.join(names)}.")
