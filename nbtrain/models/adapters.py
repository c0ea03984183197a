"""LoRA adapters, and bases held in few bits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from nbtrain.errors import MissingExtra
from nbtrain.models import faults

QUANTISED = ("int4", "int8")


def quantisation(kind: str, dtype: Any, *, whole: Sequence[str] = ()) -> Any:
    """The settings of bitsandbytes for a base that is held in 4 or 8 bits.

    Args:
        kind: int4 or int8.
        dtype: torch dtype that is computed in.
        whole: parts that keep their precision: a head that is trained.

    Raises:
        MissingExtra: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise MissingExtra(
            f"--quantization {kind} needs bitsandbytes, which is not installed.", fix="pip install bitsandbytes"
        )
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(whole) or None)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(whole) or None,  # it holds for 4 bits as well
    )


def with_adapter(
    model: Any, params: Any, *, task: str = "CAUSAL_LM", whole: Sequence[str] = (), without: Sequence[str] = ()
) -> Any:
    """`model` with a LoRA adapter; everything else is frozen.

    Args:
        params: reads quantization, lora_r, lora_alpha, lora_dropout, target_modules.
        task: of peft's task types, or "" for none.
        whole: parts that are trained whole and saved with the adapter: a head that is new.
        without: parts that stay as they are.

    Raises:
        ModelError: no layer has the names of --target-modules.
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from peft.utils.error import NoMatchingPeftModuleError

    if params.quantization in QUANTISED:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        _keep_gradients(model)
    targets = params.target_modules or "all-linear"
    names = targets if targets == "all-linear" else [name.strip() for name in targets.split(",") if name.strip()]
    spared = [*whole, *without]
    config = LoraConfig(
        r=params.lora_r,
        lora_alpha=params.lora_alpha,
        lora_dropout=params.lora_dropout,
        target_modules=names,
        # trained whole it needs no adapter, and of one inside it nothing would be left after merging
        exclude_modules=rf"(.*\.)?({'|'.join(map(re.escape, spared))})(\..*)?" if spared else None,
        task_type=task or None,
        modules_to_save=list(whole) or None,
    )
    try:
        return get_peft_model(model, config)
    except NoMatchingPeftModuleError:
        raise faults.no_such_layers(targets, model) from None


def _keep_gradients(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights in evaluation mode, as it does on some CPUs at the first use.

    The repacked layout has no backward: whatever is trained after the first evaluation would get wrong gradients.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
