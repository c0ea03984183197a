"""How a language model's batches are made, and by which Trainer.

The rule of `--backend auto`:
1. flat rows (`_flat`), where the model lets its attention be chosen and a small flat batch gives the padded batch's
   logits and loss;
2. else padded batches of rows of similar length, and a notice that says why.
An attention that is asked for by name is used as it is, so it means 2, except flash_attention_2, which knows flat rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from nbtrain.errors import ParamError
from nbtrain.models.load import Precision
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _shares
from nbtrain.trainers.llm import _flat

PIECE = 1024  # positions that a processor works on at once
# relative difference of logits and loss, by number format; a leak between documents is 0.05 or more
SAME = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 4e-3}


@dataclass(frozen=True)
class Way:
    """How batches are made.

    told: for the user. flat: one row without padding. grouped: rows of similar length together.
    """

    told: str
    collate: Callable[..., dict[str, Any]]
    flat: bool = False
    grouped: bool = False


def choose(params: Any, run: ActiveRun, model: Any, tokenizer: Any, precision: Precision) -> Way:
    """The way for this model; it is then set to it.

    Raises:
        ParamError: the attention asked for is not to be had, or chats are to be packed and rows cannot be flat.
    """
    wide = partial(_flat.padded, pad=tokenizer.pad_token_id or 0, side=params.padding)
    asked = attend(params, model)
    if params.custom_loss is not None or params.compile:
        why = "--custom-loss and --compile take padded batches"
    elif params.backend not in ("auto", "native"):
        why = f"--backend {params.backend} pads its batches"
    elif asked in ("eager", "sdpa"):
        why = f"--attn-implementation {asked} was asked for"
    else:
        why = _why_not_flat(model, asked, precision)
    if not why:
        return Way("flat rows, attention by document", _flat.rows, flat=True)
    if params.packing and params.trainer == "sft":
        raise ParamError("--packing with sft needs flat rows", why=why, fix="leave --packing out")
    if params.backend != "auto":
        return Way(f"padded batches ({params.backend})", wide)
    if params.stream:
        run.warn(f"Batches are padded, of rows as they come: {why}.")
        return Way("padded batches", wide)
    run.warn(f"Batches are padded, and rows of similar length stand together: {why}.")
    return Way("padded batches, grouped by length", wide, grouped=True)


def attend(params: Any, model: Any) -> str | None:
    """The attention that was asked for by name, None where none was; the model then has it.

    Raises:
        ParamError: it is not to be had.
    """
    asked = "flash_attention_2" if params.use_flash_attention_2 else params.attn_implementation
    try:
        if asked:
            _flat.bare(model).set_attn_implementation(asked)
    except (ImportError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        what = f"--attn-implementation {asked} does not work with this model here"
        raise ParamError(what, why=first, fix="leave it out") from None
    return asked


def reading(model: Any, tokenizer: Any, precision: Precision) -> Callable[..., dict[str, Any]]:
    """How batches are made for a model that is asked and not trained: flat rows where it takes them, else padded."""
    wide = partial(_flat.padded, pad=tokenizer.pad_token_id or 0)
    return wide if _why_not_flat(model, None, precision) else _flat.rows


def _why_not_flat(model: Any, asked: str | None, precision: Precision) -> str:
    """'' where flat rows give what padded batches give; the model then attends by document."""
    import torch

    half = torch.bfloat16 if precision.bf16 else torch.float16 if precision.fp16 else None
    try:
        if asked is None:
            _flat.enable(model)
        with precision.autocast(next(model.parameters()).device.type):
            found = _flat.difference(model)
    except torch.OutOfMemoryError:
        raise
    except (_flat.CannotBeFlat, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        _flat.disable(model)
        told = f"{type(error).__name__}: {error}".split("\n")[0]
        return f"this model does not take flat rows ({told})"
    allowed = SAME[str(half or precision.dtype).removeprefix("torch.")]
    if found <= allowed:
        return ""
    _flat.disable(model)
    return f"flat rows differ from padded ones by {found:.1e} with this model (allowed: {allowed:.0e})"


def plain_trainer(
    model: Any,
    tokenizer: Any,
    data: Mapping[str, Any],
    way: Way,
    arguments: Mapping[str, Any],
    *,
    loss: Callable[..., Any] | None = None,
) -> Any:
    """transformers' Trainer. data: train_dataset and eval_dataset. loss: instead of the model's own."""
    from transformers import Trainer, TrainingArguments

    settings = TrainingArguments(**arguments)
    named = {"data_collator": way.collate, "processing_class": tokenizer, "compute_loss_func": loss}
    trainer = Trainer(model=model, args=settings, **named, **data)
    if way.flat and arguments["use_cpu"]:
        trainer.training_step = partial(_in_pieces, trainer, trainer.training_step)
    if way.grouped:
        sampler = _by_length(data["train_dataset"], arguments)
        trainer._get_train_sampler = lambda dataset=None: sampler
    return trainer


def _in_pieces(
    trainer: Any, step: Callable[..., Any], model: Any, inputs: Mapping[str, Any], num_items_in_batch: Any = None
) -> Any:
    """A Trainer's `step`, for the pieces of a flat row one after another: the same gradient in less memory.

    On a GPU one large row is faster; a processor's caches would hold none of it.
    """
    # without their number each piece would be a mean of its own
    parts = [inputs] if num_items_in_batch is None else _flat.pieces(inputs, PIECE)
    return _shares.synced_once(trainer, step, model, parts, num_items_in_batch)


def _by_length(dataset: Any, arguments: Mapping[str, Any]) -> Any:
    """Rows of similar length in one batch, in an order that seed and epoch decide: a resumed run has the same."""
    import torch
    from transformers.trainer_pt_utils import LengthGroupedSampler

    class ByLength(LengthGroupedSampler):
        def set_epoch(self, epoch: int) -> None:
            self.generator.manual_seed(arguments["seed"] + epoch)

    known = "length" in dataset.column_names
    lengths = list(dataset["length"]) if known else [len(ids) for ids in dataset["input_ids"]]
    size = arguments["per_device_train_batch_size"] * arguments["gradient_accumulation_steps"]
    return ByLength(size, lengths=lengths, generator=torch.Generator().manual_seed(arguments["seed"]))


def trl_trainer(model: Any, tokenizer: Any, data: Mapping[str, Any], way: Way, arguments: Mapping[str, Any]) -> Any:
    """TRL's SFTTrainer, with its own batches and its own loss, on the same tokens."""
    from trl import SFTConfig, SFTTrainer

    # the tokens are ours already: a length here would cut them again
    settings = SFTConfig(**arguments, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
    trainer = SFTTrainer(model=model, args=settings, processing_class=tokenizer, **data)
    collate = trainer.data_collator

    def counted(examples: list[Mapping[str, Any]]) -> dict[str, Any]:
        return {**collate(examples), "tokens": sum(len(example["input_ids"]) for example in examples)}

    trainer.data_collator = counted
    return trainer
