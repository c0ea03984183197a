"""What a model gets right on held-out rows, as means over all trained tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._samples import undisturbed
from nbtrain.trainers.llm import _custom, _distillation, _flat

LARGEST = 700  # beyond, an exponential is no float

Measure = Callable[[Any], Mapping[str, Any]]
"""A batch to means over its trained tokens: loss; cross_entropy, where that is what the loss is; what else there is."""


def means(
    batches: Iterable[dict[str, Any]], measure: Measure, stopped: Callable[[], bool] = lambda: False
) -> dict[str, float]:
    """The values that `measure` gives, over all trained tokens, and the perplexity.

    A mean of the batches' means would let a short answer count for more the fewer stand beside it, and its exponential
    would be no perplexity.

    Args:
        stopped: asked after each batch; True ends it early.
    """
    totals, count = Counter[str](), 0
    for batch in batches:
        batch.pop("tokens", None)
        tokens = trained(batch)
        if tokens:
            totals.update({name: float(mean) * tokens for name, mean in measure(batch).items()})
            count += tokens
        if stopped():
            break
    found = {name: total / count for name, total in totals.items()} or {"loss": math.nan, "cross_entropy": math.nan}
    entropy = found.pop("cross_entropy", None)
    if entropy is not None:
        found["perplexity"] = math.exp(entropy) if entropy < LARGEST else math.inf
    return found


def batches(rows: Any, size: int, collate: Callable[..., dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows, `size` at a time, as batches."""
    for at in range(0, len(rows), size):
        yield collate([rows[number] for number in range(at, min(at + size, len(rows)))])


def loss(model: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The model's own loss of a batch; see `Measure`."""
    found = model(**placed(batch, device_of(model))).loss
    return {"loss": found, "cross_entropy": found}


def placed(batch: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """The batch on the device; what is no tensor stays as it is."""
    return {name: item.to(device) if hasattr(item, "to") else item for name, item in batch.items()}


def device_of(model: Any) -> Any:
    """Where the weights are; a module that is not of transformers does not say it itself."""
    return next(model.parameters()).device


def trained(batch: Mapping[str, Any]) -> int:
    """Tokens of a batch that have a loss."""
    labels = batch["shift_labels"] if "shift_labels" in batch else batch["labels"][:, 1:]
    return int((labels != _flat.IGNORED).sum())


class Guesses:
    """The likeliest token in the place of each trained one, gathered for --custom-metrics.

    Args:
        model: is asked once more for each batch.
    """

    def __init__(self, model: Any, measure: Measure) -> None:
        self._model, self._measure = model, measure
        self._guessed: list[Any] = []
        self._wanted: list[Any] = []

    def __call__(self, batch: Any) -> Mapping[str, Any]:
        """As `Measure`; the guesses are kept."""
        found = self._measure(batch)
        logits, targets = _distillation.trained_logits(self._model, placed(batch, device_of(self._model)))
        self._guessed.append(logits.argmax(-1).cpu())
        self._wanted.append(targets.cpu())
        return found

    def values(self, metrics: Callable[..., Mapping[str, float]]) -> Mapping[str, float]:
        """What `metrics` makes of all guesses since the last time."""
        from torch import cat

        if not self._guessed:
            return {}
        guessed, wanted = (cat(parts).numpy() for parts in (self._guessed, self._wanted))
        self._guessed, self._wanted = [], []
        return metrics(guessed, wanted)


def measured(
    params: Any, model: Any, measure: Measure, batches: Iterable[Any], stopped: Callable[[], bool] = lambda: False
) -> dict[str, float]:
    """`means`, and what --custom-metrics adds."""
    metrics = _custom.metrics(params)
    if metrics is None:
        return means(batches, measure, stopped)
    guesses = Guesses(model, measure)
    found = means(batches, guesses, stopped)
    return found | dict(guesses.values(metrics))


def by_trainer(trainer: Any, batch: Any) -> dict[str, Any]:
    """The loss of a batch as transformers' Trainer counts it; see `Measure`."""
    loss = trainer.compute_loss(trainer.model, batch)
    # a loss of the user's own has no perplexity
    return {"loss": loss} if trainer.compute_loss_func else {"loss": loss, "cross_entropy": loss}


def evaluation_loop(  # noqa: PLR0913  transformers calls it so
    trainer: Any,
    params: Any,
    run: ActiveRun,
    measure: Measure,
    dataloader: Any,
    description: str,
    *_: Any,
    metric_key_prefix: str = "eval",
    **__: Any,
) -> Any:
    """transformers' evaluation loop, with the mean over all trained tokens."""
    from transformers.trainer_utils import EvalLoopOutput

    with undisturbed(trainer.model):
        metrics = measured(params, trainer.model, measure, dataloader, run.stop_agreed)
    named = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
    return EvalLoopOutput(predictions=None, label_ids=None, metrics=named, num_samples=len(dataloader.dataset))
