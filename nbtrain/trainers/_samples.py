"""What a language model writes while it trains, taken so that the training goes on as if nothing had been asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Prompt:
    """One thing to ask. text: as shown. ids: tokens the model goes on from. expected: what the data says, or ''."""

    text: str
    ids: tuple[int, ...]
    expected: str = ""


@dataclass(frozen=True)
class Manner:
    """How is written. longest: tokens. temperature: 0 for the likeliest token. top_k: 0 for all. seed: of the draws."""

    longest: int
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    seed: int = 42

    @classmethod
    def of(cls, params: Any) -> Manner:
        """The manner that the sample_* parameters ask for."""
        drawn = (params.sample_temperature, params.sample_top_k, params.sample_top_p)
        return cls(params.sample_max_new_tokens, *drawn, seed=params.seed)


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients inside; outside, the mode and every random state are as they were."""
    import numpy
    import torch

    mode, python, arrays = model.training, random.getstate(), numpy.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    model.eval()
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            yield
    finally:
        model.train(mode)
        random.setstate(python)
        numpy.random.set_state(arrays)


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    manner: Manner,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> list[str]:
    """What `model` writes after each prompt; the same for the same weights and seed.

    Args:
        stopped: asked before each token; True ends the writing early.
    """
    import torch
    from transformers import GenerationConfig

    longest = max(len(prompt.ids) for prompt in prompts)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    device = next(model.parameters()).device
    # padded on the left by hand: the tokenizer's own side may be part of the run
    ids = torch.tensor([[pad] * (longest - len(prompt.ids)) + list(prompt.ids) for prompt in prompts], device=device)
    mask = torch.tensor(
        [[0] * (longest - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts], device=device
    )
    drawn = (
        {"temperature": manner.temperature, "top_k": manner.top_k, "top_p": manner.top_p}
        if manner.temperature > 0
        else {}
    )
    settings = GenerationConfig(
        max_new_tokens=manner.longest,
        do_sample=bool(drawn),
        use_cache=True,
        pad_token_id=pad,
        eos_token_id=_ends(model, tokenizer),
        **drawn,
    )
    with undisturbed(model):
        torch.manual_seed(manner.seed)
        written = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            stopping_criteria=[lambda *_: _all(ids, stopped())],
        )
    return tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)


def _all(ids: Any, stopped: bool) -> Any:
    import torch

    return torch.full((len(ids),), stopped, device=ids.device)


def _ends(model: Any, tokenizer: Any) -> list[int] | None:
    """The tokens that end an answer: the tokenizer's and the model's own."""
    own = getattr(model.generation_config, "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
    return sorted(ends) or None
