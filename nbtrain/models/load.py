"""Models, opened with the dtype and device that we decide, ready to be trained: the door to nbtrain.models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbtrain.models import unsloth
from nbtrain.models.adapters import QUANTISED, quantisation, with_adapter
from nbtrain.models.device import Device, Precision, device, precision
from nbtrain.models.headed import headed_model, saved_headed
from nbtrain.models.pretrained import TINY, adapter_base, open_config, open_tokenizer, open_whole, resolve, size
from nbtrain.models.saved import save, saved_model, saved_tokenizer, verify

__all__ = [
    "TINY",
    "Device",
    "Precision",
    "causal_model",
    "device",
    "frozen_model",
    "headed_model",
    "open_config",
    "parameter_counts",
    "precision",
    "resolve",
    "save",
    "saved_headed",
    "saved_model",
    "saved_tokenizer",
    "tokenizer",
    "verify",
]

Tell = Callable[[str], None]


def _to_nobody(message: str) -> None:
    """For callers that do not show notices."""


def tokenizer(params: Any, *, tell: Tell = _to_nobody) -> Any:
    """The model's tokenizer, with a token for padding.

    Args:
        params: reads model, token, trust_remote_code.
        tell: takes a sentence for the user.

    Raises:
        ModelError: the model is not there, has no tokenizer, or would run code of its own.
    """
    opened = open_tokenizer(params.model, token=params.token, trust_remote_code=params.trust_remote_code)
    if opened.pad_token is None:
        opened.pad_token = opened.eos_token
        tell(f"{params.model} has no token for padding: {opened.eos_token} is used; where it pads, it is not trained.")
    return opened


def causal_model(params: Any, *, tell: Tell = _to_nobody) -> Any:
    """The model on its device, generation cache off; quantised and with an adapter where the parameters ask for it.

    Args:
        params: reads model, token, trust_remote_code, mixed_precision, peft, quantization, lora_*, target_modules.
        tell: takes a sentence for the user.

    Raises:
        ModelError: the model is not there, is no causal language model, is pickled, or would run code of its own.
        MissingExtra: bitsandbytes is needed and not installed.
    """
    if unsloth.asked_for(params):
        return unsloth.causal_model(params, params.model)
    model = _opened(params, params.model, tell)
    return with_adapter(model, params) if params.peft else model


def frozen_model(params: Any, name: str, *, tell: Tell = _to_nobody) -> Any:
    """Another causal language model, opened as `params` opens theirs, to be asked and not trained.

    Raises:
        ModelError: as `causal_model`.
    """
    return _opened(params, name, tell).requires_grad_(False).eval()


def _opened(params: Any, name: str, tell: Tell) -> Any:
    here, place = device(), resolve(name)
    hub = {"token": params.token, "trust_remote_code": params.trust_remote_code}
    # only a GPU may be too small for weights in float32, and counting those of a large model takes a second
    wanted = precision(params, here, size=size(place, **hub)[0] if here.kind == "cuda" else None)
    placed: dict[str, Any] = {"device_map": {"": 0 if here.kind == "cuda" else here.kind}}
    if params.quantization in QUANTISED:
        placed["quantization_config"] = quantisation(params.quantization, wanted.dtype)
    model = open_whole(place, dtype=wanted.dtype, **hub, **placed)
    if base := adapter_base(place, token=params.token):
        if params.quantization not in QUANTISED:
            model.requires_grad_(True)  # peft froze it
        tell(f"{name} is an adapter: it was merged into its base, {base}, before training.")
    model.config.use_cache = False
    return model


def parameter_counts(model: Any) -> dict[str, int]:
    """`parameters` and `trainable`, in numbers; a weight in 4 bits counts as one."""
    total = trainable = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)  # 4-bit weights are packed: their own shape is not the layer's
        count = (state.shape if state else parameter.shape).numel()
        total += count
        trainable += count if parameter.requires_grad else 0
    return {"parameters": total, "trainable": trainable}
