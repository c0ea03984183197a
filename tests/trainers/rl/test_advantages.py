"""Advantages against cases worked by hand, sums written out, and TRL 1.12.0 (see scripts/ppo_oracle.py)."""

import json
from pathlib import Path

import pytest
import torch

from nbtrain.errors import DataError
from nbtrain.trainers.rl.advantages import advantages, explained_variance, returns, whitened

ORACLE = json.loads((Path(__file__).parents[2] / "data_files" / "ppo_oracle.json").read_text())


def test_two_tokens_worked_by_hand():
    rewards, values = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 1.0, 0.0])
    # second: 2 + 0 - 1 = 1; first: 1 + 0.5 * 1 - 0.5 = 1, and 0.5 * 0.8 of the second
    assert advantages(rewards, values, 0.5, 0.8).tolist() == pytest.approx([1.4, 1.0])


def test_lam_of_one_gives_returns_minus_values():
    chance = torch.Generator().manual_seed(1)
    rewards, values = torch.randn(3, 7, generator=chance), torch.randn(3, 8, generator=chance)
    values[:, -1] = 0
    plain = [[sum(0.9 ** (later - at) * row[later] for later in range(at, 7)) for at in range(7)] for row in rewards]
    expected = torch.tensor(plain) - values[:, :-1]
    assert torch.allclose(advantages(rewards, values, 0.9, 1.0), expected, atol=1e-5)
    assert torch.allclose(returns(rewards, 0.9), torch.tensor(plain), atol=1e-5)


def test_lam_of_zero_gives_the_error_of_one_step():
    rewards, values = torch.tensor([1.0, -1.0, 0.5]), torch.tensor([0.2, 0.4, -0.3, 0.7])
    expected = rewards + 0.9 * values[1:] - values[:-1]
    assert torch.allclose(advantages(rewards, values, 0.9, 0.0), expected)


def test_the_bootstrap_counts_for_what_was_not_played():
    assert returns(torch.zeros(2), 0.5, last=torch.tensor(8.0)).tolist() == [2.0, 4.0]


def test_what_is_masked_is_passed_over_wherever_it_stands():
    rewards, values = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.25, 1.0, 0.0])
    expected = advantages(rewards, values, 0.9, 0.8)
    wide = advantages(
        torch.tensor([1.0, 99.0, 2.0, 3.0, 99.0]),
        torch.tensor([0.5, 99.0, 0.25, 1.0, 99.0, 0.0]),
        0.9,
        0.8,
        torch.tensor([1, 0, 1, 1, 0]),
    )
    assert wide[[0, 2, 3]].tolist() == pytest.approx(expected.tolist())
    assert wide[[1, 4]].tolist() == [0.0, 0.0]


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="3 rewards need 4 values"):
        advantages(torch.zeros(3), torch.zeros(3), 0.9, 0.9)


def test_whitened_values_have_no_mean_and_a_variance_of_one_within_the_mask():
    values, mask = torch.tensor([[1.0, 2.0, 50.0], [4.0, 7.0, 50.0]]), torch.tensor([[1.0, 1, 0], [1, 1, 0]])
    found = whitened(values, mask)
    inside = found[mask.bool()]
    assert inside.mean() == pytest.approx(0, abs=1e-6) and inside.std() == pytest.approx(1, abs=1e-5)
    assert found[0, 2] == 0
    assert whitened(values, mask, centred=False)[mask.bool()].mean() == pytest.approx(3.5)


def test_explained_variance_is_one_for_a_prophet_and_none_for_a_constant():
    hopes, mask = torch.tensor([1.0, 2.0, 4.0, 9.0]), torch.tensor([1.0, 1, 1, 0])
    assert explained_variance(hopes, hopes, mask) == pytest.approx(1)
    assert explained_variance(torch.full((4,), 3.0), hopes, mask) == pytest.approx(0)
    assert explained_variance(hopes, torch.ones(4), mask) != explained_variance(hopes, torch.ones(4), mask)  # nan


@pytest.mark.parametrize("kind", ["whole", "ended"])
def test_they_are_those_of_trl(kind):
    names = ("rewards", "values", "advantages", "returns", "whitened", "padding_mask")
    figures = {name: torch.tensor(ORACLE[kind][name]) for name in names}
    settings = ORACLE["inputs"]["settings"]
    values = torch.nn.functional.pad(figures["values"], (0, 1))
    found = advantages(figures["rewards"], values, settings["gamma"], settings["lam"])
    assert torch.allclose(found, figures["advantages"], atol=1e-5)
    assert torch.allclose(found + figures["values"], figures["returns"], atol=1e-5)
    mask = (~figures["padding_mask"]).float()
    assert torch.allclose(whitened(found, mask), figures["whitened"] * mask, atol=1e-5)
