"""A policy plays an environment: it answers, hears what is made of it, and answers again until it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbtrain.trainers.rl import environments, rollouts
from nbtrain.trainers.rl.environments import Environment
from nbtrain.trainers.rl.rollouts import Drawing, Rollout

Follow = Callable[[str, bool], list[int]]
"""(what the environment says, whether the answer came to its end): the tokens up to the next answer."""


@dataclass
class Game:
    """One row, played.

    ids: tokens, the prompt's first. own: of those after the prompt, 1 where the policy wrote it. paid: reward after
    each of them. said: the last answer.
    """

    environment: Environment
    ids: list[int]
    own: list[int] = field(default_factory=list)
    paid: list[float] = field(default_factory=list)
    said: str = ""
    turns: int = 0
    ended: bool = False
    over: bool = False

    def take(self, tokens: list[int], *, own: bool) -> None:
        """Go on by these tokens."""
        self.ids += tokens
        self.own += [int(own)] * len(tokens)
        self.paid += [0.0] * len(tokens)


def play(  # noqa: PLR0913  who plays, what, and how tokens become words and back
    model: Any, games: Sequence[Game], drawing: Drawing, *, decode: Callable[[Any], str], follow: Follow, longest: int
) -> Rollout:
    """Play all games to their end; what was written, as one rollout, in the order of the games.

    Args:
        decode: tokens to text.
        longest: tokens of prompt and answers together; a game that has no room for another answer is over.
    """
    while active := [game for game in games if not game.over]:
        written = rollouts.write(model, [game.ids for game in active], drawing)
        for game, tokens, mask, ended in zip(active, written.tokens, written.mask, written.ended, strict=True):
            answer = tokens[mask.bool()].tolist()
            game.take(answer, own=True)
            game.said, game.ended = decode(answer), bool(ended)
            turn = environments.judged(game.environment, game.said)
            game.paid[-1] += turn.reward
            game.turns += 1
            more = [] if turn.done else follow(turn.says, game.ended)
            full = len(game.ids) + len(more) + drawing.longest > longest
            game.over = turn.done or full or game.turns == environments.LONGEST
            if not game.over:
                game.take(more, own=False)
    return _rollout(games, drawing.pad, written.ids.device)


def paid(games: Sequence[Game], like: Any) -> Any:
    """(rows, time) reward after each token; `like` is the rollout's mask."""
    import torch

    return torch.tensor([game.paid + [0.0] * (like.shape[1] - len(game.paid)) for game in games], device=like.device)


def _rollout(games: Sequence[Game], pad: int, device: Any) -> Rollout:
    import torch

    start = max(len(game.ids) - len(game.own) for game in games)
    time = max(len(game.own) for game in games)
    ids, attention, mask = [], [], []
    for game in games:
        right = time - len(game.own)
        left = start + time - right - len(game.ids)
        ids.append([pad] * left + game.ids + [pad] * right)
        attention.append([0] * left + [1] * len(game.ids) + [0] * right)
        mask.append(game.own + [0] * right)
    return Rollout(
        torch.tensor(ids, device=device),
        torch.tensor(attention, device=device),
        start,
        torch.tensor(mask, device=device).float(),
        torch.tensor([game.ended for game in games], device=device),
    )
