"""A step of PPO: answers are written and judged, then the policy is moved a little towards those that did well."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nbtrain.trainers.llm import _reference
from nbtrain.trainers.rl import advantages, divergence, environments, losses, rollouts, turns, value
from nbtrain.trainers.rl.rollouts import Drawing, Rollout


@dataclass(frozen=True)
class Judged:
    """Answers with what they are worth.

    scores: (rows,). paid: (rows, time), the same where it is given. parts: reward to its mean. opinion: (rows,), 0
    where no reward has one.
    """

    rollout: Rollout
    scores: Any
    paid: Any
    parts: Mapping[str, float]
    opinion: Any


Judge = Callable[..., tuple[list[float | None], dict[str, list[float | None]]]]
"""(rows, texts, known): what each text is worth as an answer to its row, and by which reward; `_reinforced.judged`."""


class Table(NamedTuple):
    """Where an environment is played.

    first: (environment, row) to the tokens of what it asks. name, weight: of its reward among all. longest: tokens of a
    whole game.
    """

    make: environments.Make
    first: Callable[[Any, Mapping[str, Any]], Sequence[int]]
    follow: turns.Follow
    name: str
    weight: float
    longest: int


class Learner:
    """Policy, value head and reference.

    Args:
        params: reads the rl_ fields, batch_size, gradient_accumulation, max_grad_norm.
        policy: a causal language model; its dropout is switched off, since a probability must be the same each time.
        beside: the frozen reference; None: the policy without its adapter.
        half: the number format of the computation, None for that of the weights.
        table: where answers are turns of a game; None: each prompt is answered once.
    """

    def __init__(  # noqa: PLR0913  the two models and how they are used
        self,
        params: Any,
        policy: Any,
        beside: Any,
        tokenizer: Any,
        drawing: Drawing,
        judge: Judge,
        *,
        half: Any = None,
        table: Table | None = None,
    ) -> None:
        self.params, self.policy, self.beside, self.tokenizer = params, policy, beside, tokenizer
        self.drawing, self.judge, self.half, self.table = drawing, judge, half, table
        without_any_dropout(policy)
        self.head = value.value_head(policy)
        self.penalty = divergence.Fixed(params.rl_kl_coef)
        self.device = next(policy.parameters()).device

    @property
    def group(self) -> int:
        """Answers of one update of the weights."""
        return int(self.params.rl_mini_batch_size * self.params.gradient_accumulation)

    @property
    def at_once(self) -> int:
        """Rows that go through the model together in an update."""
        given = "batch_size" in self.params.given()
        return int(self.params.batch_size if given else self.params.rl_mini_batch_size)

    def updates(self, rows: int) -> int:
        """Updates of the weights in a step over so many answers."""
        return math.ceil(rows / self.group) * int(self.params.rl_num_ppo_epochs)

    def play(self, rows: Mapping[str, Sequence[Any]]) -> Judged:
        """Answers to these rows, drawn from the policy and judged."""
        import torch

        was, games = self.policy.training, self._games(rows)
        self.policy.eval()  # a model in training mode would write without its cache
        try:
            with self._autocast():
                written = self._written(rows, games)
                parts = rollouts.chunks(len(written.ids), self.params.rl_mini_batch_size)
                rollout = rollouts.joined([self._known(written.rows(part)) for part in parts])
        finally:
            self.policy.train(was)
        answers = [ids[mask.bool()] for ids, mask in zip(rollout.tokens, rollout.mask, strict=True)]
        texts = [game.said for game in games] or self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        played = {self.table.name: [sum(game.paid) for game in games]} if self.table else {}
        total, said = self.judge(rows, texts, played)
        opinion = torch.tensor([value is not None for value in total], device=self.device).float()
        scores = torch.tensor([value or 0.0 for value in total], device=self.device)
        paid = torch.zeros_like(rollout.mask)
        if self.table:
            paid = turns.paid(games, rollout.mask) * self.table.weight
        last = (rollout.mask.cumsum(1) * rollout.mask).argmax(1, keepdim=True)
        # what no turn was paid for is given for the whole, at its last token
        paid = paid.scatter_add(1, last, (scores - paid.sum(1)).unsqueeze(1))
        means = {name: _mean([value for value in values if value is not None]) for name, values in said.items()}
        return Judged(rollout, scores, paid, means, opinion)

    def _games(self, rows: Mapping[str, Sequence[Any]]) -> list[turns.Game]:
        if self.table is None:
            return []
        games = []
        for values in zip(*rows.values(), strict=True):
            environment = self.table.make()
            asked = self.table.first(environment, dict(zip(rows, values, strict=True)))
            games.append(turns.Game(environment, list(asked)))
        return games

    def _written(self, rows: Mapping[str, Sequence[Any]], games: list[turns.Game]) -> Rollout:
        if self.table is None:
            return rollouts.write(self.policy, rows["prompt_ids"], self.drawing)

        def decode(ids: Any) -> str:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True))

        return turns.play(
            self.policy, games, self.drawing, decode=decode, follow=self.table.follow, longest=self.table.longest
        )

    def _known(self, written: Rollout) -> Rollout:
        rollout = rollouts.scored(written, self.policy, self.head, self.drawing)
        with _reference.as_reference(self.policy, self.beside) as reference:
            return rollouts.referred(rollout, reference, self.drawing)

    def describe(self, played: Judged) -> dict[str, float]:
        """What the answers were like."""
        rollout, said = played.rollout, played.opinion.sum().clamp(min=1)
        far = divergence.estimate(rollout.logprobs, rollout.reference) * rollout.mask
        values = {
            "reward": float((played.scores * played.opinion).sum() / said),
            **({f"reward/{name}": mean for name, mean in played.parts.items()} if len(played.parts) > 1 else {}),
            "kl": float(far.sum(1).mean()),
            "entropy": float(losses.mean(rollout.entropy, rollout.mask)),
            "completion_length": float(rollout.mask.sum(1).mean()),
            "ended": float(rollout.ended.float().mean()),
        }
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def learn(self, played: Judged, move: Callable[[], float]) -> dict[str, float]:
        """Several passes over the answers in minibatches.

        Args:
            move: moves the weights by the gradient there is, and gives its norm.

        Returns:
            Means over the updates.
        """
        import torch

        rollout = played.rollout
        mask = rollout.mask * played.opinion.unsqueeze(1)
        hopes, better = self._targets(rollout, played.paid, mask)
        told: dict[str, list[float]] = {}
        for _ in range(self.params.rl_num_ppo_epochs):
            order = torch.randperm(len(mask)).to(self.device)
            for part in rollouts.chunks(len(mask), self.group):
                chosen = order[part]
                found = self._gradient(rollout.rows(chosen), mask[chosen], hopes[chosen], better[chosen])
                for name, each in {**found, "grad_norm": move()}.items():
                    told.setdefault(name, []).append(each)
        values = {name: _mean(each) for name, each in told.items()}
        foreseen = advantages.explained_variance(rollout.values, hopes, mask)
        self.penalty.update(float((rollout.logprobs - rollout.reference).mul(mask).sum(1).mean()), len(mask))
        return values | ({"explained_variance": foreseen} if math.isfinite(foreseen) else {})

    def _targets(self, rollout: Rollout, paid: Any, mask: Any) -> tuple[Any, Any]:
        """Returns and advantages (rows, time): what is paid, less the price of the distance at each token."""
        import torch

        paid = (paid - self.penalty.coefficient * divergence.estimate(rollout.logprobs, rollout.reference)) * mask
        values = torch.nn.functional.pad(rollout.values, (0, 1))  # after an answer nothing comes
        gamma, lam = self.params.rl_gamma, self.params.rl_gae_lambda
        better = advantages.advantages(paid, values, gamma, lam, mask)
        return better + rollout.values * mask, advantages.whitened(better, mask)

    def _gradient(self, rollout: Rollout, mask: Any, hopes: Any, better: Any) -> dict[str, float]:
        """Add up the gradient of one update, rows after rows; what is told of it."""
        params, count = self.params, mask.sum().clamp(min=1)
        told: dict[str, float] = {}
        for part in rollouts.chunks(len(mask), self.at_once):
            rows = rollout.rows(part)
            with self._autocast():
                said = value.read(self.policy, rows.ids, rows.attention, rows.start, self.head)
            logprobs, _ = rollouts.log_probabilities(said.logits / self.drawing.temperature, rows.tokens, rows.choices)
            policy, clipped = losses.policy_loss(
                logprobs, rows.logprobs, better[part], params.rl_clip_range, mask[part], count=count
            )
            worth, value_clipped = losses.value_loss(
                said.values, rows.values, hopes[part], params.rl_value_clip_range, mask[part], count=count
            )
            loss = policy + params.rl_value_loss_coef * worth
            self.backward(loss)
            found = {
                "loss": loss, "policy_loss": policy, "value_loss": worth,
                "clip_fraction": clipped, "value_clip_fraction": value_clipped,
            }  # fmt: skip
            told = {name: told.get(name, 0.0) + float(each.detach()) for name, each in found.items()}
        return told

    def backward(self, loss: Any) -> None:
        """Replaced where a scaler has to see the loss first."""
        loss.backward()

    def _autocast(self) -> Any:
        import torch

        return torch.autocast(self.device.type, self.half) if self.half else contextlib.nullcontext()


def without_any_dropout(model: Any) -> None:
    """Each probability is then the same whenever it is asked for, also in training mode."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, share in list(vars(module).items()):  # attention keeps its own as a number
            if "dropout" in name and isinstance(share, float):
                setattr(module, name, 0.0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def in_order(rows: int, size: int, seed: int) -> Iterator[list[int]]:
    """The rows of each step of an epoch, shuffled by the seed."""
    import torch

    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tolist()
    return (order[part] for part in rollouts.chunks(rows, size))
