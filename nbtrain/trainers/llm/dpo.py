"""Direct preference optimisation: the chosen answer gains on the rejected one, both measured from a reference."""

from __future__ import annotations

from functools import partial
from typing import Any

from pydantic import BaseModel

from nbtrain.params import option
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers.llm import _preferences, _trl
from nbtrain.trainers.llm._language import opened, usage
from nbtrain.trainers.llm._preferences import check
from nbtrain.trainers.llm.sft import predict

__all__ = ["DPO", "check", "opened", "predict", "train", "usage"]


class DPO(BaseModel):
    """What dpo alone reads."""

    dpo_beta: float = option(
        0.1,
        "how near the model stays to its reference: the higher, the nearer",
        group="DPO/ORPO",
        searched="log",
        unit="scale",
        gt=0,
        only=("dpo",),
    )


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values.

    The loss is the sigmoid loss of Rafailov et al. 2023 (arXiv:2305.18290, eq. 7); with --label-smoothing the robust
    one of Chowdhury et al. 2024 (arXiv:2403.00409), whose expectation the wrong labels do not change.
    """
    loss = "robust" if params.label_smoothing else "sigmoid"
    settings = {"beta": params.dpo_beta, "loss_type": [loss], "label_smoothing": params.label_smoothing}
    return _preferences.fit(params, run, partial(_trl.dpo, **settings))
