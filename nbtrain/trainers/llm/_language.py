"""The way that every method of a language model goes: data, checks, tokens, model, path, training, the saved model.

The path is chosen by a rule (`--backend auto`):
1. flat rows (`_flat`) where the model lets its attention be chosen and a small flat batch gives the padded batch's logits and loss;
2. else padded batches of rows of similar length, and a notice that says why.
An attention that is asked for by name is used as it is, so it means 2, except flash_attention_2, which knows flat rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from nbtrain.data import chat, check, read
from nbtrain.errors import ParamError
from nbtrain.models import load
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _loop
from nbtrain.trainers._samples import Manner, Prompt, generate, undisturbed
from nbtrain.trainers.llm import _flat

SHOWN = 3  # prompts that are asked again and again
SAME = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 4e-3}  # a leak between documents is 0.1 or more


@dataclass(frozen=True)
class Tokens:
    """The data as it is trained. train, valid: datasets with input_ids and labels; valid None where nothing is held out."""

    train: Any
    valid: Any
    prompts: tuple[Prompt, ...]


@dataclass(frozen=True)
class Way:
    """How batches are made. told: for the user. flat: one row without padding. grouped: rows of similar length together."""

    told: str
    collate: Callable[..., dict[str, Any]]
    flat: bool = False
    grouped: bool = False


def train(params: Any, run: ActiveRun, method: Any) -> dict[str, float]:
    """Train a causal language model.

    Args:
        method: a module with `prepare(params, run, splits, form, tokenizer, longest) -> Tokens`.
    """
    import datasets
    from transformers import set_seed
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    set_seed(params.seed)
    tokens, tokenizer = _tokens(params, run, method)
    return fit(params, run, tokens, tokenizer)


def fit(params: Any, run: ActiveRun, tokens: Tokens, tokenizer: Any) -> dict[str, float]:
    """Train on tokens, save the model and see that it opens."""
    from transformers import set_seed

    run.stage("loading the model")
    set_seed(params.seed)  # what the data took must not change how an adapter begins
    model = load.causal_model(params, tell=run.warn)
    trainer, way, facts = _trainer(params, run, model, tokenizer, tokens)
    take = partial(_take, model, tokenizer, tokens.prompts, params, run) if tokens.prompts else None
    values = _loop.train(trainer, params, run, facts=facts, take=take)
    run.stage("saving the model")
    if way.flat:
        _flat.disable(model)
    load.save(model, tokenizer, run.folder.model, params)
    if not run.stopped:
        run.stage("opening the saved model")
        load.verify(run.folder.model)
    return values


def _trainer(
    params: Any, run: ActiveRun, model: Any, tokenizer: Any, tokens: Tokens
) -> tuple[Any, Way, dict[str, Any]]:
    """The Trainer, the way its batches are made, and what is known at the start."""
    run.stage("preparing")
    counts, device = load.parameter_counts(model), load.device()
    precision = load.precision(params, device, size=counts["parameters"])
    if device.note:
        run.warn(device.note)
    way = _way(params, run, model, tokenizer, precision)
    arguments = _loop.arguments(
        params, run, rows=len(tokens.train), device=device, precision=precision, evaluate=tokens.valid is not None
    )
    make = _trl_trainer if params.backend == "trl" else _plain_trainer
    trainer = make(model, tokenizer, tokens, way, arguments)
    trainer.evaluation_loop = partial(_mean_over_tokens, trainer, run)
    facts = {
        "model": params.model,
        **counts,
        "device": device.kind,
        "dtype": "bf16" if precision.bf16 else "fp16" if precision.fp16 else "fp32",
        "rows": len(tokens.train),
        "valid_rows": len(tokens.valid) if tokens.valid is not None else 0,
        "path": way.told,
    }
    return trainer, way, facts


def _tokens(params: Any, run: ActiveRun, method: Any) -> tuple[Tokens, Any]:
    """The data, judged and in tokens, before a model is loaded."""
    run.stage("reading the data")
    splits = read.read(params, run.folder.data)
    for notice in splits.notices:
        run.warn(notice)
    named = {"text": params.text_column} if "text_column" in params.given() else {}
    form = chat.recognise(splits.train, params.column_mapping, named)
    run.stage("checking the rows")
    splits, report = check.check(splits, form, on_bad_rows=params.on_bad_rows)
    run.warn("\n".join(report.lines()))
    tokenizer = load.tokenizer(params, tell=run.warn)
    run.stage("tokenising")
    return method.prepare(params, run, splits, form, tokenizer, _longest(params)), tokenizer


def _longest(params: Any) -> int:
    """Tokens of the longest row: no longer than any of the limits that were given, or than the model can place."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        load.resolve(params.model), token=params.token, trust_remote_code=params.trust_remote_code
    )
    asked = params.max_seq_length or params.block_size
    places = getattr(config.get_text_config(), "max_position_embeddings", None) or asked
    return int(min(asked, params.model_max_length, places))


