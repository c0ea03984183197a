"""Other kinds of models that look and write, each made small: how they are shown rows, trained, asked and saved."""

import contextlib
import os

import pytest
import torch
from PIL import Image

from nbtrain import trainers
from nbtrain.data.pictured import Talk
from nbtrain.errors import DataError, MissingExtra, ModelError
from nbtrain.models import load
from nbtrain.trainers.vlm import _models
from nbtrain.trainers.vlm._labels import IGNORED

# PaliGemma's processor asks numpy for tensors in a way that numpy 2 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ROOM = trainers.load("vlm")
EYE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 16,
}  # fmt: skip
WORDS = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 256,
    "pad_token_id": 0, "eos_token_id": 3,
}  # fmt: skip
SHORT = {
    "max_steps": 4, "lr": 5e-3, "batch_size": 8, "gradient_accumulation": 2, "generate_rows": 4, "logging_steps": 1,
    "max_target_length": 8, "max_samples": 64, "freeze": "none",
}  # fmt: skip
IDEFICS = (
    "{% for message in messages %}{{ message['role'].capitalize() }}"
    "{{ ':' if message['content'][0]['type'] == 'image' else ': ' }}"
    "{% for line in message['content'] %}{{ '<image>' if line['type'] == 'image' else line['text'] }}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def words(**special):
    tokenizer = load.saved_tokenizer("tiny")
    tokenizer.chat_template = None
    more = special.pop("more", [])
    tokenizer.add_special_tokens({**special, "extra_special_tokens": [*tokenizer.extra_special_tokens, *more]})
    return tokenizer


def blip(kind):
    from tokenizers.processors import TemplateProcessing
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipForQuestionAnswering, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    tokenizer = words(cls_token="[CLS]", sep_token="[SEP]", bos_token="[DEC]")
    first, last, start = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", "[DEC]"])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", first), ("[SEP]", last)]
    )
    text = WORDS | {
        "vocab_size": len(tokenizer), "encoder_hidden_size": 32, "intermediate_size": 64, "projection_dim": 16,
        "bos_token_id": start, "eos_token_id": last, "sep_token_id": last,
    }  # fmt: skip
    config = BlipConfig(
        text_config=text, vision_config=EYE | {"projection_dim": 16}, projection_dim=16, image_text_hidden_size=16
    )
    model = (BlipForQuestionAnswering if kind == "vqa" else BlipForConditionalGeneration)(config)
    return model, BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer)


