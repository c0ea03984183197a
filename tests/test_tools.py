"""Merging an adapter into its base: the weights, the words, and each way in which it is refused."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from nbtrain import cli, hub, tools
from nbtrain.errors import ModelError, ParamError
from nbtrain.models import load
from nbtrain.trainers import load as room


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A LoRA adapter of the built-in model that changes what it says."""
    params = room("llm").Params(peft=True, lora_r=2)
    torch.manual_seed(0)
    model = load.causal_model(params)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    place = tmp_path_factory.mktemp("adapter") / "adapter"
    model.save_pretrained(place)
    ids = torch.tensor([[5, 6, 7]])
    return place, ids, model.eval()(ids).logits.detach()


def test_the_merged_model_says_what_base_and_adapter_say(adapter, tmp_path, capsys):
    place, ids, wanted = adapter
    output = tmp_path / "merged"
    words = ["--base-model-path", "tiny", "--adapter-path", str(place), "--output-folder", str(output)]
    assert cli.main(["tools", "merge-llm-adapter", *words]) == 0
    told = capsys.readouterr().out
    assert f"written: {output}" in told and "opens with transformers and writes" in told
    merged = AutoModelForCausalLM.from_pretrained(output)
    assert torch.allclose(merged(ids).logits, wanted, atol=1e-4)
    assert not (output / "adapter_config.json").exists()
    with pytest.raises(ParamError, match="is there already"):
        tools.merge("tiny", str(place), str(output))


def test_what_it_wrote_can_go_to_the_hub(adapter, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "upload", lambda files, name, token: asked.append((sorted(files), name, token)) or "url")
    monkeypatch.setattr(hub, "checked", lambda name, token: f"somebody/{name}")
    output = tmp_path / "merged"
    words = [f"--base-model-path=tiny --adapter-path={adapter[0]} --output-folder={output}".split()][0]
    told = tools.answer(["merge-llm-adapter", *words, "--push-to-hub", "--token", "hf_x"])
    assert told.endswith("Uploaded: url")
    assert asked[0][1:] == ("somebody/merged", "hf_x") and "model.safetensors" in asked[0][0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "tools has one tool"),
        (["merge"], "tools has one tool"),
        (["merge-llm-adapter"], "needs --base-model-path and --adapter-path and --output-folder"),
        (["merge-llm-adapter", "--base-model-path", "tiny", "--what"], "does not know '--what'"),
    ],
    ids=str,
)
def test_wrong_words_are_told(words, told):
    with pytest.raises(ParamError, match=told):
        tools.answer(words)


def test_a_whole_model_is_no_adapter(tmp_path):
    with pytest.raises(ParamError, match="is no adapter"):
        tools.merge("tiny", "tiny", str(tmp_path / "out"))


def test_a_folder_without_a_model_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no model"):
        tools.merge("tiny", str(tmp_path / "empty"), str(tmp_path / "out"))
