"""The clipped losses, the estimates of divergence and its controllers, by hand."""

import math

import pytest
import torch

from nbtrain.trainers.rl import losses
from nbtrain.trainers.rl.divergence import Adaptive, Fixed, estimate

ALL = torch.ones(3)


def test_a_good_token_is_raised_only_within_the_clip():
    old = torch.zeros(3)
    now = torch.log(torch.tensor([1.5, 1.1, 0.5]))
    loss, share = losses.policy_loss(now, old, torch.ones(3), 0.2, ALL)
    # ratios 1.5, 1.1, 0.5: the first counts as 1.2, a fall below is not held back
    assert loss == pytest.approx(-(1.2 + 1.1 + 0.5) / 3) and share == pytest.approx(1 / 3)


def test_a_bad_token_is_lowered_only_within_the_clip():
    now = torch.log(torch.tensor([1.5, 1.1, 0.5]))
    loss, share = losses.policy_loss(now, torch.zeros(3), -torch.ones(3), 0.2, ALL)
    assert loss == pytest.approx((1.5 + 1.1 + 0.8) / 3) and share == pytest.approx(1 / 3)


def test_no_gradient_comes_from_beyond_the_clip():
    now = torch.log(torch.tensor([1.5, 1.1])).requires_grad_()
    losses.policy_loss(now, torch.zeros(2), torch.ones(2), 0.2, torch.ones(2))[0].backward()
    assert now.grad[0] == 0 and now.grad[1] == pytest.approx(-1.1 / 2)


def test_a_value_is_moved_only_within_the_clip_of_the_old_one():
    values, old, wanted = torch.tensor([2.0, 0.1]), torch.zeros(2), torch.tensor([3.0, 3.0])
    loss, share = losses.value_loss(values, old, wanted, 0.5, torch.ones(2))
    # near: 0.5 and 0.1; errors squared: max(1, 6.25) and 8.41; half their mean
    assert loss == pytest.approx((6.25 + 8.41) / 2 / 2) and share == pytest.approx(0.5)


def test_parts_of_a_minibatch_add_up_to_the_whole():
    chance = torch.Generator().manual_seed(0)
    now, old, better = (torch.randn(4, 6, generator=chance) * 0.3 for _ in range(3))
    mask = (torch.rand(4, 6, generator=chance) > 0.4).float()
    whole = [loss(now, old, better, 0.2, mask)[0] for loss in (losses.policy_loss, losses.value_loss)]
    parts = [
        sum(loss(now[part], old[part], better[part], 0.2, mask[part], count=mask.sum())[0] for part in ([0], [1, 2, 3]))
        for loss in (losses.policy_loss, losses.value_loss)
    ]
    assert torch.allclose(torch.stack(whole), torch.stack(parts))


def test_entropy_of_equal_choices_is_their_logarithm():
    assert losses.entropy(torch.zeros(2, 8))[0] == pytest.approx(math.log(8))


def test_the_estimates_come_to_the_true_divergence():
    policy, reference = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.3, 0.3, 0.4])
    true = float((policy * (policy / reference).log()).sum())
    expected = {kind: float(policy @ estimate(policy.log(), reference.log(), kind)) for kind in ("k1", "k2", "k3")}
    assert expected["k1"] == pytest.approx(true) and expected["k3"] == pytest.approx(true)
    assert expected["k2"] == pytest.approx(true, rel=0.2)
    assert (estimate(policy.log(), reference.log(), "k3") >= 0).all()


def test_an_adaptive_penalty_follows_its_target_and_a_fixed_one_stays():
    adaptive, fixed = Adaptive(0.2, target=6.0, horizon=100), Fixed(0.2)
    for penalty in (adaptive, fixed):
        penalty.update(60.0, rows=10)
    assert adaptive.coefficient == pytest.approx(0.2 * 1.02)  # an error counts for a fifth at most: 0.2 * 10 / 100
    adaptive.update(5.4, rows=10)
    assert adaptive.coefficient == pytest.approx(0.2 * 1.02 * 0.99)
    assert fixed.coefficient == 0.2
    again = Adaptive(0.9, target=6.0)
    again.load_state_dict(adaptive.state_dict())
    assert again.coefficient == adaptive.coefficient
