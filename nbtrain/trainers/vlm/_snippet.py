"""Python for the card that asks the saved model without nbtrain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nbtrain.data.pictured import CAPTIONING
from nbtrain.trainers.vlm._models import auto_of, usual_prompt


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model in `path`, and how it is asked about a picture."""
    kind = json.loads((path / "config.json").read_text(encoding="utf-8"))["model_type"]
    auto = auto_of(params, kind)
    question = usual_prompt(params, kind) if params.trainer == CAPTIONING else "What is in the picture?"
    library, names, opening = "transformers", f"{auto}, AutoProcessor", f'model = {auto}.from_pretrained("model")'
    if (path / "adapter_config.json").is_file():
        base = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
        library = "peft"
        opening = f'model = PeftModel.from_pretrained({auto}.from_pretrained({base!r}), "model")'
    templated = (path / "chat_template.jinja").is_file()
    code = f"""\
{"from peft import PeftModel" + chr(10) if library == "peft" else ""}from PIL import Image
from transformers import {names}

{opening}  # this folder's
processor = AutoProcessor.from_pretrained("model")
picture = Image.open("picture.jpg").convert("RGB")
{_prompt(question, kind, templated)}
inputs = processor(images=[[picture]], text=[prompt], return_tensors="pt")
written = model.generate(**inputs, max_new_tokens={params.max_target_length}, do_sample=False)
print(processor.decode(written[0{_behind(kind, templated)}], skip_special_tokens=True))"""
    return library, code


def _prompt(question: str, kind: str, templated: bool) -> str:
    if not templated:
        return f"prompt = {('<image>' if kind == 'paligemma' else '') + question!r}"
    parts = [{"type": "image"}, {"type": "text", "text": question}]
    return f"""\
messages = [{{"role": "user", "content": {json.dumps(parts)}}}]
prompt = processor.apply_chat_template(messages, add_generation_prompt=True)"""


def _behind(kind: str, templated: bool) -> str:
    """What cuts off what was read, where the model writes it again."""
    return ", inputs.input_ids.shape[1] :" if templated or kind in ("paligemma", "blip-2") else ""
