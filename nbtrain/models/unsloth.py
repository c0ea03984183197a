"""A causal language model through Unsloth, whose kernels train an adapter in less memory; on a GPU only.

Source: Unsloth's FastLanguageModel, https://docs.unsloth.ai
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from nbtrain.errors import MissingExtra, ModelError
from nbtrain.models.device import device
from nbtrain.models.pretrained import resolve

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""What Unsloth's kernels know; its word for all-linear."""


def asked_for(params: Any) -> bool:
    """Whether the parameters ask for Unsloth; rooms of other kinds have no such field."""
    return bool(getattr(params, "unsloth", False)) or getattr(params, "backend", "") == "unsloth"


def probed() -> Any:
    """Unsloth's FastLanguageModel.

    Raises:
        ModelError: there is no GPU that it runs on. MissingExtra: it is not installed, or does not load here.
    """
    kind = device().kind
    if kind != "cuda":
        what = f"--backend unsloth needs a GPU with CUDA; this machine has {'none' if kind == 'cpu' else kind}"
        raise ModelError(what, fix="leave --backend out: auto trains here, and gives the same loss.")
    if importlib.util.find_spec("unsloth") is None:
        raise MissingExtra("--backend unsloth needs unsloth, which is not installed", fix="pip install unsloth")
    try:
        return importlib.import_module("unsloth").FastLanguageModel
    except Exception as error:
        # it patches what is installed while it is imported, and raises whatever does not fit
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        fix = "install the versions that it asks for, or leave --backend out"
        raise MissingExtra("unsloth does not load with the versions installed here", why=why, fix=fix) from error


def causal_model(params: Any, name: str) -> Any:
    """The model, quantised where the parameters ask for it; with an adapter if `peft` is on.

    Args:
        params: reads model_max_length, block_size, mixed_precision, token, trust_remote_code, seed, peft, quantization,
            lora_*, target_modules, disable_gradient_checkpointing.
    """
    import torch

    fast = probed()
    number = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "none": torch.float32}
    longest = min(params.model_max_length, getattr(params, "max_seq_length", None) or params.block_size)
    model, _ = fast.from_pretrained(
        model_name=resolve(name),
        max_seq_length=longest,
        dtype=number.get(params.mixed_precision),
        load_in_4bit=params.quantization == "int4",
        load_in_8bit=params.quantization == "int8",
        full_finetuning=not params.peft,
        token=params.token,
        trust_remote_code=params.trust_remote_code,
    )
    model.config.use_cache = False
    if not params.peft:
        return model
    layers = LAYERS if params.target_modules in (None, "all-linear") else params.target_modules.split(",")
    return fast.get_peft_model(
        model,
        r=params.lora_r,
        target_modules=[layer.strip() for layer in layers],
        lora_alpha=params.lora_alpha,
        lora_dropout=params.lora_dropout,
        bias="none",
        use_gradient_checkpointing=False if params.disable_gradient_checkpointing else "unsloth",
        random_state=params.seed,
        max_seq_length=longest,
    )
