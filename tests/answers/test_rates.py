"""Which learning rate: where the curve of a range test falls, and where it bursts."""

import math

import numpy
import pytest

import nbtrain
from nbtrain.answers.rates import Rates, settings
from nbtrain.errors import ParamError, RunError
from nbtrain.trainers._range import burst, smoothed


def ranged(losses, low=1e-6, high=1.0):
    rates = numpy.geomspace(low, high, len(losses))
    return Rates("llm sft", tuple(rates), tuple(losses), 1e-4, len(losses))


def falling(points=100, begin=1e-4, end=1e-2):
    """Flat, then falling between two rates, then rising."""
    rates = numpy.geomspace(1e-6, 1.0, points)
    place = numpy.clip((numpy.log(rates) - math.log(begin)) / math.log(end / begin), 0, 1)
    rise = numpy.clip(numpy.log(rates) - math.log(end * 5), 0, None) ** 2
    return list(4.0 - 2.0 * place + rise)


def test_the_mean_is_the_weighted_mean_of_what_came_before():
    losses = [4.0, 2.0, 3.0]
    weights = [0.9**2, 0.9, 1.0]
    expected = sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert smoothed(losses)[-1] == pytest.approx(expected)
    assert smoothed(losses)[0] == 4.0


def test_suggestions_lie_where_the_loss_falls_and_steep_is_where_it_falls_fastest():
    found = ranged(falling()).suggestions()
    assert 1e-4 < found["steep"] < 2e-2
    assert 1e-4 < found["valley"] < 2e-2
    means = smoothed(falling())
    rates = list(ranged(falling()).rates)
    at = rates.index(found["steep"])
    slopes = [means[each + 1] - means[each - 1] for each in range(11, 80)]
    assert means[at + 1] - means[at - 1] == pytest.approx(min(slopes))


def test_a_loss_that_never_falls_suggests_nothing():
    found = ranged([2.0 + 0.01 * step for step in range(50)])
    assert found.suggestions() == {}
    assert "no suggestion" in found.lines()[-1]


def test_a_burst_is_four_times_the_lowest_and_never_at_the_beginning():
    assert not burst([1.0] * 30)
    assert not burst([1.0, 100.0])
    assert burst([1.0] * 30 + [1e6])


def test_lines_say_the_rates_as_they_are_typed():
    lines = ranged(falling()).lines()
    assert lines[0] == "learning rates of llm sft"
    assert any(line.startswith("valley") and "--lr " in line for line in lines)


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"lowest": 1.0, "highest": 0.1}, ParamError, "0 < lowest < highest"),
        ({"lowest": 0.0}, ParamError, "0 < lowest < highest"),
        ({"steps": 3}, ParamError, "12 steps or more"),
    ],
)
def test_a_test_that_makes_no_sense_is_refused_before_anything_starts(given, error, told, workdir):
    with pytest.raises(error, match=told):
        nbtrain.lr_find(nbtrain.LLMTrainingParams(trainer="sft"), **given)


def test_a_policy_has_no_loss_that_would_tell(workdir):
    asked = nbtrain.LLMTrainingParams(trainer="ppo", rl_reward_fn="length")
    with pytest.raises(RunError, match="cannot look into llm ppo"):
        nbtrain.lr_find(asked)


def test_flags_are_numbers_or_refused():
    assert settings({"--steps": "30", "--lowest": "1e-5"}) == {"steps": 30, "lowest": 1e-5}
    with pytest.raises(ParamError, match="--steps is a number; found 'many'"):
        settings({"--steps": "many"})
