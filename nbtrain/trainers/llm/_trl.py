"""TRL's Trainers for pairs: made, fed with our tokens, and asked what they measure. No other module knows how.

TRL tokenises the rows that a Trainer is made with, and only those. So each is made with one row of text, and gets its
tokens afterwards: cut, counted and told by us.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nbtrain.errors import MissingExtra
from nbtrain.trainers.llm._language import Tokens

# what TRL measures as a mean over pairs; the rest are means over tokens, which pairs do not weigh rightly
_OF_PAIRS = ("rewards/", "logps/", "nll_loss", "log_odds_")


def dpo(  # noqa: PLR0913  what a Trainer is made of
    model: Any, reference: Any, tokenizer: Any, tokens: Tokens, arguments: Mapping[str, Any], **settings: Any
) -> Any:
    """TRL's DPOTrainer.

    Args:
        reference: the frozen model; None: `model` without its adapter.
        settings: of DPOConfig.
    """
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(**arguments, **settings, max_length=None, disable_dropout=False)
    without_dropout(model)
    with _adapters_as_they_are(model):
        trainer = DPOTrainer(model, reference, config, processing_class=tokenizer, **_one_row(tokens))
    if reference is None:
        model.delete_adapter("ref")  # a copy of a new adapter, which changes nothing: to switch it off is cheaper
    return _fed(trainer, tokens, trainer.data_collator)


def orpo(
    model: Any, reference: Any, tokenizer: Any, tokens: Tokens, arguments: Mapping[str, Any], **settings: Any
) -> Any:
    """TRL's ORPOTrainer; its loss knows no reference.

    Raises:
        MissingExtra: this TRL has it no longer.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # a warning that nothing can be done about
    try:
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer
    except ImportError as error:
        raise MissingExtra(
            "ORPO is experimental in TRL, and the one installed does not have it",
            why=str(error),
            fix="pip install 'trl<2'",
        ) from None
    config = ORPOConfig(**arguments, **settings, disable_dropout=False)
    without_dropout(model)
    trainer = ORPOTrainer(model, config, processing_class=tokenizer, **_one_row(tokens))
    collate = trainer.data_collator
    return _fed(trainer, tokens, lambda examples: collate([_sides(example) for example in examples]))


def _sides(example: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """A pair as ORPOTrainer's collator takes it."""
    found = {}
    for side in ("chosen", "rejected"):
        prompt, answer = example["prompt_ids"], example[f"{side}_ids"]
        found[f"{side}_input_ids"] = prompt + answer
        found[f"{side}_attention_mask"] = [1] * (len(prompt) + len(answer))
        found[f"{side}_labels"] = [-100] * len(prompt) + answer
    return found


def _one_row(tokens: Tokens) -> dict[str, Any]:
    from datasets import Dataset

    row = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
    return {"train_dataset": row, "eval_dataset": row if tokens.valid is not None else None}


def _fed(trainer: Any, tokens: Tokens, collate: Callable[..., dict[str, Any]]) -> Any:
    def counted(examples: list[Mapping[str, Any]]) -> dict[str, Any]:
        count = sum(2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in examples)
        return {**collate(examples), "tokens": count}

    trainer.train_dataset, trainer.eval_dataset, trainer.data_collator = tokens.train, tokens.valid, counted
    trainer.create_model_card = lambda **_: None  # a run has a card of its own
    return trainer


def without_dropout(model: Any) -> None:
    """No chance in what the two sides of a pair are compared by; that of an adapter stays as it was asked for."""
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" not in name:
            module.p = 0.0


@contextmanager
def _adapters_as_they_are(model: Any) -> Iterator[None]:
    """TRL rounds the adapter of a quantised model to bfloat16, in which small steps come to nothing."""
    before = {name: weight.data for name, weight in model.named_parameters() if weight.requires_grad}
    yield
    for name, weight in model.named_parameters():
        if name in before:
            weight.data = before[name]


def measured(trainer: Any, batch: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """(pairs, the means over them) of a held-out batch, the model in evaluation mode."""
    pairs = len(batch["chosen_input_ids"]) if "chosen_input_ids" in batch else len(batch["input_ids"]) // 2
    loss, *_ = trainer.prediction_step(trainer.model, batch, prediction_loss_only=True)
    kept = trainer._stored_metrics if hasattr(trainer, "_stored_metrics") else trainer._metrics
    found = {name.removeprefix("eval_"): values[-1] for name, values in kept["eval"].items()}
    kept["eval"].clear()
    return pairs, {"loss": float(loss)} | {name: value for name, value in found.items() if name.startswith(_OF_PAIRS)}


def mean_log_probabilities(trainer: Any, model: Any, batch: Mapping[str, Any]) -> tuple[float, float]:
    """Of `model`, for ORPOTrainer's batch: (chosen, rejected), each the mean over pairs of the mean over tokens."""
    chosen, rejected, *_ = trainer.concatenated_forward(model, trainer._prepare_inputs(batch))
    return float(chosen.mean()), float(rejected.mean())
