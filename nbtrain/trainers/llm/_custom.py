"""What a run of a language model is told of its own: how rows are read, how the loss is counted, what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, Self

from pydantic import BaseModel, model_validator

from nbtrain.errors import TrainingError
from nbtrain.params import option
from nbtrain.params.options import Function

ONLY = ("default", "generic", "sft")


class Custom(BaseModel):
    """What default and sft read besides."""

    auto_convert_dataset: bool = option(
        False, "needless: data of every known form is recognised and turned into chats", group="Data", only=ONLY
    )
    conversation_extension: int = option(
        1,
        "so many chats, one after the other, make one row to train on",
        group="Data",
        unit="chats",
        ge=1,
        only=("sft",),
    )
    apply_chat_template: bool = option(
        True,
        "off: chats are trained as plain text, what is said line by line without marks",
        group="Data",
        only=("sft",),
    )
    save_processed_data: Literal["auto", "local", "none"] = option(
        "auto", "local: keep the rows as they are trained in data/processed-*.jsonl", group="Data", only=ONLY
    )
    auto_find_batch_size: bool = option(
        False,
        "where batch_size rows do not fit into memory take fewer at a time, with more accumulation: the same steps",
        group="Training",
        only=ONLY,
    )
    custom_loss: Function | None = option(
        None,
        "function (outputs, labels, num_items_in_batch) to a loss; labels (rows, positions), -100 where not trained",
        group="Training",
        only=ONLY,
    )
    custom_metrics: Function | None = option(
        None,
        "function (predictions, labels) to a dict of numbers, at each evaluation; ids of the tokens that were trained, "
        "and of those that the model held likeliest in their place",
        group="Evaluation",
        only=ONLY,
    )
    compile: bool = option(False, "torch.compile the model; with --backend native", group="Training", only=ONLY)
    unsloth: bool = option(False, "the same as --backend unsloth", group="Training")
    image_column: str | None = option(
        None,
        "column of pictures",
        group="Data",
        refused="a language model is trained on text here. Pictures with questions or captions are for the room vlm.",
    )

    @model_validator(mode="after")
    def _fits_its_backend(self) -> Self:
        backend, method = getattr(self, "backend", "auto"), getattr(self, "trainer", "default")
        if self.unsloth and backend not in ("auto", "unsloth"):
            raise ValueError(f"--unsloth and --backend {backend} exclude each other. Leave one of them out")
        if backend == "native" and method not in (*ONLY, "distillation"):
            raise ValueError(f"--backend native trains default and sft, not {method}. Leave --backend out")
        if (self.unsloth or backend == "unsloth") and method not in ("sft", "dpo", "ppo", "grpo", "distillation"):
            raise ValueError(f"--backend unsloth trains sft, dpo, ppo and grpo, not {method}. Leave it out")
        if self.compile and backend != "native":
            raise ValueError("--compile only works with --backend native. Add it")
        if self.custom_loss is not None and backend not in ("auto", "hf"):
            raise ValueError(f"--custom-loss does not work with --backend {backend}. Leave --backend out")
        if self.custom_loss is not None and getattr(self, "use_distillation", False):
            raise ValueError("--custom-loss and --use-distillation exclude each other. Leave one of them out")
        if not self.apply_chat_template and getattr(self, "chat_template", None):
            raise ValueError("--no-apply-chat-template and --chat-template exclude each other. Leave one of them out")
        return self


def template_name(params: Any) -> str | None:
    """The chat template that is asked for by name."""
    return params.chat_template if params.apply_chat_template else "plain"


def loss(params: Any) -> Callable[..., Any] | None:
    """The function of --custom-loss."""
    return _function(params.custom_loss)


def metrics(params: Any) -> Callable[..., Mapping[str, float]] | None:
    """The function of --custom-metrics, which then gives floats by name.

    Raises (when called):
        TrainingError: it gave something else.
    """
    function = _function(params.custom_metrics)
    return partial(_checked, function) if function else None


def _function(given: Any) -> Callable[..., Any] | None:
    from nbtrain.data import functions

    return functions.load(given) if isinstance(given, str) else given


def _checked(function: Callable[..., Any], predictions: Any, labels: Any) -> dict[str, float]:
    found = function(predictions, labels)
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (AttributeError, TypeError, ValueError):
        what = f"--custom-metrics gave a {type(found).__name__}; a dict of numbers is expected"
        raise TrainingError(what, fix='return {"name": 0.5}') from None
