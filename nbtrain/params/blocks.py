"""Each parameter that several rooms share, once, in blocks that a room's Params inherits."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, model_validator

from nbtrain.params.measures import Measures
from nbtrain.params.options import Location, option
from nbtrain.params.processes import Processes
from nbtrain.params.sweep import Sweep


def _source(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class Hub(BaseModel):
    """Where the trained model goes, besides its folder."""

    push_to_hub: bool = option(False, "upload the model when the run has finished", group="Hub")
    repo_id: str | None = option(None, "owner/name of the repository; none: as the run is called", group="Hub")
    username: str | None = option(None, "owner of the repository; none: the token's", group="Hub")
    hub_private: bool = option(True, "only the owner may see a repository that is made", group="Hub")


class Basic(Hub, Measures, Sweep, Processes):
    """What every run has: a name, a limit, somebody who listens."""

    project_name: Location | None = option(
        None,
        "name of the run: a folder below the working directory, or a path; none: runs/<room>-<method>-<n>",
        group="Basic",
        essential=True,
        aliases=("output_dir",),
    )
    seed: int = option(42, "seed of every random choice", group="Training", ge=0, lt=2**32)
    max_steps: int = option(
        -1, "stop after so many optimiser steps; -1: as the epochs say", group="Training", unit="steps", ge=-1
    )
    max_minutes: float | None = option(
        None, "stop, save and evaluate when the time is up", group="Training", unit="minutes", gt=0
    )
    log: Literal["none", "tensorboard", "wandb", "trackio", "csv"] = option(
        "none", "write the curves for this tracker, too; csv: a table in the run folder", group="Training"
    )


class Data(BaseModel):
    """Where the rows come from, and which."""

    data_path: Annotated[Any, BeforeValidator(_source)] = option(
        "demo",
        "file, folder, glob, archive, hub id (name:config), a variable of the notebook, or demo",
        group="Basic",
        essential=True,
        aliases=("df", "data"),
    )
    train_split: str = option("train", "split to train on", group="Data")
    valid_split: str | None = option(
        None, "split to evaluate on; none: a part of the training rows is held out", group="Data"
    )
    valid_fraction: float = option(
        0.1, "share of the rows held out where no valid_split is named; 0: none", group="Data", unit="share", ge=0, lt=1
    )
    max_samples: int | None = option(None, "use only so many rows, chosen by the seed", group="Data", unit="rows", ge=1)
    column_mapping: dict[str, str] | None = option(
        None, 'role to column, as JSON: {"text": "body"}; roles: text, messages, prompt, response ...', group="Data"
    )
    on_bad_rows: Literal["stop", "skip"] = option(
        "stop", "rows that cannot be used end the run before it starts, or are left out and listed", group="Data"
    )


class Model(BaseModel):
    """Which model, and where it may come from."""

    model: Location = option("tiny", "hub id, folder, a Run, or tiny (built in)", group="Basic", essential=True)
    token: str | None = option(
        None,
        "hub token; read from the environment or the hub login by default, never written",
        group="Hub",
        secret=True,
    )
    trust_remote_code: bool = option(False, "run code that a model brings with it; kept in the record", group="Model")


class Optim(BaseModel):
    """How the weights are moved."""

    lr: float = option(
        3e-5, "learning rate at its peak", group="Training", gt=0, essential=True, unit="per step", searched="log"
    )
    epochs: int = option(1, "times over the data", group="Training", unit="epochs", ge=1, essential=True)
    batch_size: int = option(
        2, "rows a step and device", group="Training", unit="rows", ge=1, essential=True, searched="log"
    )
    gradient_accumulation: int = option(1, "batches a step", group="Training", unit="batches", ge=1)
    warmup_ratio: float = option(
        0.1,
        "share of the steps in which the learning rate rises",
        group="Training",
        unit="share",
        ge=0,
        le=1,
        searched=(0.0, 0.2),
    )
    optimizer: str = option("adamw_torch", "optimiser, by transformers' name", group="Training")
    scheduler: str = option("linear", "course of the learning rate, by transformers' name", group="Training")
    weight_decay: float = option(
        0.01, "pull of the weights towards zero", group="Training", unit="per step", ge=0, searched=(0.0, 0.1)
    )
    max_grad_norm: float = option(1.0, "longest gradient; 0: not clipped", group="Training", unit="norm", ge=0)


class Precision(BaseModel):
    """Numbers and memory."""

    mixed_precision: Literal["fp16", "bf16", "fp32", "none"] | None = option(
        None, "number format of the computation; none given: bf16 where the device has it, else fp32", group="Precision"
    )
    disable_gradient_checkpointing: bool = option(
        False, "keep activations on a GPU instead of computing them twice (a CPU always keeps them)", group="Precision"
    )


class Peft(BaseModel):
    """Train a small adapter instead of the model."""

    peft: bool = option(False, "train a LoRA adapter instead of all weights", group="PEFT", essential=True)
    quantization: Literal["int4", "int8", "none"] | None = option(
        None, "hold the frozen base in 4 or 8 bits; only with --peft", group="PEFT"
    )
    lora_r: int = option(16, "rank of the adapter", group="PEFT", unit="rank", ge=1)
    lora_alpha: int = option(32, "scale of the adapter (times 1/rank)", group="PEFT", unit="scale", ge=1)
    lora_dropout: float = option(0.05, "dropout before the adapter", group="PEFT", unit="share", ge=0, lt=1)
    target_modules: str | None = option(
        "all-linear", "layers that get an adapter: all-linear, or names with commas", group="PEFT"
    )
    merge_adapter: bool = option(True, "save the model with the adapter merged into it", group="PEFT")

    @model_validator(mode="after")
    def _quantised_base_is_frozen(self) -> Self:
        if self.quantization in ("int4", "int8") and not self.peft:
            raise ValueError("--quantization only works with --peft: quantised weights cannot be trained. Add --peft")
        return self


class Checkpoints(BaseModel):
    """What is written while training."""

    logging_steps: int = option(
        -1, "steps between two points of the curve; -1: about 500 points", group="Checkpoints", unit="steps", ge=-1
    )
    save_strategy: Literal["epoch", "steps", "no"] = option(
        "epoch", "when checkpoints are written", group="Checkpoints"
    )
    save_steps: int = option(
        500, "steps between two checkpoints, with save_strategy steps", group="Checkpoints", unit="steps", ge=1
    )
    save_total_limit: int = option(
        1, "checkpoints kept; the newest verified one always is", group="Checkpoints", unit="checkpoints", ge=1
    )
    resume_from_checkpoint: Location | None = option(None, "checkpoint folder to start from", group="Checkpoints")
    on_nan: Literal["stop", "skip"] = option(
        "stop", "a loss that is not a number ends the run, or its step is left out", group="Checkpoints"
    )


class Evaluation(BaseModel):
    """When held-out rows are measured, and what the model then shows."""

    eval_strategy: Literal["epoch", "steps", "no"] = option(
        "epoch", "when held-out rows are measured", group="Evaluation"
    )
    eval_steps: int | None = option(
        None,
        "steps between evaluations, with eval_strategy steps; none: save_steps",
        group="Evaluation",
        unit="steps",
        ge=1,
    )
    eval_batch_size: int = option(8, "rows a step of the evaluation", group="Evaluation", unit="rows", ge=1)
    early_stopping_patience: int | None = option(
        None, "stop after so many evaluations without a better one", group="Evaluation", unit="evaluations", ge=1
    )
    early_stopping_threshold: float = option(
        0.0,
        "what is better by no more than this does not count for the patience",
        group="Evaluation",
        unit="metric",
        ge=0,
    )
    best_model: bool = option(
        False, "end with the weights of the best evaluation, not with the last ones", group="Evaluation"
    )


class Shown(BaseModel):
    """When it is shown what the model does."""

    sample_every_n_steps: int = option(
        0, "steps between samples; 0: at each evaluation", group="Samples", unit="steps", ge=0
    )


class Samples(Shown):
    """What a language model writes while it trains."""

    sample_prompts: str | list[str] | None = option(
        None, "prompts, as JSON or one text; none: from the held-out rows", group="Samples"
    )
    sample_max_new_tokens: int = option(48, "longest sample", group="Samples", unit="tokens", ge=1)
    sample_temperature: float = option(
        1.0, "temperature of the samples; 0: the likeliest token", group="Samples", unit="temperature", ge=0
    )
    sample_top_k: int = option(
        50, "draw from so many likeliest tokens; 0: from all", group="Samples", unit="tokens", ge=0
    )
    sample_top_p: float = option(
        1.0, "draw from the likeliest tokens of this mass", group="Samples", unit="share", gt=0, le=1
    )
