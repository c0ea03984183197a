"""What kind of model it is: how it is opened, how it is shown rows, and of which parts it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nbtrain.data.pictured import PLACE, VQA
from nbtrain.errors import MissingExtra, ModelError, ParamError
from nbtrain.models import faults, load
from nbtrain.trainers.vlm._manners import Answered, Chat, Continued, Manner, Suffix

WRITES, ANSWERS = "AutoModelForImageTextToText", "AutoModelForVisualQuestionAnswering"
PARTS = {
    "vision": ("vision_tower", "vision_model", "vision_encoder", "visual", "image_encoder", "vision_embed_tokens"),
    "projector": (
        "multi_modal_projector", "connector", "mm_projector", "embed_vision", "aligner", "qformer", "perceiver_sampler",
        "language_projection", "visual_projection", "merger",
    ),
    "language": ("language_model", "text_model", "text_decoder", "text_encoder", "lm_head"),
}  # fmt: skip
"""Part to the names that modules of it have in the models of transformers."""
USUAL = {"blip": "", "paligemma": "caption en", "florence2": "<CAPTION>"}
"""What models of these kinds were told when they learnt to describe pictures."""
PLAIN = (
    "{% for m in messages %}{% if m.role == 'user' %}USER: {% elif m.role == 'assistant' %}ASSISTANT: {% endif %}"
    "{% for part in m.content %}{{ '" + PLACE + "\n' if part.type == 'image' else part.text }}{% endfor %}"
    "{{ eos_token if m.role == 'assistant' else '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""For a model that has places for pictures and no template of its own: LLaVA's first."""


def processor_of(place: str, **hub: Any) -> Any:
    """What makes a model's input of pictures and texts.

    Raises:
        ModelError: the model has none. MissingExtra: it needs torchvision.
    """
    from transformers import AutoProcessor

    try:
        with faults.in_words(place, "processor"):
            found = AutoProcessor.from_pretrained(place, **hub)
            if not hasattr(found, "image_processor"):
                raise ModelError(f"{place} has no processor for pictures: it has a {type(found).__name__}.")
            return found
    except ModelError as error:
        if "orchvision" not in error.why:
            raise
        needs = f"The processor of {place} needs torchvision, which is not installed."
    raise MissingExtra(needs, fix="pip install torchvision; or choose a model that looks at pictures only, no videos.")


def config_of(params: Any, place: str) -> Any:
    """The model's config.

    Raises:
        ModelError: it is no model that writes about pictures.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    config = load.open_config(place, token=params.token, trust_remote_code=params.trust_remote_code)
    if config.model_type not in KNOWN and WRITES not in (getattr(config, "auto_map", None) or {}):
        made = (config.architectures or [config.model_type])[0]
        why = "this room trains models that look at pictures and write (LLaVA, Idefics, PaliGemma, BLIP ...)."
        if "clip" in config.model_type:
            why = "it compares pictures with texts and writes none; " + why
        raise ModelError(f"{params.model} does not write about pictures: it is a {made}.", why=why)
    return config


def auto_of(params: Any, kind: str) -> str:
    """The class of transformers that opens the model: of BLIP there is one that answers and one that describes."""
    return ANSWERS if kind == "blip" and params.trainer == VQA else WRITES


def manner_of(params: Any, config: Any, processor: Any) -> Manner:
    """How the model is shown rows.

    Raises:
        ModelError: nothing here shows it any.
    """
    if config.model_type == "blip":
        start = config.text_config.bos_token_id
        return Answered(processor, start) if params.trainer == VQA else Continued(processor, start)
    if config.model_type == "paligemma":
        return Suffix(processor)
    if processor.chat_template:
        return Chat(processor)
    if config.is_encoder_decoder or config.get_text_config().is_encoder_decoder:
        return Answered(processor)
    if config.model_type == "blip-2":
        return Continued(processor)
    if getattr(processor, "image_token", None) == PLACE:
        processor.chat_template = PLAIN  # saved with the model, so that whoever uses it asks as it learnt
        return Chat(processor)
    raise ModelError(
        f"{params.model} has no chat template with places for pictures.",
        why=f"how a {config.model_type} is asked cannot be told from its files.",
        fix="take its instruct version, or put a chat_template.jinja into its folder.",
    )


def usual_prompt(params: Any, kind: str) -> str:
    """What stands for a question where captions have none."""
    if "caption_prompt" in params.given():
        return str(params.caption_prompt)
    return str(USUAL.get(kind, params.caption_prompt))


def frozen_parts(params: Any, *, new: bool) -> tuple[str, ...]:
    """The parts that --freeze names. new: whether the eye has seen nothing yet."""
    if params.freeze == ["auto"]:
        return () if new else ("vision",)
    return tuple(name for name in params.freeze if name != "none")


def freeze(model: Any, names: Sequence[str]) -> None:
    """Take these parts out of the training.

    Raises:
        ParamError: the model has no such part, or nothing is left.
    """
    for name in names:
        found = [part for path, part in model.named_modules() if path.rpartition(".")[2] in PARTS[name]]
        if not found:
            has = ", ".join(path for path, _ in model.named_modules() if path and path.count(".") < 2)
            raise ParamError(f"--freeze {name}: nothing in this model is called so.", why=f"it has {has}.")
        for part in found:
            part.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ParamError("--freeze leaves nothing to train.", fix="Name fewer parts.")
