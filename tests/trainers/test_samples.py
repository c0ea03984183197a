"""What a model writes is the same whenever it is asked, and asking it leaves no trace."""

import random

import numpy
import pytest
import torch

from nbtrain.models import load
from nbtrain.trainers._samples import Manner, Prompt, generate, undisturbed


@pytest.fixture(scope="module")
def model():
    return load.saved_model("tiny").float()


@pytest.fixture(scope="module")
def tokenizer():
    return load.saved_tokenizer("tiny")


def ask(model, tokenizer, *texts, **manner):
    prompts = [Prompt(text, tuple(tokenizer(text).input_ids)) for text in texts]
    return generate(model, tokenizer, prompts, Manner(longest=8, **manner))


def test_the_same_seed_writes_the_same_and_another_something_else(model, tokenizer):
    first = ask(model, tokenizer, "Where is", seed=1)
    assert first == ask(model, tokenizer, "Where is", seed=1)
    assert first != ask(model, tokenizer, "Where is", seed=2)


def test_without_temperature_the_likeliest_token_is_written_whoever_stands_beside(model, tokenizer):
    alone = ask(model, tokenizer, "Where is", temperature=0)
    assert ask(model, tokenizer, "Where is", "The largest of all the cities", temperature=0)[:1] == alone
    ids = torch.tensor([tokenizer("Where is").input_ids])
    for _ in range(8):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    # the end token, where the model writes one, ends the sample
    assert tokenizer.decode(ids[0, -8:], skip_special_tokens=True).startswith(alone[0])


def test_no_random_state_and_no_mode_is_changed(model, tokenizer):
    model.train()
    states = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    ask(model, tokenizer, "Where is")
    assert (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert model.training


def test_the_states_come_back_after_an_error_too(model):
    model.train()
    before = torch.get_rng_state().tolist()
    with pytest.raises(ZeroDivisionError), undisturbed(model):
        torch.rand(3)
        raise ZeroDivisionError
    assert torch.get_rng_state().tolist() == before
    assert model.training


def test_writing_ends_when_it_is_asked_to(model, tokenizer):
    prompts = [Prompt("Where", tuple(tokenizer("Where").input_ids))]
    asked = iter([False, False, True])
    written = generate(model, tokenizer, prompts, Manner(longest=50, seed=3), stopped=lambda: next(asked))
    assert len(tokenizer(written[0]).input_ids) <= 3
