"""How far a policy is from its reference, and how much that costs.

Source: Schulman 2020, "Approximating KL divergence" (the estimators); Ziegler et al. 2019, arXiv:1909.08593, section
2.2 (the adaptive controller).
"""

from __future__ import annotations

from typing import Any, Literal

Estimator = Literal["k1", "k2", "k3"]


def estimate(logprobs: Any, reference: Any, kind: Estimator = "k1") -> Any:
    """The divergence of the policy from the reference, estimated at each token that the policy drew.

    Args:
        logprobs, reference: (..., time) log-probabilities of the tokens by either.
        kind: k1 is without bias and may be negative; k2 is the half square, with little variance and some bias; k3 is
            without bias and never negative.

    Returns:
        (..., time).
    """
    difference = logprobs - reference
    if kind == "k1":
        return difference
    if kind == "k2":
        return difference**2 / 2
    return (-difference).exp() - 1 + difference


class Fixed:
    """A penalty that stays."""

    def __init__(self, coefficient: float) -> None:
        self.coefficient = coefficient

    def update(self, divergence: float, rows: int) -> None:
        """Nothing changes."""

    def state_dict(self) -> dict[str, float]:
        return {"coefficient": self.coefficient}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.coefficient = state["coefficient"]


class Adaptive(Fixed):
    """A penalty that grows while the policy is farther from its reference than `target`, and shrinks while nearer.

    Args:
        target: divergence of a whole answer, in nats.
        horizon: rows over which an error of a fifth is corrected.
    """

    def __init__(self, coefficient: float, target: float, horizon: int = 10_000) -> None:
        super().__init__(coefficient)
        self.target, self.horizon = target, horizon

    def update(self, divergence: float, rows: int) -> None:
        """Correct the penalty after `rows` answers at this mean divergence; an error counts for no more than 20 %."""
        error = min(max(divergence / self.target - 1, -0.2), 0.2)
        self.coefficient *= 1 + error * rows / self.horizon
