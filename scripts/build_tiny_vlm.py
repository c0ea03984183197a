"""Build the tiny model that looks and writes: the tiny language model, behind an eye that has seen nothing yet.

    python scripts/build_tiny_vlm.py

A LLaVA: a vision transformer of two layers, a projector, and the weights of nbtrain/models/tiny/llm. The result is
nbtrain/models/tiny/vlm. Eye and projector are random: how a colour or a number looks is learnt where it is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbtrain.models import load

HOME = Path(__file__).resolve().parent.parent / "nbtrain" / "models" / "tiny" / "vlm"
SIDE, PATCH, WIDTH = 64, 8, 96
PLACE = "<image>"
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- set written = namespace(text='') %}
    {%- for part in message['content'] %}
        {%- set written.text = written.text + ('<image>' if part['type'] == 'image' else part['text']) %}
    {%- endfor %}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- written.text + '<|im_end|>' }}{%- endgeneration %}
    {%- else %}
        {{- written.text + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def make_processor() -> Any:
    """The tiny language model's tokenizer with a token for a patch of a picture, and pictures of 64 x 64."""
    from transformers import LlavaProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = load.saved_tokenizer("tiny")
    tokenizer.add_special_tokens({"extra_special_tokens": [*tokenizer.extra_special_tokens, PLACE]})
    tokenizer.chat_template = None
    pictures = SiglipImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.25] * 3, do_convert_rgb=True
    )
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
        image_token=PLACE,
    )


def make_model(processor: Any) -> Any:
    """A LLaVA of three million parameters, all but half a million of them those of the tiny language model."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

    words = load.saved_model("tiny").float()
    text = words.config
    text._name_or_path = ""  # it would be written, and is a path of this machine
    text.vocab_size = len(processor.tokenizer)
    eye = SiglipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=eye,
            text_config=text,
            image_token_index=processor.image_token_id,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            image_seq_length=(SIDE // PATCH) ** 2,
            tie_word_embeddings=True,
        )
    )
    words.resize_token_embeddings(text.vocab_size)
    model.model.language_model.load_state_dict(words.model.state_dict())
    model.tie_weights()
    model.generation_config = words.generation_config
    return model


def main() -> None:
    import torch

    processor = make_processor()
    model = make_model(processor)
    model.to(torch.bfloat16).save_pretrained(HOME)
    processor.save_pretrained(HOME)
    for file in HOME.iterdir():
        file.chmod(0o644)  # safetensors makes files that only their owner reads


if __name__ == "__main__":
    main()
