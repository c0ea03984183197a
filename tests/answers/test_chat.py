"""A finished language model beside the model that it was made of."""

import pytest

import nbtrain
from nbtrain.answers.chat import Pair
from nbtrain.errors import ParamError, RunError
from nbtrain.run import train_here


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that has learnt: its answers are no longer those of its base."""
    asked = nbtrain.LLMTrainingParams(trainer="sft", lr=5e-3, batch_size=8, max_samples=48, max_steps=8)
    return train_here(asked, root=tmp_path_factory.mktemp("trained"))


def test_both_answer_the_same_question_each_with_its_own_weights(trained):
    pair = Pair(trained)
    said = pair.ask("Name a colour.", max_new_tokens=6, temperature=0)
    assert (said.base, said.run, said.question) == ("tiny", trained.name, "Name a colour.")
    assert said.answer == trained.chat("Name a colour.", max_new_tokens=6, temperature=0)
    assert said.before != said.answer
    assert said.lines()[0] == "question:" and said.lines()[1] == "  Name a colour."
    pair.free()
    assert pair.ask("Name a colour.", max_new_tokens=6, temperature=0) == said


def test_an_empty_question_is_none(trained):
    with pytest.raises(ParamError, match="chat needs a question"):
        Pair(trained).ask("  ")


def test_a_run_without_a_model_and_one_that_does_not_write_are_refused(made_run):
    with pytest.raises(RunError, match="has no model"):
        Pair(made_run("one", [1.0]))
    with pytest.raises(RunError, match="no language model"):
        Pair(made_run("two", [1.0], room="text-classification"))
