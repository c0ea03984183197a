"""How much of a device's arithmetic a training uses (MFU).

Source: Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, appendix B.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from nbtrain.models.load import Precision

PEAKS = {
    "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10G": 70e12, "T4": 65e12,
    "V100": 125e12, "RTX 4090": 165e12, "RTX 3090": 71e12,
}  # fmt: skip
"""Operations a second with 16-bit numbers, without sparsity, from the makers' data sheets; the longer name first."""
_SIDE = 1024  # of the matrices by whose product an unknown device is measured


class Meter:
    """The share of the device's operations a second that a model's own make up.

    Args:
        precision: in which is computed.
    """

    def __init__(self, model: Any, precision: Precision) -> None:
        import torch

        config = getattr(model, "config", None)
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        self._wide = getattr(config, "num_hidden_layers", 0) * getattr(config, "hidden_size", 0)
        every = sum(weight.numel() for weight in model.parameters())
        moved = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        self._weights = 4 * every + 2 * moved  # forward, and back through every layer; a gradient where one is kept
        half = torch.float16 if precision.fp16 else torch.bfloat16 if precision.bf16 else precision.dtype
        self._peak = _peak(next(model.parameters()).device, half)

    def read(self, batches: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, float]:
        """`mfu` of a step over these batches."""
        work = 0.0
        for batch in batches:
            positions = batch["input_ids"].numel()
            lengths = _lengths(batch)
            work += self._weights * positions + 12 * self._wide * sum(length * length for length in lengths)
        return {"mfu": work / max(seconds, 1e-9) / self._peak}


def _lengths(batch: Mapping[str, Any]) -> list[int]:
    """Positions that attend to each other, group by group."""
    if "bounds" in batch:
        return [end - start for start, end in zip(batch["bounds"][:-1], batch["bounds"][1:], strict=True)]
    return [batch["input_ids"].shape[1]] * batch["input_ids"].shape[0]


def _peak(device: Any, dtype: Any) -> float:
    """Operations a second of the device: of the table for its 16-bit numbers, else as measured."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    known = next((peak for part, peak in PEAKS.items() if part in name), None)
    if known is not None and dtype != torch.float32:
        return known
    ones = torch.ones(_SIDE, _SIDE, device=device, dtype=dtype)
    fastest = float("inf")
    for _ in range(3):
        began = time.monotonic()
        (ones @ ones).sum().item()  # waits for the device
        fastest = min(fastest, time.monotonic() - began)
    return 2 * _SIDE**3 / fastest
