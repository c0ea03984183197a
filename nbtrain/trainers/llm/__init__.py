"""Language models: trained on text, chats, preferences or rewards, or by a teacher; and models that reward.

Data: text; messages; prompt and response; alpaca or sharegpt columns; prompt, chosen and rejected; prompts alone
Result: a causal language model; of reward a sequence classifier
Extra: nbtrain[llm]
Source: Ouyang et al. 2022, arXiv:2203.02155 (sft, reward); Hu et al. 2021, arXiv:2106.09685 (LoRA); Rafailov et al.
    2023, arXiv:2305.18290 (dpo); Hong et al. 2024, arXiv:2403.07691 (orpo); Schulman et al. 2017, arXiv:1707.06347
    (ppo); Shao et al. 2024, arXiv:2402.03300 (grpo); Hinton et al. 2015, arXiv:1503.02531 (distillation)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, model_validator

from nbtrain.evaluate.examples import Examples
from nbtrain.models import unsloth
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Samples
from nbtrain.params.usual import again
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers.llm import (
    _custom,
    _distillation,
    _evaluation,
    _preferences,
    _reinforced,
    _streaming,
    _together,
    default,
    dpo,
    grpo,
    orpo,
    ppo,
    reward,
    sft,
)

METHODS: dict[str, ModuleType] = {
    "default": default,
    "generic": default,
    "sft": sft,
    "dpo": dpo,
    "orpo": orpo,
    "reward": reward,
    "ppo": ppo,
    "grpo": grpo,
}
"""Each method is a module with the functions that a room has: train, check, opened, predict, usage."""
CHATS = tuple(name for name in METHODS if name not in ("default", "generic"))
"""The methods that read chats, written by a template."""
TEXTS = ("default", "generic", "sft")
"""The methods that learn whole texts, not pairs or answers of their own."""
WRITERS = tuple(name for name in METHODS if name != "reward")
"""The methods whose model writes; that of reward only judges."""


def _only(value: Any) -> Any:
    """AutoTrain writes block_size as a list, too; these methods have one length."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


class Language(BaseModel):
    """What every method reads."""

    trainer: Literal["default", "generic", "sft", "dpo", "orpo", "reward", "ppo", "grpo", "distillation"] = option(
        "default",
        "default (also generic): the next token of any text; sft: answers to prompts; dpo, orpo: the better of two "
        "answers; reward: a score for answers; ppo, grpo: what a reward likes; distillation: sft with a teacher",
        group="Basic",
        essential=True,
    )
    backend: Literal["auto", "trl", "hf", "native", "unsloth"] = option(
        "auto",
        "auto: flat rows where they give the padded batch's loss; trl: TRL's SFTTrainer; hf: padded batches; native: a "
        "loop of our own, short enough to read; unsloth: its kernels, on a GPU",
        group="Training",
    )
    text_column: str = option("text", "column of plain text; of pairs, that of the chosen answer", group="Data")
    chat_template: str | None = option(
        None,
        "how a chat is written: a name (chatml, llama-3, alpaca ...), or Jinja; none: the tokenizer's own, else chatml",
        group="Data",
        only=CHATS,
    )
    block_size: Annotated[int, BeforeValidator(_only)] = option(
        1024, "longest piece of text that is trained on", group="Data", unit="tokens", ge=8
    )
    model_max_length: int = option(2048, "no row is longer, whatever else says", group="Data", unit="tokens", ge=8)
    padding: Literal["right", "left"] = option(
        "right", "side on which shorter rows are filled, where batches are padded", group="Data", only=TEXTS
    )
    add_eos_token: bool = option(True, "end each plain text with the model's end token", group="Data", only=TEXTS)
    packing: bool | None = option(
        None,
        "default: join texts into full blocks (none: yes); sft: put chats into one row, apart in attention (none: no)",
        group="Data",
        only=TEXTS,
    )
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] | None = option(
        None, "attention of padded batches; none: the model's best, and flat rows", group="Model"
    )
    use_flash_attention_2: bool = option(False, "the same as --attn-implementation flash_attention_2", group="Model")

    @model_validator(mode="after")
    def _one_attention(self) -> Self:
        if self.use_flash_attention_2 and self.attn_implementation not in (None, "flash_attention_2"):
            raise ValueError(
                f"--use-flash-attention-2 and --attn-implementation {self.attn_implementation} exclude each other"
            )
        return self


