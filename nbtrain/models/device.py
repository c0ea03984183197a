"""Where the numbers are and what they are: the device, the format of the weights, the format of the computation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from nbtrain.errors import ParamError

BYTES_TO_TRAIN = 16  # a weight in float32, its gradient, and AdamW's two moments
ROOM_FOR_WEIGHTS = 0.7  # share of a GPU's memory; the rest is for activations


@dataclass(frozen=True)
class Device:
    """The device of this process.

    kind: cpu, cuda or mps. dtype: the torch dtype it computes in best. note: a sentence for the user, or ''.
    """

    kind: str
    dtype: Any
    note: str = ""


@dataclass(frozen=True)
class Precision:
    """What a trainer is told. dtype: of the weights. bf16, fp16: whether the computation is cast to it (autocast)."""

    dtype: Any
    bf16: bool = False
    fp16: bool = False

    def autocast(self, kind: str) -> Any:
        """Inside, a device of this kind computes as it does in a training."""
        import torch

        half = torch.float16 if self.fp16 else torch.bfloat16
        return torch.autocast(kind, half, enabled=self.bf16 or self.fp16)


def device() -> Device:
    """The device to train on: the first visible GPU, Apple's, or the CPU."""
    import torch

    if torch.cuda.is_available():
        note = _choose_one_gpu()
        # by default torch also counts bf16 that is emulated (T4, P100), which is slower than float32
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Device("cuda", torch.bfloat16, note)
        slow = f"{torch.cuda.get_device_name()} has no bf16: it computes in fp16."
        return Device("cuda", torch.float16, f"{note} {slow}".strip())
    if torch.backends.mps.is_available():
        return Device("mps", torch.float32)
    return Device("cpu", torch.float32)


def _choose_one_gpu() -> str:
    """Hide all GPUs but the first from this process, unless a launcher gave it its own.

    With several in sight transformers splits each batch over them by threads, and TRL refuses to start.
    """
    import torch

    count = torch.cuda.device_count()
    if count == 1 or "LOCAL_RANK" in os.environ:
        return ""
    if not torch.cuda.is_initialized():  # later the list is fixed
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return (
        f"{count} GPUs are visible, one is used: {torch.cuda.get_device_name(0)}. --num-processes {count} uses them "
        "all, CUDA_VISIBLE_DEVICES chooses another."
    )


def precision(params: Any, device: Device, *, size: int | None = None) -> Precision:
    """Formats for these parameters on this device.

    Full fine-tuning keeps the weights in float32, because steps of a usual learning rate vanish in the 8 bits of a bf16
    weight; only where that does not fit into the GPU are they bf16. The frozen base of an adapter is in the format of
    the computation.

    Args:
        params: reads mixed_precision, peft.
        size: parameters of the model, where known.

    Raises:
        ParamError: the device cannot compute in the format asked for.
    """
    import torch

    asked = params.mixed_precision
    if asked is None:
        asked = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(device.dtype, "none")
    if asked in ("fp32", "none"):
        return Precision(torch.float32)
    if asked == "fp16" and device.kind == "cpu":
        raise ParamError(
            "--mixed-precision fp16 needs a GPU; this machine has none.",
            fix="leave it out (fp32), or use bf16, which a CPU can do.",
        )
    if asked == "bf16" and device.kind == "cuda" and device.dtype != torch.bfloat16:
        raise ParamError(
            f"--mixed-precision bf16 is not in this GPU ({torch.cuda.get_device_name()}).",
            fix="use fp16, or leave it out.",
        )
    half = torch.bfloat16 if asked == "bf16" else torch.float16
    weights = torch.float32
    if device.kind == "cuda" and (getattr(params, "peft", False) or (half is torch.bfloat16 and not _fits(size))):
        weights = half
    return Precision(weights, bf16=asked == "bf16", fp16=asked == "fp16")


def _fits(size: int | None) -> bool:
    import torch

    return size is None or size * BYTES_TO_TRAIN <= ROOM_FOR_WEIGHTS * torch.cuda.get_device_properties(0).total_memory
