"""What is usual for a model with a head, where it is not what is usual for a language model."""

from __future__ import annotations

from copy import copy
from typing import Any

from pydantic import BaseModel, create_model

from nbtrain.params.blocks import Evaluation, Optim
from nbtrain.params.options import option
from nbtrain.params.processes import Processes


def names_of(value: Any) -> Any:
    """Names with commas between them as a list."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def again(
    block: type[BaseModel], name: str, default: Any = ..., *, only: tuple[str, ...] = (), refused: str = ""
) -> Any:
    """The option `name` of `block`, as it is described there: with another default, for some methods only, refused."""
    found: Any = copy(block.model_fields[name])
    if default is not ...:
        found.default = default
    changes = {name: value for name, value in (("only", only), ("refused", refused)) if value}
    found.json_schema_extra = {**found.json_schema_extra, **changes}
    found._attributes_set = {
        **found._attributes_set, "default": found.default, "json_schema_extra": found.json_schema_extra
    }  # fmt: skip
    return found


def alone(why: str) -> type[BaseModel]:
    """Stands before the blocks of a room that one process trains: what is for several is refused, for this reason."""
    known: dict[str, Any] = {
        name: (item.annotation, again(Processes, name, refused=why)) for name, item in Processes.model_fields.items()
    }
    return create_model("Alone", **known)


class Headed(BaseModel):
    """Stands before the blocks whose defaults it changes."""

    lr: float = again(Optim, "lr", 5e-5)
    epochs: int = again(Optim, "epochs", 3)
    batch_size: int = again(Optim, "batch_size", 8)
    weight_decay: float = again(Optim, "weight_decay", 0.0)
    early_stopping_patience: int | None = again(Evaluation, "early_stopping_patience", 5)
    early_stopping_threshold: float = again(Evaluation, "early_stopping_threshold", 0.01)
    best_model: bool = again(Evaluation, "best_model", True)
    auto_find_batch_size: bool = option(
        False,
        "take fewer rows at a time where they do not fit into memory",
        group="Training",
        refused="not in this version for a model with a head. Where memory runs out, halve --batch-size and double "
        "--gradient-accumulation: the same steps.",
    )
