"""Names of other systems: what they become here."""

import pytest

from nbtrain import peers
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.trainers import load

Params = load("llm").Params


@pytest.mark.parametrize("name", peers.NAMES)
def test_each_name_leads_to_a_parameter_that_exists(name):
    assert peers.NAMES[name] in Params.options()
    assert name not in peers.known(Params), "a name of ours is never translated"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"load_in_4bit": True}, {"quantization": "int4"}),
        ({"load_in_8bit": True}, {"quantization": "int8"}),
        ({"load_in_4bit": False}, {"quantization": None}),
        ({"mixed_precision_dtype": "BF16"}, {"mixed_precision": "bf16"}),
        ({"enable_gradient_checkpointing": True}, {"disable_gradient_checkpointing": False}),
        ({"eval_interval": 5}, {"eval_strategy": "steps", "eval_steps": 5}),
        ({"save_interval": 6}, {"save_strategy": "steps", "save_steps": 6}),
        ({"enable_tensorboard": True}, {"log": "tensorboard"}),
        ({"lora_target_modules": ["q", "v"]}, {"target_modules": "q,v"}),
        ({"num_epochs": None}, {}),
    ],
    ids=str,
)
def test_what_they_say_is_said_in_our_words(theirs, ours):
    values, notices = peers.translated(theirs, Params)
    assert values == ours
    assert len(notices) == bool(ours)


def test_a_name_of_ours_goes_before_theirs_and_strangers_are_left():
    values, notices = peers.translated({"lr": 1e-3, "learning_rate": 1e-4, "strange": 1, "max_length": 9}, Params)
    assert values == {"lr": 1e-3, "strange": 1, "max_length": 9}
    assert notices == ["Read by their names here: learning_rate as lr."]


def test_a_room_takes_only_what_it_has():
    class Small(Base):
        lr: float = option(1.0, "learning rate", group="Training", gt=0)

    values, notices = peers.translated({"learning_rate": 2.0, "ref_model": "x"}, Small)
    assert values == {"lr": 2.0, "ref_model": "x"}
    assert notices == ["Read by their names here: learning_rate as lr."]
