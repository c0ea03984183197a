"""The model, its loss, and the Trainer of sentence-transformers: opened, trained and saved as it has them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from nbtrain.errors import ModelError, ParamError
from nbtrain.models import adapters, faults, load
from nbtrain.models.saved import without_bars
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder, _loop
from nbtrain.trainers.sentence_transformers._rows import Form

Loss = Literal[
    "multiple_negatives",
    "cached_multiple_negatives",
    "softmax",
    "contrastive",
    "online_contrastive",
    "cosent",
    "cosine",
    "triplet",
]
LOSSES: Mapping[str, str] = {
    "multiple_negatives": "MultipleNegativesRankingLoss",
    "cached_multiple_negatives": "CachedMultipleNegativesRankingLoss",
    "softmax": "SoftmaxLoss",
    "contrastive": "ContrastiveLoss",
    "online_contrastive": "OnlineContrastiveLoss",
    "cosent": "CoSENTLoss",
    "cosine": "CosineSimilarityLoss",
    "triplet": "TripletLoss",
}
IN_BATCH = ("multiple_negatives", "cached_multiple_negatives")
"""Losses in which the other rows of a batch are what a row is told apart from."""
BY_METHOD: Mapping[str, tuple[str, ...]] = {
    "pair": IN_BATCH,
    "qa": IN_BATCH,
    "triplet": (*IN_BATCH, "triplet"),
    "pair_class": ("softmax", "contrastive", "online_contrastive"),
    "pair_score": ("cosent", "cosine"),
}
LARGE = 64  # rows of a batch; above, they are embedded in parts
SAME = 0.99  # cosine of what the saved and the trained model say; an adapter is merged, and numbers are rounded
_OWN = "trained.safetensors"  # what is trained and is no part of the folder of a model


def loss_name(params: Any, form: Form) -> str:
    """The loss by its name here: as asked, else the usual one.

    Raises:
        ParamError: it needs classes 0 and 1, and there are others.
    """
    if form.method == "pair_class":
        if params.loss in ("contrastive", "online_contrastive") and not form.same_or_not:
            what = f"--loss {params.loss} needs the classes 0 and 1; {form.columns['target']} has {form.labels}"
            raise ParamError(what, fix="leave --loss out: softmax takes any classes.")
        return params.loss or ("contrastive" if form.same_or_not else "softmax")
    usual, parted, *_ = BY_METHOD[form.method]
    return params.loss or (parted if usual in IN_BATCH and params.batch_size > LARGE else usual)


def opened(params: Any, place: str) -> Any:
    """A SentenceTransformer on its device; a body without pooling gets the mean of its tokens, an adapter is merged.

    Raises:
        ModelError: there is none, or it is pickled, or would run code of its own.
    """
    from peft import PeftModel

    here = load.device()
    wanted = load.precision(params, here)
    settings: dict[str, Any] = {"dtype": wanted.dtype}
    if params.quantization in adapters.QUANTISED:
        settings["quantization_config"] = adapters.quantisation(params.quantization, wanted.dtype)
    with faults.in_words(place, "model"), without_bars():
        model = _plain(place, params, here.kind, settings)
        if model.transformers_model is None:
            raise ModelError(f"{place} has no transformer.", fix="choose a model that transformers opens.")
        if base := load.adapter_base(place, token=params.token):
            body = _plain(base, params, here.kind, settings).transformers_model
            model[0].model = PeftModel.from_pretrained(body, place, token=params.token).merge_and_unload()
            model.requires_grad_(True)
    if model.tokenizer.pad_token is None:
        model.tokenizer.pad_token = model.tokenizer.eos_token
    model.max_seq_length = _encoder.longest(params, model.transformers_model.config, model.tokenizer)
    return model


def _plain(place: str, params: Any, device: str, settings: Mapping[str, Any]) -> Any:
    import logging

    from sentence_transformers import SentenceTransformer

    log = logging.getLogger("sentence_transformers")
    before = log.level
    log.setLevel(logging.ERROR)  # that a body is new to it is what is meant here
    try:
        return SentenceTransformer(
            place,
            device=device,
            model_kwargs={"use_safetensors": True, **settings},
            token=params.token,
            trust_remote_code=params.trust_remote_code,
        )
    finally:
        log.setLevel(before)


def loss_of(params: Any, model: Any, name: str, form: Form) -> Any:
    """The loss as a module; the model is a part of it."""
    from sentence_transformers.sentence_transformer import losses

    made = getattr(losses, LOSSES[name])
    if name == "softmax" and form.labels is not None:
        return made(model, embedding_dimension=model.get_embedding_dimension(), num_labels=len(form.labels.names))
    if name == "cached_multiple_negatives":
        return made(model, mini_batch_size=params.mini_batch_size)
    return made(model)


def trainer_of(params: Any, run: ActiveRun, model: Any, loss: Any, rows: Mapping[str, Any], *, apart: bool) -> Any:
    """The Trainer, and what is known at the start.

    Args:
        rows: split to rows as `_rows.tidy` gives them.
        apart: whether no text may stand twice in a batch: it would be told apart from itself.
    """
    import torch
    from sentence_transformers import SentenceTransformerTrainingArguments

    device = load.device()
    if device.note:
        run.warn(device.note)
    precision, counts = load.precision(params, device), load.parameter_counts(loss)
    held = rows.get("valid")
    arguments = _loop.arguments(
        params, run, rows=len(rows["train"]), device=device, precision=precision, evaluate=held is not None
    )
    trainer = _trainer_class(adapter=params.peft)(
        model=model,
        args=SentenceTransformerTrainingArguments(
            **arguments, batch_sampler="no_duplicates" if apart else "batch_sampler"
        ),
        train_dataset=rows["train"],
        eval_dataset=held,
        loss=loss,
    )
    trainer.add_callback(_between_steps(trainer))
    return trainer, {
        "model": params.model,
        **counts,
        "device": device.kind,
        "dtype": "bf16" if precision.bf16 else "fp16" if precision.fp16 else "fp32",
        "threads": torch.get_num_threads(),
        "rows": len(rows["train"]),
        "valid_rows": len(held) if held is not None else 0,
    }


def _between_steps(trainer: Any) -> Any:
    """What a run needs to go on exactly, and that neither accelerate nor sentence-transformers before 6 does."""
    from transformers import TrainerCallback

    class BetweenSteps(TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # accelerate does so too, but not where a run goes on in the middle of an epoch: behind the batches that it
            # leaves out it asks the sampler only, and batches without duplicates have none
            trainer._train_dataloader.batch_sampler.set_epoch(int(state.epoch + 1e-6))

        def on_step_end(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
            optimizer.zero_grad()  # the head of a loss is no part of the model, whose gradients alone are cleared

    return BetweenSteps()


def _trainer_class(*, adapter: bool) -> type:
    """SentenceTransformerTrainer; its checkpoints hold all that is trained: the head of a loss and an adapter, too."""
    import torch
    from safetensors.torch import load_file, save_file
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

    class Counted(SentenceTransformerDataCollator):  # type: ignore[misc]
        """Batches that say how many tokens they have."""

        def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super().__call__(features)
            masks = (value for name, value in batch.items() if name.endswith("_attention_mask"))
            return {**batch, "tokens": sum(int(mask.sum()) for mask in masks)}

    class Trainer(SentenceTransformerTrainer):  # type: ignore[misc]
        data_collator_class = Counted

        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """None: the run writes its own card."""

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            folder = output_dir or self.args.output_dir
            os.makedirs(folder, exist_ok=True)
            if not adapter:
                self.model.save_pretrained(folder, create_model_card=False)
            own = {name: weight.detach().cpu().contiguous() for name, weight in _own(self.loss, adapter).items()}
            save_file(own, os.path.join(folder, _OWN))

        def _load_from_checkpoint(self, checkpoint_path: str) -> None:
            if not adapter:
                super()._load_from_checkpoint(checkpoint_path)
            kept = load_file(os.path.join(checkpoint_path, _OWN))
            with torch.no_grad():
                for name, weight in _own(self.loss, adapter).items():
                    weight.copy_(kept[name])

        def _load_best_model(self) -> None:
            # theirs logs what goes wrong, and ends with the last weights
            self._load_from_checkpoint(self.state.best_model_checkpoint)

    return Trainer


def _own(loss: Any, adapter: bool) -> dict[str, Any]:
    """The weights that are trained and that the folder of a model has no place for, by name."""
    return {
        name: weight
        for name, weight in loss.named_parameters()
        if weight.requires_grad and (adapter or not name.startswith("model."))
    }


def save(params: Any, model: Any, adapted: Any, path: Path, place: str) -> None:
    """Write the model to the folder `path`, which is there whole or as it was before.

    Args:
        adapted: the body as peft has it, None without an adapter; merging uses it up.
        place: of the base, which is opened anew, in full, where it was quantised.
    """
    from peft import PeftModel

    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if adapted is not None and params.merge_adapter:
        adapter = path.parent / "adapter"
        adapted.save_pretrained(adapter)
        if params.quantization in adapters.QUANTISED:
            model = opened(params.but(quantization=None), place)
            adapted = PeftModel.from_pretrained(model.transformers_model, adapter)
        adapted.merge_and_unload()
    elif adapted is not None:
        model[0].model = adapted  # of this, only the adapter is written
    model.save_pretrained(str(partial), create_model_card=False)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)


def saved(params: Any, path: str, device: str = "cpu") -> Any:
    """The saved model in evaluation mode, as sentence-transformers opens it.

    Raises:
        ModelError: it cannot be opened.
    """
    place = load.resolve(path)
    with faults.in_words(place, "model"), without_bars():
        return _plain(place, params, device, {}).eval()


def verify(params: Any, path: Path, texts: list[str], expected: Any) -> None:
    """Open what was saved, and see that it says the same. expected: (texts, dimensions).

    Raises:
        ModelError: it cannot be opened, or says something else than the trained model.
    """
    import numpy

    found = saved(params, str(path)).encode(texts, show_progress_bar=False)
    if not numpy.isfinite(found).all():
        raise ModelError(f"{path}: the saved model gives no numbers.", fix="lower --lr and train again.")
    sizes = numpy.linalg.norm(found, axis=1) * numpy.linalg.norm(expected, axis=1)
    if ((found * expected).sum(1) < SAME * sizes).any():
        raise ModelError(f"{path}: the saved model says something else than the trained one.")
