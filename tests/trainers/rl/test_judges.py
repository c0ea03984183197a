"""A classifier as a reward: what it says of an answer, alone and with its prompt, padded or not."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from nbtrain.errors import ParamError
from nbtrain.models import load
from nbtrain.trainers.rl.rewards import named

ANSWERS = ["It is far away.", "Yes.", "The old town by the sea was built by them long ago."]


@pytest.fixture(scope="module")
def tokenizer():
    return load.saved_tokenizer("tiny")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory, tokenizer):
    """A reward model with one output, a decoder."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_labels=1, pad_token_id=tokenizer.pad_token_id, initializer_range=0.5,
    )  # fmt: skip
    return saved(LlamaForSequenceClassification(config), tokenizer, tmp_path_factory.mktemp("scorer"))


@pytest.fixture(scope="module")
def feeling(tmp_path_factory, tokenizer):
    """A classifier of two labels, an encoder."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=32, id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1},
        initializer_range=0.5,
    )  # fmt: skip
    return saved(BertForSequenceClassification(config), tokenizer, tmp_path_factory.mktemp("feeling"))


def saved(model, tokenizer, path):
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_reward_model_gives_its_number_whatever_stands_beside(scorer, tokenizer):
    reward = named({"name": "classifier", "model": str(scorer), "batch_size": 2})
    prompts = ["Where is the town?"] * 3
    found = reward(prompts=prompts, completions=ANSWERS)
    model = load.saved_headed("AutoModelForSequenceClassification", scorer)
    for prompt, answer, value in zip(prompts, ANSWERS, found, strict=True):
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=False)
        assert value == pytest.approx(model(ids).logits.item(), abs=1e-4)
    messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
    said = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
    assert reward(prompts=messages, completions=said) == pytest.approx(found)


def test_a_classifier_gives_the_log_odds_of_its_label(feeling):
    positive = named({"name": "sentiment", "model": str(feeling)})(prompts=["p"] * 3, completions=ANSWERS)
    negative = named({"name": "sentiment", "model": str(feeling), "label": "negative"})(
        prompts=["q"] * 3, completions=ANSWERS
    )
    assert positive == pytest.approx([-value for value in negative])  # two labels; the prompt is not judged
    assert len(set(positive)) == 3


def test_a_text_longer_than_the_model_keeps_its_end(feeling):
    reward = named({"name": "sentiment", "model": str(feeling)})
    end = "and that was the end of it, for all of us, for ever and ever and ever. " * 4
    one, other = reward(prompts=["p"] * 2, completions=["Once upon a time. " + end, "Never. " + end])
    assert one == pytest.approx(other)


def test_a_label_that_is_not_there_is_told_with_the_nearest(feeling):
    with pytest.raises(ParamError, match="no label 'POSITIV'; it has NEGATIVE, POSITIVE. Did you mean POSITIVE"):
        named({"name": "classifier", "model": str(feeling), "label": "POSITIV"})(prompts=["p"], completions=["a"])


def test_several_heads_of_a_reward_model_give_their_mean(tmp_path, feeling):
    model = load.saved_headed("AutoModelForSequenceClassification", feeling)
    model.config.id2label = {0: "reward 1", 1: "reward 2"}
    model.config.label2id = {"reward 1": 0, "reward 2": 1}
    heads = saved(model, load.saved_tokenizer(feeling), tmp_path)
    found = named({"name": "classifier", "model": str(heads), "whole": False})(prompts=["p"] * 3, completions=ANSWERS)
    ids = load.saved_tokenizer(feeling)(ANSWERS, padding=True, return_tensors="pt", add_special_tokens=False)
    logits = model(input_ids=ids.input_ids, attention_mask=ids.attention_mask).logits
    assert found == pytest.approx(logits.mean(1).tolist(), abs=1e-5)
