"""Models with a head for one task (classes, numbers, tags, spans), by the names of transformers' Auto classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbtrain.models import faults
from nbtrain.models.adapters import QUANTISED, quantisation, with_adapter
from nbtrain.models.device import device, precision
from nbtrain.models.pretrained import TINY, adapter_base, resolve
from nbtrain.models.saved import without_bars

Tell = Callable[[str], None]


def headed_model(  # noqa: PLR0913  each is a choice of the room
    params: Any,
    auto: str,
    *,
    config: Any,
    task: str = "",
    whole: Sequence[str] = (),
    without: Sequence[str] = (),
    tiny: Path | None = None,
    tell: Tell | None = None,
) -> Any:
    """A model on its device, with a head that is new where `params.model` was made for something else.

    Args:
        params: reads model, token, trust_remote_code, mixed_precision, peft, quantization, lora_*, target_modules.
        auto: class of transformers: AutoModelForSequenceClassification ...
        config: its config, with the labels and all else that the head needs.
        task: of peft's task types; "" where it knows none.
        whole: parts of the head, by name: they keep their precision, and are trained whole beside an adapter.
        without: parts that get no adapter, by name.
        tiny: what `--model tiny` means.
        tell: takes a sentence for the user.

    Raises:
        ModelError: the model is not there, is of a kind that `auto` does not know, or is pickled.
        MissingExtra: bitsandbytes is needed and not installed.
    """
    here = device()
    wanted = precision(params, here)
    placed: dict[str, Any] = {"device_map": {"": 0 if here.kind == "cuda" else here.kind}}
    if params.quantization in QUANTISED:
        placed["quantization_config"] = quantisation(params.quantization, wanted.dtype, whole=whole)
    place = str(tiny) if params.model == "tiny" and tiny is not None else resolve(params.model)
    model, new = _open(auto, place, config=config, dtype=wanted.dtype, params=params, placed=placed)
    if new and tell is not None:
        tell(f"{params.model} has no {', '.join(new)} of this shape: new, and learnt here from the beginning.")
    return with_adapter(model, params, task=task, whole=whole, without=without) if params.peft else model


def reopened(params: Any, auto: str, config: Any, *, tiny: Path | None = None) -> Callable[[str, Any], Any]:
    """For `save`: opens the base of a quantised model in full."""

    def reopen(model: str, dtype: Any) -> Any:
        place = str(tiny) if model == "tiny" and tiny is not None else resolve(model)
        return _open(auto, place, config=config, dtype=dtype, params=params, placed={})[0]

    return reopen


def saved_headed(auto: str, path: str | os.PathLike[str], *, trust_remote_code: bool = False) -> Any:
    """A saved model, or a saved adapter on its base, on the CPU, in evaluation mode, as plain transformers and peft do.

    Raises:
        ModelError: it cannot be opened.
    """
    import transformers

    place = resolve(os.fspath(path))
    if base := adapter_base(place):
        return _adapted(auto, place, base, dtype="auto", trust_remote_code=trust_remote_code).eval()
    with faults.in_words(place, "model"), without_bars():
        opened = getattr(transformers, auto).from_pretrained(
            place, dtype="auto", use_safetensors=True, trust_remote_code=trust_remote_code
        )
    return opened.eval()


@contextmanager
def _without_report() -> Iterator[None]:
    """transformers lists what a head lacks on the screen; it is told in a sentence."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _adapted(auto: str, place: str, base: str, *, dtype: Any, **hub: Any) -> Any:
    """The adapter in `place` on its base, whose head is that of the config beside the adapter."""
    import transformers
    from peft import PeftModel

    with faults.in_words(place, "adapter"), without_bars(), _without_report():
        config = transformers.AutoConfig.from_pretrained(place, **hub)
        opened = getattr(transformers, auto).from_pretrained(
            base, config=config, dtype=dtype, use_safetensors=True, ignore_mismatched_sizes=True, **hub
        )
        return PeftModel.from_pretrained(opened, place)


def _open(auto: str, place: str, *, config: Any, dtype: Any, params: Any, placed: dict[str, Any]) -> tuple[Any, Any]:
    import transformers

    if Path(place).parent == TINY.parent and not any(Path(place).glob("*.safetensors")):
        # built in without weights: so small a model learns from the beginning
        with faults.in_words(place, "model"):
            return getattr(transformers, auto).from_config(config, dtype=dtype).to(device().kind), ()
    hub = {"token": params.token, "trust_remote_code": params.trust_remote_code}
    if base := adapter_base(place, token=params.token):
        return _adapted(auto, place, base, dtype=dtype, **hub).merge_and_unload().requires_grad_(True), ()
    with faults.in_words(place, "model"), _without_report():
        model, report = getattr(transformers, auto).from_pretrained(
            place,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **placed,
            **hub,
        )
    mismatched = {name for name, *_ in report["mismatched_keys"]}
    return model, sorted({name.rpartition(".")[0] for name in {*report["missing_keys"], *mismatched}})
