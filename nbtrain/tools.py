"""What is done to models besides training them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nbtrain import hub, trainers
from nbtrain.errors import ParamError
from nbtrain.params.tokens import take

MERGE = "merge-llm-adapter"
USAGE = f"{MERGE} --base-model-path B --adapter-path A --output-folder O [--push-to-hub]"
_PATHS = ("--base-model-path", "--adapter-path", "--output-folder")


def answer(tokens: list[Any]) -> str:
    """Do what `nbtrain tools ...` asks; what came of it, for a screen.

    Raises:
        ParamError: the words are wrong. ModelError: a model cannot be opened. RunError: the upload did not succeed.
    """
    if tokens[:1] != [MERGE]:
        raise ParamError(f"tools has one tool: {MERGE}", fix=f"write tools {USAGE}")
    valued = (*_PATHS, "--token", "--repo-id")
    own, rest = take(tokens[1:], switches=("--push-to-hub", "--trust-remote-code"), valued=valued)
    missing = [flag for flag in _PATHS if flag not in own]
    if rest or missing:
        what = f"{MERGE} does not know {rest[0]!r}" if rest else f"{MERGE} needs {' and '.join(missing)}"
        raise ParamError(what, fix=f"it takes {', '.join((*valued, '--push-to-hub'))}")
    base, adapter, output = (os.fspath(own[flag]) for flag in _PATHS)
    place = own.get("--repo-id") or Path(output).resolve().name if "--push-to-hub" in own else ""
    place = place and hub.checked(place, own.get("--token"))  # told now, not after the merge
    told = merge(base, adapter, output, token=own.get("--token"), trust_remote_code="--trust-remote-code" in own)
    if place:
        told += f"\nUploaded: {hub.upload(hub.files(Path(output)), place, token=own.get('--token'))}"
    return told


def merge(base: str, adapter: str, output: str, *, token: str | None = None, trust_remote_code: bool = False) -> str:
    """Write the base with the adapter merged into it to the new folder `output`, and see that it opens.

    Args:
        base: hub id, folder or run. adapter: the folder, the run or the hub id of a LoRA adapter.

    Returns:
        Where it is, and what it wrote when it was opened again.

    Raises:
        ParamError: something is at `output`, or `adapter` is none. ModelError: one of them cannot be opened.
    """
    from nbtrain.models import faults, load, pretrained, saved

    if Path(output).exists():
        raise ParamError(f"{output} is there already", fix="give --output-folder a new name")
    where = pretrained.resolve(adapter)
    if not pretrained.adapter_base(where, token=token):
        raise ParamError(f"{adapter} is no adapter: it has no adapter_config.json", fix="name the adapter's own folder")
    import torch
    from peft import PeftModel

    trusted = {"token": token, "trust_remote_code": trust_remote_code}
    place = pretrained.resolve(base)
    # a sum in few bits loses what a small adapter adds
    number = torch.float32 if pretrained.size(place, **trusted)[0] < saved.LARGE else "auto"
    model = pretrained.open_base(place, dtype=number, **trusted)
    with faults.in_words(adapter, "adapter"):
        model = PeftModel.from_pretrained(model, where, token=token).merge_and_unload()
    has_words = (Path(where) / "tokenizer_config.json").is_file()
    words = pretrained.open_tokenizer(where if has_words else base, **trusted)
    params = trainers.load("llm").Params(model=base, token=token, trust_remote_code=trust_remote_code)
    load.save(model, words, output, params)
    return f"written: {output}\n{load.verify(output, trust_remote_code=trust_remote_code)}"
