"""A model by its name: where it is, and its base and tokenizer opened without running any code that came with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbtrain.models import faults

TINY = Path(__file__).parent / "tiny" / "llm"


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


def adapter_base(place: str, *, token: str | None = None) -> str:
    """The model that the adapter in `place` was trained on, or '' where `place` is a model of its own."""
    from transformers.utils.peft_utils import find_adapter_config_file

    with faults.in_words(place, "adapter"):
        if find_adapter_config_file(place, token=token) is None:
            return ""
        from peft import PeftConfig

        return resolve(str(PeftConfig.from_pretrained(place, token=token).base_model_name_or_path))


def open_tokenizer(model: str, *, token: str | None = None, trust_remote_code: bool = False) -> Any:
    """The tokenizer of `model`, as it was saved.

    Raises:
        ModelError: there is none, or it would run code of its own.
    """
    from transformers import AutoTokenizer

    with faults.in_words(model, "tokenizer"):
        opened = AutoTokenizer.from_pretrained(resolve(model), token=token, trust_remote_code=trust_remote_code)
        faults.refuse_empty_tokenizer(opened, model)
    return opened


def open_base(
    place: str, *, dtype: Any, token: str | None = None, trust_remote_code: bool = False, **placed: Any
) -> Any:
    """A whole causal language model.

    Args:
        place: what `resolve` gave.
        dtype: torch dtype of the weights.
        placed: device_map, quantization_config, as from_pretrained takes them.

    Raises:
        ModelError: it is not there, not causal, not whole, pickled, or would run code of its own.
    """
    from transformers import AutoModelForCausalLM

    hub = {"token": token, "trust_remote_code": trust_remote_code}
    config = _causal_config(place, **hub)
    with faults.in_words(place, "model"):
        # pickled weights can run code while they are read; safetensors cannot
        model, report = AutoModelForCausalLM.from_pretrained(
            place, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **placed, **hub
        )
    faults.refuse_gaps(sorted(report["missing_keys"]), place)
    return model


def open_whole(
    place: str, *, dtype: Any, token: str | None = None, trust_remote_code: bool = False, **placed: Any
) -> Any:
    """As `open_base`; where `place` holds an adapter, its base with the adapter merged into it."""
    base = adapter_base(place, token=token)
    model = open_base(base or place, dtype=dtype, token=token, trust_remote_code=trust_remote_code, **placed)
    if not base:
        return model
    from peft import PeftModel

    with faults.in_words(place, "adapter"):
        return PeftModel.from_pretrained(model, place, token=token).merge_and_unload()


def size(place: str, *, token: str | None = None, trust_remote_code: bool = False) -> tuple[int, int]:
    """Parameters of a model and their bytes on disk, without reading them; (0, 0) where it brings its own code."""
    import torch
    from transformers import AutoModelForCausalLM

    config = _causal_config(place, token=token, trust_remote_code=trust_remote_code)
    if getattr(config, "auto_map", None):
        return 0, 0
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    return count, count * (config.dtype or torch.float32).itemsize


def open_config(place: str, *, token: str | None = None, trust_remote_code: bool = False) -> Any:
    """The configuration of the model in `place`: an adapter's is that of its base, unless it brought its own.

    Raises:
        ModelError: there is none, or it would run code of its own.
    """
    from transformers import AutoConfig

    own = (Path(place) / "config.json").exists()
    model = place if own else adapter_base(place, token=token) or place
    with faults.in_words(place, "model"):
        return AutoConfig.from_pretrained(model, token=token, trust_remote_code=trust_remote_code)


def _causal_config(place: str, **hub: Any) -> Any:
    config = open_config(place, **hub)
    faults.refuse_other_kinds(config, place)
    return config
