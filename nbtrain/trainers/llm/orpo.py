"""Odds ratio preference optimisation: fine-tuning and preference in one loss, without a reference."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel

from nbtrain.params import option
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers.llm import _preferences, _reference, _trl
from nbtrain.trainers.llm._language import opened, usage
from nbtrain.trainers.llm._preferences import check
from nbtrain.trainers.llm.sft import predict

__all__ = ["ORPO", "check", "opened", "predict", "train", "usage"]


class ORPO(BaseModel):
    """What orpo alone reads."""

    orpo_alpha: float = option(
        1.0,
        "weight of the odds ratio beside the loss of the chosen answer (TRL calls it beta)",
        group="DPO/ORPO",
        searched="log",
        unit="scale",
        ge=0,
        only=("orpo",),
    )


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, with --model-ref the mean log-ratio to it, too.

    Source: Hong et al. 2024, arXiv:2403.07691, eq. 6 and 7.
    """
    make = partial(_trl.orpo, beta=params.orpo_alpha)
    return _preferences.fit(params, run, make, _log_ratio if params.model_ref else lambda *_: {})


def _log_ratio(trainer: Any, beside: Any, batch: Mapping[str, Any]) -> dict[str, float]:
    """How much likelier the model finds the answers than the reference does, a token, in natural logarithms."""
    own = _trl.mean_log_probabilities(trainer, trainer.model, batch)
    with _reference.as_reference(trainer.model, beside) as model:
        theirs = _trl.mean_log_probabilities(trainer, model, batch)
    return {f"log_ratio/{side}": a - b for side, a, b in zip(("chosen", "rejected"), own, theirs, strict=True)}
