"""Models are opened for training with the weights, the adapter and the device that the parameters ask for."""

import pytest
import torch

from nbtrain.errors import MissingExtra, ModelError
from nbtrain.models import adapters, load

TEXT = "The cat sat on the mat."


def loss_of(model, words):
    ids = words(TEXT, return_tensors="pt").input_ids
    return model(ids, labels=ids).loss


def test_all_weights_are_trained_in_float32_although_they_are_stored_in_bfloat16(params):
    model = load.causal_model(params())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    counts = load.parameter_counts(model)
    assert counts["parameters"] == counts["trainable"] == model.num_parameters()


def test_the_generation_cache_is_off_while_training(params):
    assert load.causal_model(params()).config.use_cache is False


def test_an_adapter_is_all_that_is_trained(params):
    model = load.causal_model(params(peft=True, lora_r=4))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    hidden, inner, layers = 192, 512, 4
    per_layer = 4 * 4 * (hidden + hidden) + 3 * 4 * (
        hidden + inner
    )  # rank 4; four layers of attention, three of the MLP
    assert load.parameter_counts(model)["trainable"] == layers * per_layer


def test_an_adapter_takes_the_layers_that_are_named(params):
    model = load.causal_model(params(peft=True, target_modules="q_proj, v_proj"))
    adapted = {name.split(".lora_")[0].split(".")[-1] for name, _ in model.named_parameters() if "lora_" in name}
    assert adapted == {"q_proj", "v_proj"}


def test_a_new_adapter_does_not_change_the_model(params):
    words = load.tokenizer(params())
    whole = load.causal_model(params()).eval()
    adapted = load.causal_model(params(peft=True)).eval()
    assert torch.equal(loss_of(whole, words), loss_of(adapted, words))


@pytest.mark.parametrize("quantization", ["int4", "int8"])
def test_a_quantised_base_stays_and_its_adapter_learns(params, quantization):
    torch.manual_seed(0)
    asked = params(peft=True, quantization=quantization, lora_dropout=0)
    words, model = load.tokenizer(asked), load.causal_model(asked)
    loss_of(model, words)  # bitsandbytes rearranges the weights for this CPU when they are first used
    base = {name: weight.detach().clone() for name, weight in model.named_parameters() if not weight.requires_grad}
    adapter = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(adapter, lr=5e-3)
    losses = []
    for _ in range(6):
        loss = loss_of(model, words)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(parameter, base[name]) for name, parameter in model.named_parameters() if name in base)


def test_weights_in_four_bits_are_counted_one_by_one(params):
    whole = load.parameter_counts(load.causal_model(params(peft=True)))
    assert load.parameter_counts(load.causal_model(params(peft=True, quantization="int4"))) == whole


def test_quantisation_without_bitsandbytes_names_the_package(params, monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="bitsandbytes") as caught:
        load.causal_model(params(peft=True, quantization="int4"))
    assert caught.value.fix == "pip install bitsandbytes"


def test_layers_that_do_not_exist_are_answered_with_those_that_do(params):
    with pytest.raises(ModelError, match=r"q_projj matches no layer.*k_proj.*Did you mean q_proj\?"):
        load.causal_model(params(peft=True, target_modules="q_projj"))


def test_an_adapter_is_merged_into_its_base_when_training_goes_on(params, tmp_path):
    asked = params(peft=True, merge_adapter=False)
    words, model = load.tokenizer(asked), load.causal_model(asked).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    expected = loss_of(model, words)
    load.save(model, words, tmp_path / "model", asked)
    told = []
    again = load.causal_model(params(model=str(tmp_path / "model")), tell=told.append).eval()
    assert loss_of(again, words).item() == pytest.approx(expected.item(), abs=1e-4)
    assert load.parameter_counts(again)["trainable"] == 2_557_632
    assert "merged into its base" in told[0]


def test_a_tokenizer_without_padding_pads_with_its_end_and_says_so(params, tiny_copy):
    words = load.tokenizer(params())
    words.pad_token = None
    words.save_pretrained(tiny_copy)
    told = []
    again = load.tokenizer(params(model=str(tiny_copy)), tell=told.append)
    assert again.pad_token == again.eos_token == "<|im_end|>"
    assert "no token for padding" in told[0]