def blip2():
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    tokenizer = words(bos_token="<s>")
    images = BlipImageProcessorPil(size={"height": 32, "width": 32})
    processor = Blip2Processor(images, tokenizer, num_query_tokens=4)
    text = WORDS | {
        "model_type": "opt", "vocab_size": len(tokenizer), "ffn_dim": 64, "word_embed_proj_dim": 32,
        "bos_token_id": tokenizer.bos_token_id,
    }  # fmt: skip
    asks = WORDS | {"intermediate_size": 64, "encoder_hidden_size": 32, "vocab_size": 100}
    config = Blip2Config(
        vision_config=EYE, qformer_config=asks, text_config=text, num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return Blip2ForConditionalGeneration(config), processor


def paligemma():
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = words(bos_token="<bos>", more=["<image>"])
    tokenizer.image_token, tokenizer.image_token_id = "<image>", tokenizer.convert_tokens_to_ids("<image>")
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    images.image_seq_length = 4
    processor = PaliGemmaProcessor(images, tokenizer)
    text = WORDS | {
        "model_type": "gemma", "vocab_size": len(tokenizer), "intermediate_size": 64, "num_key_value_heads": 1,
        "head_dim": 16, "bos_token_id": tokenizer.bos_token_id,
    }  # fmt: skip
    eye = EYE | {"model_type": "siglip_vision_model", "projection_dim": 32, "vision_use_head": False}
    config = PaliGemmaConfig(
        vision_config=eye, text_config=text, image_token_index=processor.image_token_id, projection_dim=32
    )
    return PaliGemmaForConditionalGeneration(config), processor


def idefics3():
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tokenizer = words(more=["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"])
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    processor = Idefics3Processor(images, tokenizer, image_seq_len=1, chat_template=IDEFICS)
    text = WORDS | {
        "model_type": "llama", "vocab_size": len(tokenizer), "intermediate_size": 64, "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }  # fmt: skip
    config = Idefics3Config(
        vision_config=EYE, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids("<image>"), scale_factor=2,
        pad_token_id=0,
    )  # fmt: skip
    return Idefics3ForConditionalGeneration(config), processor


KINDS = {
    "blip-vqa": ("vqa", lambda: blip("vqa")),
    "blip-captioning": ("captioning", lambda: blip("captioning")),
    "blip-2": ("captioning", blip2),
    "paligemma": ("vqa", paligemma),
    "idefics3": ("vqa", idefics3),
}


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with a small model of a kind."""

    def make(kind):
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("models") / kind
        model, processor = KINDS[kind][1]()
        # torchvision's absence is told on the screen, once for each kind
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
        return str(folder)

    return make


def talk(question, answer):
    messages = ({"role": "user", "content": f"<image>{question}"}, {"role": "assistant", "content": answer})
    return Talk((Image.new("RGB", (40, 30), "red"),), messages, (answer,))


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_answer_is_trained_and_it_ends(made, kind):
    params = ROOM.Params(trainer=KINDS[kind][0])
    place = made(kind)
    processor = _models.processor_of(place)
    manner = _models.manner_of(params, _models.config_of(params, place), processor)
    talks = [talk("What colour is it?", "red"), talk("What is it, and where?", "a red square on the left")]
    batch = manner.learnt(talks)
    for each, labels in zip(talks, batch["labels"], strict=True):
        learnt = labels[labels != IGNORED]
        assert processor.tokenizer.decode(learnt, skip_special_tokens=True).strip() == each.answer
        ends = {processor.tokenizer.eos_token_id, processor.tokenizer.sep_token_id}
        ends |= set(processor.tokenizer.convert_tokens_to_ids(["<end_of_utterance>"])) - {None}
        assert ends & set(learnt[-2:].tolist())
    read = manner.asked(talks)["input_ids"]
    assert [each.question in text for each, text in zip(talks, processor.tokenizer.batch_decode(read), strict=True)]
    assert not any("square on" in text for text in processor.tokenizer.batch_decode(read))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_trained_saved_and_asked(in_room, made, kind, tmp_path, monkeypatch, capsys):
    trainer, _ = KINDS[kind]
    found = in_room("vlm", trainer=trainer, model=made(kind), **SHORT)
    assert found.losses[-1] < found.losses[0]
    assert found.evaluations[-1]["loss"] < found.losses[0]
    model, processor = ROOM.opened(found.params, str(found.folder.model))
    asked = {"image": Image.new("RGB", (40, 30), "red"), "question": "What?"}
    (said,) = ROOM.predict(found.params, model, processor, [asked], max_new_tokens=3)
    assert isinstance(said, str)
    (tmp_path / "model").symlink_to(found.folder.model)
    asked["image"].save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(ROOM.usage(found.params, found.folder.model)[1], "snippet", "exec"), {})
    assert capsys.readouterr().out.endswith("\n")


def test_a_model_that_is_shown_one_picture_says_so(made):
    params = ROOM.Params()
    place = made("blip-vqa")
    manner = _models.manner_of(params, _models.config_of(params, place), _models.processor_of(place))
    one = talk("What?", "red")
    with pytest.raises(DataError, match="2 pictures in a row: this model is shown one"):
        manner.judge(Talk(one.pictures * 2, one.messages, one.references))
    with pytest.raises(DataError, match=r"'\[SEP\]' stands in a text"):
        manner.judge(talk("What? [SEP]", "red"))


def test_a_model_without_a_template_gets_llavas_where_it_has_places_for_pictures(made):
    params = ROOM.Params()
    config, processor = _models.config_of(params, str(ROOM.TINY)), _models.processor_of(str(ROOM.TINY))
    processor.chat_template = None
    manner = _models.manner_of(params, config, processor)
    batch = manner.learnt([talk("What?", "red")])
    text = processor.tokenizer.decode(batch["input_ids"][0])
    assert text.startswith("USER: <image>") and text.endswith("What?\nASSISTANT: red<|im_end|>")
    assert processor.tokenizer.decode(batch["labels"][0][batch["labels"][0] != IGNORED]) == " red<|im_end|>"
    processor.chat_template, processor.image_token = None, "<picture>"
    with pytest.raises(ModelError, match="has no chat template with places for pictures"):
        _models.manner_of(params, config, processor)


def test_a_processor_that_needs_torchvision_says_so(monkeypatch):
    import transformers

    def needs(place, **given):
        raise ImportError("Qwen2VLVideoProcessor requires the Torchvision library")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", needs)
    with pytest.raises(MissingExtra, match="needs torchvision") as told:
        _models.processor_of("some/model")
    assert "pip install torchvision" in told.value.fix
