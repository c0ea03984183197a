"""What a run leaves opens with plain transformers, and says the same."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from nbtrain.errors import ModelError
from nbtrain.models import load, saved


def trained(model):
    """The model after something like training: no adapter is zero any more."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return model.eval()


def logits(model, words):
    with torch.no_grad():
        return model(**words("Once there was a king", return_tensors="pt")).logits


def test_a_saved_model_gives_the_same_logits_to_the_bit(params, tmp_path):
    words, model = load.tokenizer(params()), trained(load.causal_model(params()))
    before = logits(model, words)
    load.save(model, words, tmp_path / "model", params())
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(logits(again, AutoTokenizer.from_pretrained(tmp_path / "model")), before)
    assert again.config.use_cache is True


def test_a_merged_adapter_gives_the_logits_it_gave_unmerged_and_stands_beside_the_model(params, tmp_path):
    asked = params(peft=True)
    words, model = load.tokenizer(asked), trained(load.causal_model(asked))
    before = logits(model, words)
    load.save(model, words, tmp_path / "model", asked)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits(again, words), before, atol=1e-4, rtol=0)
    assert (
        not (before - logits(load.saved_model("tiny").float(), words)).abs().max() < 1e-2
    )  # the adapter did say something
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_the_adapter_of_a_base_in_four_bits_is_merged_into_the_base_in_full(params, tmp_path):
    asked = params(peft=True, quantization="int4")
    words, model = load.tokenizer(asked), trained(load.causal_model(asked))
    load.save(model, words, tmp_path / "model", asked)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert again.dtype == torch.float32 and not hasattr(again.config, "quantization_config")

    from peft import PeftModel

    base = load.causal_model(params())
    expected = logits(PeftModel.from_pretrained(base, tmp_path / "adapter").eval(), words)
    torch.testing.assert_close(logits(again, words), expected, atol=1e-4, rtol=0)


def test_an_unmerged_adapter_names_a_base_that_can_be_opened(params, tmp_path):
    asked = params(peft=True, merge_adapter=False)
    words, model = load.tokenizer(asked), trained(load.causal_model(asked))
    before = logits(model, words)
    load.save(model, words, tmp_path / "model", asked)
    assert json.loads((tmp_path / "model" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        load.TINY
    )
    torch.testing.assert_close(logits(load.saved_model(tmp_path / "model").float(), words), before, atol=0.05, rtol=0)
    assert load.verify(tmp_path / "model").startswith("The saved model opens with transformers")


def test_saving_again_replaces_the_whole_folder(params, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "left_over.safetensors").write_bytes(b"old")
    load.save(load.causal_model(params()), load.tokenizer(params()), tmp_path / "model", params())
    assert not (tmp_path / "model" / "left_over.safetensors").exists()
    assert [folder.name for folder in tmp_path.iterdir()] == ["model"]


def test_what_was_there_stays_when_saving_fails(params, tmp_path):
    class Full:
        def save_pretrained(self, folder):
            raise OSError("No space left on device")

    words, model = load.tokenizer(params()), load.causal_model(params())
    load.save(model, words, tmp_path / "model", params())
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(OSError, match="No space left"):
        load.save(trained(model), Full(), tmp_path / "model", params())
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before


def test_contradicting_generation_settings_of_a_base_do_not_cost_the_trained_model(params, tmp_path):
    words, model = load.tokenizer(params()), load.causal_model(params())
    model.generation_config.do_sample, model.generation_config.temperature = False, 0.6
    with pytest.raises(ValueError, match="temperature"):
        model.save_pretrained(tmp_path / "plain")
    load.save(model, words, tmp_path / "model", params())
    assert json.loads((tmp_path / "model" / "generation_config.json").read_text())["temperature"] == 0.6


def test_a_saved_model_is_opened_and_writes(params, tmp_path):
    load.save(load.causal_model(params()), load.tokenizer(params()), tmp_path / "model", params())
    assert load.verify(tmp_path / "model", prompt="The").startswith(
        "The saved model opens with transformers and writes: 'The"
    )


def test_a_model_of_no_numbers_is_found_out(params, tmp_path):
    model = load.causal_model(params())
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    load.save(model, load.tokenizer(params()), tmp_path / "model", params())
    with pytest.raises(ModelError, match="logits that are not numbers") as caught:
        load.verify(tmp_path / "model")
    assert "lower --lr" in caught.value.fix


def test_a_model_that_does_not_fit_beside_the_trained_one_is_not_opened(monkeypatch):
    monkeypatch.setattr(saved, "_free_memory", lambda: 2**20)
    assert load.verify("tiny").startswith("The saved model was not opened for a check: it needs 0.0 GiB")
