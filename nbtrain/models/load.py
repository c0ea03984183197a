"""Language models: found, opened with the dtype and device we decide, given an adapter, saved, and opened again to see that they work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbtrain.errors import MissingExtra, ModelError
from nbtrain.models import faults
from nbtrain.models.device import Device, Precision, device, precision

__all__ = [
    "Device", "Precision", "causal_model", "device", "parameter_counts", "precision", "resolve", "save", "saved_model",
    "saved_tokenizer", "tokenizer", "verify",
]

TINY = Path(__file__).parent / "tiny" / "llm"
QUANTISED = ("int4", "int8")
Tell = Callable[[str], None]


def _silent(message: str) -> None:
    """Nobody to tell."""


def resolve(model: str) -> str:
    """Where `model` is: a folder, or a hub id as it stands.

    Args:
        model: `tiny` (built in), the folder of a run, a folder with a model or an adapter, or a hub id.

    Raises:
        ModelError: a path that is not there, or a folder without a model.
    """
    if model == "tiny":
        return str(TINY)
    path = Path(model).expanduser()
    if path.is_dir():
        return str(faults.folder_with_model(path))
    faults.refuse_missing_path(model, path)
    return model


def tokenizer(params: Any, *, tell: Tell = _silent) -> Any:
    """The model's tokenizer, with a token for padding.

    Args:
        params: reads model, token, trust_remote_code.
        tell: takes a sentence for the user.

    Raises:
        ModelError: the model is not there, has no tokenizer, or would run code of its own.
    """
    from transformers import AutoTokenizer

    place = resolve(params.model)
    with faults.in_words(params.model, "tokenizer"):
        opened = AutoTokenizer.from_pretrained(place, token=params.token, trust_remote_code=params.trust_remote_code)
    if opened.pad_token is None:
        opened.pad_token = opened.eos_token
        tell(f"{params.model} has no token for padding: {opened.eos_token} is used, and masked where it pads.")
    return opened


def causal_model(params: Any, *, tell: Tell = _silent) -> Any:
    """The model, on its device and ready to be trained: quantised and with an adapter where the parameters ask for it.

    Args:
        params: reads model, token, trust_remote_code, mixed_precision, peft, quantization, lora_*, target_modules.
        tell: takes a sentence for the user.

    Raises:
        ModelError: the model is not there, is no causal language model, has only pickled weights, or would run code of its own.
        MissingExtra: bitsandbytes or peft is needed and not installed.
    """
    place = resolve(params.model)
    adapter = (Path(place) / "adapter_config.json").is_file()
    here = device()
    base = _base_of(place) if adapter else place
    model = _open(params, base, here)
    if adapter:
        from peft import PeftModel

        with faults.in_words(params.model, "adapter"):
            model = PeftModel.from_pretrained(model, place).merge_and_unload()
        tell(f"{params.model} is an adapter: it was merged into its base, {base}, before training.")
    model.config.use_cache = False
    return _with_adapter(model, params) if params.peft else model


def _open(params: Any, place: str, here: Device) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    hub = {"token": params.token, "trust_remote_code": params.trust_remote_code}
    with faults.in_words(params.model, "model"):
        config = AutoConfig.from_pretrained(place, **hub)
        faults.refuse_other_models(config, params.model)
        wanted = precision(params, here, size=_size(config))
        placed = {"quantization_config": _quantisation(params, wanted, here)} if params.quantization in QUANTISED else {}
        # pickled weights can run code while they are read: safetensors cannot
        model = AutoModelForCausalLM.from_pretrained(place, config=config, dtype=wanted.dtype, use_safetensors=True, **placed, **hub)
    return model if placed else model.to(here.kind)


def _size(config: Any) -> int | None:
    """Parameters of the model that `config` describes; None where its code is not transformers' own."""
    import torch
    from transformers import AutoModelForCausalLM

    if getattr(config, "auto_map", None):
        return None
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())


