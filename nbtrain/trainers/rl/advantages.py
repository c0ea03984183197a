"""How much better each token did than was expected of it.

A mask says which positions are steps of the policy; all others (padding, what an environment said) are passed over, as
if they were not there.
"""

from __future__ import annotations

from typing import Any

from nbtrain.errors import DataError


def advantages(rewards: Any, values: Any, gamma: float, lam: float, mask: Any = None) -> Any:
    """Generalised advantage estimates.

    Args:
        rewards: (..., time) float, reward after each token; 0 where there is none.
        values: (..., time + 1) float, value before each token; the last is the bootstrap (0 at an end).
        gamma: discount per token, in (0, 1].
        lam: bias against variance, in [0, 1]; 1 gives plain returns minus values.
        mask: (..., time), 1 at the policy's tokens; None: all are.

    Returns:
        (..., time) float, of the dtype of `rewards`; 0 where the mask is.

    Raises:
        DataError: the lengths differ by other than one.

    Source: Schulman et al. 2016, arXiv:1506.02438, eq. 16.
    """
    import torch

    time = rewards.shape[-1]
    if values.shape[-1] != time + 1:
        raise DataError(
            f"{time} rewards need {time + 1} values, one before each and one after; found {values.shape[-1]}"
        )
    acts = torch.ones_like(rewards, dtype=torch.bool) if mask is None else mask.bool()
    following, carried = values[..., time], torch.zeros_like(rewards[..., 0])
    found = torch.zeros_like(rewards)
    for step in reversed(range(time)):
        error = rewards[..., step] + gamma * following - values[..., step]
        here = error + gamma * lam * carried
        found[..., step] = torch.where(acts[..., step], here, 0)
        carried = torch.where(acts[..., step], here, carried)
        following = torch.where(acts[..., step], values[..., step], following)
    return found


def returns(rewards: Any, gamma: float, mask: Any = None, last: Any = 0.0) -> Any:
    """Discounted sum of all rewards from each token on.

    Args:
        rewards, gamma, mask: as `advantages` has them.
        last: (...,) value of what comes after the last token.

    Returns:
        (..., time); 0 where the mask is.
    """
    import torch

    none = torch.zeros((*rewards.shape[:-1], rewards.shape[-1] + 1), dtype=rewards.dtype, device=rewards.device)
    none[..., -1] = last
    return advantages(rewards, none, gamma, 1.0, mask)


def whitened(values: Any, mask: Any, *, centred: bool = True) -> Any:
    """Values with a variance of 1, and without `centred=False` a mean of 0, over all positions of the mask.

    Returns:
        The same shape; 0 where the mask is.
    """
    import torch

    count = mask.sum()
    mean = (values * mask).sum() / count.clamp(min=1)
    variance = (((values - mean) * mask) ** 2).sum() / (count - 1).clamp(min=1)
    found = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (found if centred else found + mean) * mask


def explained_variance(values: Any, returns: Any, mask: Any) -> float:
    """The share of the variance of the returns that the values foresaw: 1 is all, 0 none; nan where all are equal."""
    chosen = mask.bool()
    errors, spread = (returns - values)[chosen].var(), returns[chosen].var()
    return float(1 - errors / spread) if spread > 0 else float("nan")
