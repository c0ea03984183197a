"""What is written at the end of a run, and opened again to see that it works."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbtrain.errors import ModelError
from nbtrain.models import faults
from nbtrain.models.adapters import QUANTISED
from nbtrain.models.pretrained import open_tokenizer, open_whole, resolve, size

LARGE = 1_000_000_000  # parameters; below, a base fits into memory in float32 everywhere
SPARE = 1.3  # memory needed to open a model, by its weights


Reopen = Callable[[str, Any], Any]
"""The base of an adapter, by its name, in this torch dtype ("auto": its own)."""


def save(
    model: Any, processor: Any, path: str | os.PathLike[str], params: Any, *, reopen: Reopen | None = None
) -> None:
    """Write the model to the folder `path`, which is there whole or as it was before.

    With `peft` and `merge_adapter` the merged model is written, and the adapter beside it, into `adapter/`. The adapter
    of a quantised base is merged into the base in full precision. Without `merge_adapter` the folder holds the adapter,
    which names its base. Merging uses `model` up: afterwards its weights contain the adapter.

    Args:
        processor: a tokenizer, an image processor, or None.
        params: reads peft, merge_adapter, quantization, model, token, trust_remote_code.
        reopen: opens the quantised base in full; None: it is a causal language model.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if params.peft and params.merge_adapter:
        adapter = path.parent / "adapter"
        model.save_pretrained(adapter)
        model = _merged(model, adapter, params, reopen)
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = True
    _mend_generation(model)
    model.save_pretrained(partial)
    if processor is not None:
        processor.save_pretrained(partial)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)


def _merged(model: Any, adapter: Path, params: Any, reopen: Reopen | None) -> Any:
    import torch
    from peft import PeftModel

    if params.quantization not in QUANTISED:
        return model.merge_and_unload()
    hub = {"token": params.token, "trust_remote_code": params.trust_remote_code}
    if reopen is not None:
        count = sum(parameter.numel() for parameter in model.parameters())
        base = reopen(params.model, torch.float32 if count < LARGE else "auto")
    else:
        place = resolve(params.model)
        base = open_whole(place, dtype=torch.float32 if size(place, **hub)[0] < LARGE else "auto", **hub)
    return PeftModel.from_pretrained(base, adapter).merge_and_unload()


def _mend_generation(model: Any) -> None:
    """Some published models have settings that contradict each other (a temperature, no sampling): not to be saved."""
    if getattr(model, "generation_config", None) is None:
        return
    try:
        model.generation_config.validate(strict=True)
    except ValueError:
        model.generation_config.do_sample = True


@contextmanager
def without_bars() -> Iterator[None]:
    """transformers draws a bar for each model it opens: in a cell that is an output, dead once the file is saved."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def saved_model(path: str | os.PathLike[str], *, trust_remote_code: bool = False) -> Any:
    """A saved model or adapter, on the CPU, as plain transformers and peft open it.

    Raises:
        ModelError: it cannot be opened.
    """
    from transformers import AutoModelForCausalLM

    place = resolve(os.fspath(path))
    with faults.in_words(place, "model"), without_bars():
        return AutoModelForCausalLM.from_pretrained(
            place, dtype="auto", use_safetensors=True, trust_remote_code=trust_remote_code
        ).eval()


def saved_tokenizer(path: str | os.PathLike[str], *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a saved model.

    Raises:
        ModelError: it cannot be opened.
    """
    return open_tokenizer(os.fspath(path), trust_remote_code=trust_remote_code)


def verify(path: str | os.PathLike[str], *, prompt: str = "The", trust_remote_code: bool = False) -> str:
    """Open what was saved and let it write five tokens.

    Returns:
        A sentence for the user: what it wrote, or that there was no memory to open it a second time.

    Raises:
        ModelError: it cannot be opened, or its logits are not numbers.
    """
    import torch

    _, weights = size(resolve(os.fspath(path)), trust_remote_code=trust_remote_code)
    needed, free = SPARE * weights, _free_memory()
    if needed > free:
        amounts = f"it needs {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} are free"
        return f"The saved model was not opened for a check: {amounts}."
    model = saved_model(path, trust_remote_code=trust_remote_code)
    words = saved_tokenizer(path, trust_remote_code=trust_remote_code)
    ids = words(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        if not torch.isfinite(model(ids).logits).all():
            raise ModelError(
                f"{path}: the saved model gives logits that are not numbers.",
                why="training diverged.",
                fix="lower --lr and train again.",
            )
        written = model.generate(
            ids, max_new_tokens=5, min_new_tokens=5, do_sample=False, pad_token_id=words.pad_token_id
        )
    return (
        f"The saved model opens with transformers and writes: {words.decode(written[0], skip_special_tokens=True)!r}."
    )


def _free_memory() -> int:
    """Bytes that this process may still take."""
    import psutil  # accelerate brings it

    return int(psutil.virtual_memory().available)
