"""Chat templates by name.

Each ends a turn of the assistant with its own mark and, where that is not the tokenizer's end of text, with that too:
a model stops writing at its end of text, and one that never saw it after an answer would not stop.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nbtrain.errors import ParamError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHATML = (
    r"{% set end = '<|im_end|>' ~ (eos_token if eos_token != '<|im_end|>') %}"
    r"{% for m in messages %}"
    r"{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ (end if m.role == 'assistant' else '<|im_end|>') ~ '\n' }}"
    r"{% endfor %}"
    r"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# for models without a system turn: it stands at the head of the first question
_SYSTEM = r"{% set system = messages[0].content ~ '\n\n' if messages[0].role == 'system' else '' %}"
_QUESTIONS = r"{% for m in messages if m.role != 'system' %}{% set content = (system if loop.first) ~ m.content %}"

TEMPLATES = {
    "plain": r"{% for m in messages %}{{ m.content ~ (eos_token if m.role == 'assistant') ~ '\n' }}{% endfor %}",
    "chatml": _CHATML,
    "qwen": _CHATML,
    "zephyr": (
        r"{% for m in messages %}{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ eos_token ~ '\n' }}{% endfor %}"
        r"{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    ),
    "alpaca": (
        r"{% if messages[0].role != 'system' %}{{ 'Below is an instruction that describes a task. "
        r"Write a response that appropriately completes the request.\n\n' }}{% endif %}"
        r"{% for m in messages %}"
        r"{% if m.role == 'system' %}{{ m.content ~ '\n\n' }}"
        r"{% elif m.role == 'assistant' %}{{ '### Response:\n' ~ m.content ~ eos_token ~ '\n\n' }}"
        r"{% else %}{{ '### Instruction:\n' ~ m.content ~ '\n\n' }}{% endif %}"
        r"{% endfor %}"
        r"{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
    ),
    "llama-3": (
        r"{% set end = '<|eot_id|>' ~ (eos_token if eos_token != '<|eot_id|>') %}{{ bos_token }}"
        r"{% for m in messages %}{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ m.content | trim"
        r" ~ (end if m.role == 'assistant' else '<|eot_id|>') }}{% endfor %}"
        r"{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "gemma": (
        r"{% set end = '<end_of_turn>' ~ (eos_token if eos_token != '<end_of_turn>') %}{{ bos_token }}"
        + _SYSTEM
        + _QUESTIONS
        + r"{% if m.role == 'assistant' %}{{ '<start_of_turn>model\n' ~ content | trim ~ end ~ '\n' }}"
        r"{% else %}{{ '<start_of_turn>user\n' ~ content | trim ~ '<end_of_turn>\n' }}{% endif %}{% endfor %}"
        r"{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    "mistral": (
        r"{{ bos_token }}" + _SYSTEM + _QUESTIONS + r"{% if m.role == 'assistant' %}{{ ' ' ~ content ~ eos_token }}"
        r"{% else %}{{ '[INST] ' ~ content ~ ' [/INST]' }}{% endif %}{% endfor %}"
    ),
    "phi": (
        r"{% set end = '<|end|>' ~ (eos_token if eos_token != '<|end|>') %}"
        r"{% for m in messages %}"
        r"{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ (end if m.role == 'assistant' else '<|end|>') ~ '\n' }}"
        r"{% endfor %}"
        r"{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    ),
    "vicuna": (
        r"{% if messages[0].role != 'system' %}{{ 'A chat between a curious user and an artificial intelligence "
        r"assistant. The assistant gives helpful, detailed, and polite answers to the user\'s questions. "
        "' }}"
        r"{% endif %}{% for m in messages %}"
        r"{% if m.role == 'system' %}{{ m.content ~ ' ' }}"
        r"{% elif m.role == 'assistant' %}{{ 'ASSISTANT: ' ~ m.content ~ eos_token }}"
        r"{% else %}{{ 'USER: ' ~ m.content ~ ' ' }}{% endif %}"
        r"{% endfor %}"
        r"{% if add_generation_prompt %}{{ 'ASSISTANT: ' }}{% endif %}"
    ),
}


def template_for(
    tokenizer: PreTrainedTokenizerBase, name: str | None = None, warn: Callable[[str], None] | None = None
) -> str:
    """The template, as jinja, that `name` asks for.

    Args:
        tokenizer: its own template is taken where none is named; chatml where it has none.
        name: one of TEMPLATES, "tokenizer", a file of jinja, or jinja itself.
        warn: told when chatml is taken for want of another.

    Raises:
        ParamError: no such template, or the tokenizer has none.
    """
    own = tokenizer.get_chat_template() if tokenizer.chat_template else None
    if name in TEMPLATES:
        return TEMPLATES[name]
    if name is None or name == "none":
        if own is None and warn is not None:
            warn("The tokenizer has no chat template: chatml is used. Choose another with --chat-template.")
        return own or TEMPLATES["chatml"]
    if name == "tokenizer":
        if own is None:
            what = "The tokenizer of this model has no chat template."
            fix = f"Name one of {', '.join(TEMPLATES)}, or leave it out: chatml is taken."
            raise ParamError(what, where="--chat-template tokenizer", fix=fix)
        return own
    if "{{" in name or "{%" in name:
        return name
    path = Path(name).expanduser()
    if path.is_file():
        return path.read_text(encoding="utf-8")
    what = f"--chat-template is one of {', '.join(TEMPLATES)}, tokenizer, a file or jinja; found {name!r}."
    fix = "Name one of them, or leave it out: the tokenizer's own is taken."
    raise ParamError(what + nearest(name, [*TEMPLATES, "tokenizer"]), fix=fix)
