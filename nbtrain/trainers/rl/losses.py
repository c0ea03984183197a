"""What is minimised: the clipped losses of policy and value.

Each is a mean over the positions of a mask. Where a minibatch goes through the model in parts, `count` is the number of
positions in all of it: the parts' losses then add up to that of the whole.

Source: Schulman et al. 2017, arXiv:1707.06347, eq. 7 and 9.
"""

from __future__ import annotations

from typing import Any


def policy_loss(  # noqa: PLR0913  the names of the formula
    logprobs: Any, old: Any, advantages: Any, clip: float, mask: Any, *, count: Any = None
) -> tuple[Any, Any]:
    """The clipped surrogate objective, negated.

    Args:
        logprobs: (..., time) log-probability of each token by the policy as it is now.
        old: the same by the policy that wrote it.
        advantages: (..., time).
        clip: the ratio counts only within 1 - clip and 1 + clip.
        mask: (..., time), 1 at the policy's tokens.

    Returns:
        The loss, and the share of the tokens at which the clipped branch was the larger.
    """
    import torch

    ratio = (logprobs - old).exp()
    free, kept = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return mean(torch.max(free, kept), mask, count), mean((kept > free).float(), mask, count)


def value_loss(  # noqa: PLR0913  the names of the formula
    values: Any, old: Any, returns: Any, clip: float, mask: Any, *, count: Any = None
) -> tuple[Any, Any]:
    """Half the squared error, the larger of that of the value and that of the value kept near the old one.

    Args:
        values: (..., time), as the value head says now.
        old: as it said at the rollout.
        returns: (..., time), what is to be foreseen.
        clip: the value counts only within `old` - clip and `old` + clip.

    Returns:
        The loss, and the share of the tokens at which the clipped branch was the larger.
    """
    import torch

    near = torch.max(torch.min(values, old + clip), old - clip)
    free, kept = (values - returns) ** 2, (near - returns) ** 2
    return mean(torch.max(free, kept), mask, count) / 2, mean((kept > free).float(), mask, count)


def entropy(logits: Any) -> Any:
    """(..., time) of logits (..., time, tokens), in nats."""
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def mean(values: Any, mask: Any, count: Any = None) -> Any:
    """The mean over the mask's positions, or their sum over `count`."""
    return (values * mask).sum() / (mask.sum().clamp(min=1) if count is None else count)