def _quantisation(params: Any, wanted: Precision, here: Device) -> Any:
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise MissingExtra(f"--quantization {params.quantization} needs bitsandbytes, which is not installed.", fix="pip install bitsandbytes")
    if params.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=wanted.dtype
    )


def _with_adapter(model: Any, params: Any) -> Any:
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if params.quantization in QUANTISED:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    targets = params.target_modules or "all-linear"
    names = targets if targets == "all-linear" else [name.strip() for name in targets.split(",") if name.strip()]
    config = LoraConfig(
        r=params.lora_r, lora_alpha=params.lora_alpha, lora_dropout=params.lora_dropout, target_modules=names, task_type="CAUSAL_LM"
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise faults.no_such_layers(targets, model) from error


def parameter_counts(model: Any) -> dict[str, int]:
    """`parameters` and `trainable`, in numbers; a weight in 4 bits counts as one."""
    total = trainable = 0
    for parameter in model.parameters():
        shape = getattr(getattr(parameter, "quant_state", None), "shape", None) or parameter.shape  # 4-bit weights are packed
        total += shape.numel()
        trainable += shape.numel() if parameter.requires_grad else 0
    return {"parameters": total, "trainable": trainable}


def save(model: Any, tokenizer: Any, path: str | os.PathLike[str], params: Any) -> None:
    """Write the model to the folder `path`, which is there whole or not at all.

    With `peft` and `merge_adapter` the model is merged and the adapter stands beside it, in `adapter/`; the adapter of a quantised
    base is merged into the base in full precision. Without `merge_adapter` the folder holds the adapter, which names its base.
    Merging uses up `model`: after it, its adapter is part of its weights.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if params.peft and params.merge_adapter:
        adapter = path.parent / "adapter"
        model.save_pretrained(adapter)
        model = _merged(model, adapter, params)
    model.config.use_cache = True
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)


def _merged(model: Any, adapter: Path, params: Any) -> Any:
    import torch
    from peft import PeftModel

    if params.quantization not in QUANTISED:
        return model.merge_and_unload()
    full = params.but(quantization=None, peft=False, mixed_precision="fp32")
    base = _open(full, resolve(params.model), Device("cpu", torch.float32))
    return PeftModel.from_pretrained(base, adapter).merge_and_unload()


def _base_of(place: str) -> str:
    from peft import PeftConfig

    return str(PeftConfig.from_pretrained(place).base_model_name_or_path)


def saved_model(path: str | os.PathLike[str]) -> Any:
    """A saved model or adapter, on the CPU, as plain transformers and peft open it."""
    from transformers import AutoModelForCausalLM

    place = resolve(os.fspath(path))
    with faults.in_words(place, "model"):
        return AutoModelForCausalLM.from_pretrained(place, dtype="auto", use_safetensors=True).eval()


def saved_tokenizer(path: str | os.PathLike[str]) -> Any:
    """The tokenizer of a saved model."""
    from transformers import AutoTokenizer

    place = resolve(os.fspath(path))
    with faults.in_words(place, "tokenizer"):
        return AutoTokenizer.from_pretrained(place)


def verify(path: str | os.PathLike[str], prompt: str = "The") -> str:
    """Open what was saved and let it write five tokens.

    Returns:
        A sentence for the user.

    Raises:
        ModelError: it cannot be opened, or its logits are not numbers.
    """
    import torch

    model, words = saved_model(path), saved_tokenizer(path)
    ids = words(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(ids).logits
        if not torch.isfinite(logits).all():
            raise ModelError(f"{path}: the saved model gives logits that are not numbers.", why="the training diverged.", fix="lower --lr.")
        written = model.generate(ids, max_new_tokens=5, min_new_tokens=5, do_sample=False, pad_token_id=words.pad_token_id)
    return f"The saved model opens with transformers and writes: {words.decode(written[0], skip_special_tokens=True)!r}."
