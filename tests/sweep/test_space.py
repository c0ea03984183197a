"""What a sweep searches: ranges that are asked for, ranges out of the fields, and what is refused in which words."""

import pytest

from nbtrain.errors import ParamError
from nbtrain.sweep.space import Dial, dials
from nbtrain.trainers import load

LLM, TABULAR = load("llm").Params, load("tabular").Params


def searched(ranges, room=LLM, **values):
    return {dial.name: dial for dial in dials(room(use_sweep=True, sweep_params=ranges, **values))}


def test_every_form_of_a_range_is_understood():
    found = searched(
        {
            "lr": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
            "weight_decay": {"type": "uniform", "low": 0, "high": 0.1},
            "warmup_ratio": {"low": 0.0, "high": 0.3, "step": 0.1},
            "batch_size": [2, 4, 8],
            "gradient_accumulation": {"type": "int", "min": 1, "max": 16, "log": True},
            "epochs": {"low": 1, "high": 3},
            "scheduler": {"type": "categorical", "values": ["linear", "cosine"]},
            "peft": {"choices": [True, False]},
        }
    )
    assert found == {
        "lr": Dial("lr", low=1e-5, high=1e-3, log=True),
        "weight_decay": Dial("weight_decay", low=0, high=0.1),
        "warmup_ratio": Dial("warmup_ratio", low=0.0, high=0.3, step=0.1),
        "batch_size": Dial("batch_size", values=(2, 4, 8)),
        "gradient_accumulation": Dial("gradient_accumulation", low=1, high=16, whole=True, log=True),
        "epochs": Dial("epochs", low=1, high=3, whole=True),
        "scheduler": Dial("scheduler", values=("linear", "cosine")),
        "peft": Dial("peft", values=(True, False)),
    }


def test_text_of_a_config_and_names_of_other_systems_are_read():
    assert searched('{"learning_rate": [0.1, 0.2], "batch-size": [1]}').keys() == {"lr", "batch_size"}


def test_without_ranges_the_fields_say_what_is_tried_around_their_values():
    found = searched(None, lr=1e-4, batch_size=4, trainer="dpo")
    assert (found["lr"].low, found["lr"].high, found["lr"].log) == (pytest.approx(1e-5), pytest.approx(1e-3), True)
    assert found["batch_size"].values == (2, 4, 8, 16)
    assert (found["warmup_ratio"].low, found["warmup_ratio"].high) == (0.0, 0.2)
    assert "dpo_beta" in found and "dpo_beta" not in searched(None, trainer="sft")
    assert searched(None, batch_size=1)["batch_size"].values == (1, 2, 4)  # never less than the field allows
    assert "xgboost" in searched(None, TABULAR)["model"].values


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"lerning_rat": [1]}, "no parameter --lerning-rat. Did you mean learning_rate?"),
        ({"batch_sise": [1]}, "Did you mean --batch-size?"),
        ({"lr": {"type": "loguniforn", "low": 1e-5, "high": 1}}, "Did you mean loguniform?"),
        ({"lr": {"low": 1e-5, "hihg": 1}}, "there is no 'hihg'. Did you mean high?"),
        ({"lr": {"low": 1e-3, "high": 1e-5}}, "low is below high"),
        ({"lr": {"low": 1e-3}}, "high is a number; found None"),
        ({"lr": {"low": "small", "high": 1}}, "low is a number; found 'small'"),
        ({"lr": {"type": "loguniform", "low": 0, "high": 1}}, "above 0"),
        ({"lr": [0.1, -1]}, "greater than 0; found -1"),
        ({"batch_size": {"type": "float", "low": 1, "high": 8}}, "takes whole numbers"),
        ({"batch_size": {"low": 1.5, "high": 8}}, "low is a whole number; found 1.5"),
        ({"batch_size": {"low": 0, "high": 8}}, "greater than or equal to 1; found 0"),
        ({"scheduler": {"low": 0, "high": 8}}, "is no number"),
        ({"peft": {"low": 0, "high": 1}}, "is no number"),
        ({"mixed_precision": ["bf17"]}, "found 'bf17'. Did you mean bf16?"),
        ({"lr": []}, "a list with something in it"),
        ({"lr": [[1]]}, "a value is a text, a number"),
        ({"lr": 0.1}, "0.1 is nothing to search"),
        ({"project_name": ["a", "b"]}, "cannot be searched"),
        ({"sweep_n_trials": [1, 2]}, "cannot be searched"),
        ({"dpo_beta": [0.1, 0.2]}, "only applies to dpo"),
        ({"lr": [0.1], "learning_rate": [0.2]}, "twice"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_words(ranges, said):
    with pytest.raises(ParamError, match="--sweep-params") as caught:
        searched(ranges, trainer="sft")
    assert said in str(caught.value)


def test_a_room_without_usual_ranges_asks_for_some():
    with pytest.raises(ParamError, match="nobody said what a sweep of generic searches"):
        searched(None, load("generic").Params)


def test_what_is_no_json_is_refused_where_it_is_typed():
    with pytest.raises(ParamError, match="--sweep-params takes JSON"):
        LLM(use_sweep=True, sweep_params="lr: 1")


def test_sweep_words_without_the_switch_are_told_to_have_no_effect():
    for given in ({}, {"use_sweep": "false"}):
        params = LLM(**given, sweep_n_trials=3)
        assert params.sweep_n_trials == 10
        assert params.notices == ["sweep_n_trials only applies with --use-sweep, will be ignored"]
    assert LLM(use_sweep="on", sweep_n_trials=3).notices == []


@pytest.mark.parametrize(
    ("dial", "inside", "outside"),
    [
        (Dial("lr", low=0.1, high=1.0), (0.1, 0.5, 1), (0.05, 2, "0.5", None, True)),
        (Dial("a", low=0, high=1, step=0.25), (0.25, 1), (0.3,)),
        (Dial("b", values=(1, "one", None)), (1, "one", None), (True, 1.0, "two")),
    ],
)
def test_it_is_known_which_values_a_range_holds(dial, inside, outside):
    assert all(dial.holds(value) for value in inside) and not any(dial.holds(value) for value in outside)