class Written(BaseModel):
    """What the samples are, where the model writes any."""

    sample_prompts: str | list[str] | None = again(Samples, "sample_prompts", only=WRITERS)
    sample_max_new_tokens: int = again(Samples, "sample_max_new_tokens", only=WRITERS)
    sample_temperature: float = again(Samples, "sample_temperature", only=WRITERS)
    sample_top_k: int = again(Samples, "sample_top_k", only=WRITERS)
    sample_top_p: float = again(Samples, "sample_top_p", only=WRITERS)


class LLMTrainingParams(
    Language,
    Written,
    sft.SFT,
    _custom.Custom,
    _distillation.Distillation,
    _preferences.Pairs,
    dpo.DPO,
    orpo.ORPO,
    reward.Reward,
    _reinforced.Reinforced,
    ppo.PPO,
    grpo.GRPO,
    _together.Together,
    Basic,
    Data,
    _streaming.Streamed,
    Model,
    Optim,
    Precision,
    Peft,
    Checkpoints,
    Evaluation,
    Samples,
    Base,
):
    """Parameters of `llm`."""

    @classmethod
    def understood(cls, given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Distillation is a method by name, and sft with a teacher by its fields."""
        return _distillation.understood(given)

    @classmethod
    def method_of(cls, values: Mapping[str, Any]) -> str:
        """The method that reads the fields."""
        method = super().method_of(values)
        return "sft" if method == "distillation" else method


Params = LLMTrainingParams
PIPELINE = dict.fromkeys(METHODS, "text-generation") | {"reward": "text-classification"}


def _method(params: Any) -> ModuleType:
    return METHODS[params.trainer]


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train by the method that `params.trainer` names.

    Returns:
        The last evaluation's values on held-out rows, and the totals.
    """
    if unsloth.asked_for(params):
        unsloth.probed()  # before the data is read: it may not be here
    return _method(params).train(params, run)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read into `cache` and judged by the method's rules, for a screen."""
    return _method(params).check(params, cache)


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved model and its tokenizer."""
    return _method(params).opened(params, path)


def evaluate(params: Any, path: str, data: Any = None) -> dict[str, float] | None:
    """Loss and perplexity of the saved model; None by a method that measures while it trains only.

    Args:
        data: what data_path takes; None: the rows that the run held out.
    """
    method = _method(params)
    return method.evaluate(params, path, data) if hasattr(method, "evaluate") else None


def says(params: Any) -> str:
    """The kind of what its models say."""
    kinds = {"sft": "texts", "default": "texts", "reward": "pairs"}
    return kinds.get(params.method, "replies")


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    method = _method(params)
    if hasattr(method, "examples"):
        return method.examples(params, data, cache)  # type: ignore[no-any-return]
    return _evaluation.examples(params, data, cache, predict)


def predict(params: Any, model: Any, tokenizer: Any, rows: Sequence[Any], **settings: Any) -> list[Any]:
    """What the model writes after each row.

    Args:
        rows: prompts (str), or chats (lists of messages) for a model trained on chats.
        settings: max_new_tokens, temperature, top_k, top_p, seed; where not given, as the samples were taken.
    """
    return _method(params).predict(params, model, tokenizer, rows, **settings)


def cannot_write(params: Any) -> str:
    """Why the trained model writes no text, '' where it does."""
    return getattr(_method(params), "CANNOT_WRITE", "")


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the saved model, and how, for the card."""
    return _method(params).usage(params, path)
