"""Unsloth: what is asked of its public API, and what is said where it is not to be had."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from nbtrain.errors import MissingExtra, ModelError
from nbtrain.models import load, unsloth
from nbtrain.models.device import Device
from nbtrain.trainers import load as room

Params = room("llm").Params


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(unsloth, "device", lambda: Device("cuda", torch.bfloat16, ""))


@pytest.fixture
def fake(gpu, monkeypatch):
    """A package `unsloth` that opens the built-in model and remembers how it was called."""
    calls = {}

    class FastLanguageModel:
        @staticmethod
        def from_pretrained(**given):
            calls["from_pretrained"] = given
            opened = load.saved_model(given["model_name"])
            return opened, load.saved_tokenizer(given["model_name"])

        @staticmethod
        def get_peft_model(model, **given):
            calls["get_peft_model"] = given
            return model

    package = ModuleType("unsloth")
    package.FastLanguageModel = FastLanguageModel
    package.__spec__ = SimpleNamespace(name="unsloth", loader=None)
    monkeypatch.setitem(sys.modules, "unsloth", package)
    return calls


def test_the_model_and_its_adapter_are_asked_of_unsloth_in_its_words(fake):
    params = Params(
        trainer="sft",
        backend="unsloth",
        peft=True,
        quantization="int4",
        lora_r=4,
        lora_dropout=0.0,
        block_size=256,
        seed=7,
    )
    model = load.causal_model(params)
    assert model.config.use_cache is False
    opened, adapted = fake["from_pretrained"], fake["get_peft_model"]
    assert opened["model_name"] == load.resolve("tiny")
    assert (opened["max_seq_length"], opened["load_in_4bit"], opened["load_in_8bit"]) == (256, True, False)
    assert (opened["full_finetuning"], opened["dtype"], opened["trust_remote_code"]) == (False, None, False)
    assert (adapted["r"], adapted["lora_alpha"], adapted["lora_dropout"], adapted["random_state"]) == (4, 32, 0.0, 7)
    assert adapted["target_modules"] == list(unsloth.LAYERS)
    assert (adapted["use_gradient_checkpointing"], adapted["max_seq_length"]) == ("unsloth", 256)


def test_all_weights_are_trained_without_an_adapter(fake):
    load.causal_model(Params(trainer="sft", unsloth=True, mixed_precision="bf16"))
    assert fake["from_pretrained"]["full_finetuning"] is True
    assert fake["from_pretrained"]["dtype"] == torch.bfloat16
    assert "get_peft_model" not in fake


def test_layers_and_checkpointing_can_be_chosen(fake):
    load.causal_model(
        Params(
            trainer="sft", unsloth=True, peft=True, target_modules="q_proj, v_proj", disable_gradient_checkpointing=True
        )
    )
    assert fake["get_peft_model"]["target_modules"] == ["q_proj", "v_proj"]
    assert fake["get_peft_model"]["use_gradient_checkpointing"] is False


def test_without_a_gpu_it_is_refused(monkeypatch):
    monkeypatch.setattr(unsloth, "device", lambda: Device("cpu", torch.float32, ""))
    with pytest.raises(ModelError, match="needs a GPU with CUDA; this machine has none"):
        load.causal_model(Params(trainer="sft", backend="unsloth"))


def test_without_the_package_it_says_how_to_get_it(gpu):
    with pytest.raises(MissingExtra, match="not installed") as caught:
        unsloth.probed()
    assert caught.value.fix == "pip install unsloth"


def test_a_package_that_does_not_load_says_why(gpu, tmp_path, monkeypatch):
    (tmp_path / "unsloth.py").write_text("raise RuntimeError('transformers is too new\\nand more')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match="does not load") as caught:
        unsloth.probed()
    assert caught.value.why == "RuntimeError: transformers is too new"