def _way(params: Any, run: ActiveRun, model: Any, tokenizer: Any, precision: Any) -> Way:
    wide = partial(_flat.padded, pad=tokenizer.pad_token_id or 0, side=params.padding)
    asked = "flash_attention_2" if params.use_flash_attention_2 else params.attn_implementation
    if asked:
        _attend_by(model, asked)
    if params.backend != "auto":
        if params.packing and params.trainer == "sft":
            raise ParamError("--packing with sft needs flat rows", fix="leave --backend out")
        return Way(f"padded batches ({params.backend})", wide)
    if asked in ("eager", "sdpa"):
        why = f"--attn-implementation {asked} was asked for"
    else:
        why = _why_not_flat(model, asked, precision)
    if not why:
        return Way("flat rows, attention by document", _flat.rows, flat=True)
    if params.packing and params.trainer == "sft":
        raise ParamError("--packing with sft needs flat rows", why=why, fix="leave --packing out")
    run.warn(f"Batches are padded and rows of similar length stand together: {why}.")
    return Way("padded batches, grouped by length", wide, grouped=True)


def _attend_by(model: Any, implementation: str) -> None:
    try:
        _flat.bare(model).set_attn_implementation(implementation)
    except (ImportError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise ParamError(
            f"--attn-implementation {implementation} does not work with this model here", why=first, fix="leave it out"
        ) from None


def _why_not_flat(model: Any, asked: str | None, precision: Any) -> str:
    """'' where flat rows give what padded batches give; the model is then set to them."""
    import torch

    kind = next(model.parameters()).device.type
    half = torch.bfloat16 if precision.bf16 else torch.float16 if precision.fp16 else None
    try:
        if asked is None:
            _flat.enable(model)
        with torch.autocast(kind, half) if half else nullcontext():
            found = _flat.difference(model)
    except torch.OutOfMemoryError:
        raise
    except (_flat.CannotBeFlat, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        _flat.disable(model)
        return f"this model does not take flat rows ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    allowed = SAME[str(half or precision.dtype).removeprefix("torch.")]
    if found <= allowed:
        return ""
    _flat.disable(model)
    return f"flat rows differ from padded ones by {found:.1e} with this model (allowed: {allowed:.0e})"


def _plain_trainer(model: Any, tokenizer: Any, tokens: Tokens, way: Way, arguments: Mapping[str, Any]) -> Any:
    from transformers import Trainer, TrainingArguments

    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        data_collator=way.collate,
        train_dataset=tokens.train,
        eval_dataset=tokens.valid,
        processing_class=tokenizer,
    )
    if way.grouped:
        sampler = _by_length(tokens.train, arguments)
        trainer._get_train_sampler = lambda dataset=None: sampler
    return trainer


def _by_length(dataset: Any, arguments: Mapping[str, Any]) -> Any:
    """Rows of similar length in one batch, in an order that the seed and the epoch decide, so that a resumed run has the same."""
    import torch
    from transformers.trainer_pt_utils import LengthGroupedSampler

    class ByLength(LengthGroupedSampler):
        def set_epoch(self, epoch: int) -> None:
            self.generator.manual_seed(arguments["seed"] + epoch)

    lengths = dataset["length"] if "length" in dataset.column_names else [len(ids) for ids in dataset["input_ids"]]
    size = arguments["per_device_train_batch_size"] * arguments["gradient_accumulation_steps"]
    return ByLength(size, lengths=list(lengths), generator=torch.Generator().manual_seed(arguments["seed"]))


def _trl_trainer(model: Any, tokenizer: Any, tokens: Tokens, way: Way, arguments: Mapping[str, Any]) -> Any:
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model=model,
        # the tokens are ours already; a length here would cut them again
        args=SFTConfig(**arguments, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=tokens.train,
        eval_dataset=tokens.valid,
        processing_class=tokenizer,
    )
    collate = trainer.data_collator
    trainer.data_collator = lambda examples: {
        **collate(examples),
        "tokens": sum(len(example["input_ids"]) for example in examples),
    }
    return trainer


def _mean_over_tokens(
    trainer: Any, run: ActiveRun, dataloader: Any, description: str, *_: Any, metric_key_prefix: str = "eval", **__: Any
) -> Any:
    """transformers' evaluation loop, with the mean over all trained tokens: its own is the mean of the batches' means,
    in which a short answer counts for more the fewer stand beside it, and whose exponential is no perplexity.
    """
    import torch
    from transformers.trainer_utils import EvalLoopOutput

    total, count = torch.zeros((), dtype=torch.float64), 0
    with undisturbed(trainer.model):
        for batch in dataloader:
            batch.pop("tokens", None)
            labels = batch["shift_labels"] if "shift_labels" in batch else batch["labels"][:, 1:]
            trained = int((labels != _flat.IGNORED).sum())
            if trained:
                total += trainer.compute_loss(trainer.model, batch).double().cpu() * trained
                count += trained
            if "stop" in run.requests():
                break
    loss = float(total / count) if count else float("nan")
    # e**709 is the largest double
    metrics = {
        f"{metric_key_prefix}_loss": loss,
        f"{metric_key_prefix}_perplexity": float(torch.tensor(min(loss, 709.0)).exp()),
    }
    return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(trainer.eval_dataset))


def _take(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], params: Any, run: ActiveRun, step: int
) -> tuple[dict[str, str], ...]:
    """What the model writes after each prompt, beside what the data says."""
    with _flat.padded_attention(model):
        written = generate(model, tokenizer, prompts, Manner.of(params), stopped=lambda: "stop" in run.requests())
    return tuple(
        {"prompt": prompt.text, "output": output, **({"expected": prompt.expected} if prompt.expected else {})}
        for prompt, output in zip(prompts, written, strict=True)
    )


def predict(
    params: Any, model: Any, tokenizer: Any, rows: Sequence[Any], *, prompt: Callable[..., Prompt], **settings: Any
) -> list[str]:
    """What the model writes after each row; `prompt(params, tokenizer, row)` makes the tokens of one."""
    names = {
        "max_new_tokens": "longest",
        "temperature": "temperature",
        "top_k": "top_k",
        "top_p": "top_p",
        "seed": "seed",
    }
    unknown = set(settings) - set(names)
    if unknown:
        raise ParamError(f"predict has no setting {', '.join(sorted(unknown))}", fix=f"it has {', '.join(names)}")
    asked = {names[name]: value for name, value in settings.items()}
    own = Manner.of(params)
    manner = Manner(**({name: getattr(own, name) for name in names.values()} | asked))
    return generate(model, tokenizer, [prompt(params, tokenizer, row) for row in rows], manner) if rows else []
