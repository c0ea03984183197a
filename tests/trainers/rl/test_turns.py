"""A policy in an environment: what it wrote, what it was told, and for which token it was paid."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nbtrain.trainers.rl import turns
from nbtrain.trainers.rl.environments import Turn
from nbtrain.trainers.rl.rollouts import Drawing


class Countdown:
    """Over after so many turns; each is paid for with its number."""

    def __init__(self, left):
        self.left, self.heard = left, []

    def step(self, answer):
        self.heard.append(answer)
        self.left -= 1
        return Turn(float(len(self.heard)), self.left == 0, "again")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=24, num_key_value_heads=2, initializer_range=0.3, **shape)).eval()


def play(model, lefts, longest=64):
    torch.manual_seed(0)
    games = [turns.Game(Countdown(left), [5] * (place + 1)) for place, left in enumerate(lefts)]
    drawing = Drawing(3, ends=(2,), pad=0)
    rollout = turns.play(
        model,
        games,
        drawing,
        decode=str,
        follow=lambda says, ended: [20, 21] if ended else [2, 20, 21],
        longest=longest,
    )
    return games, rollout


def test_each_game_is_played_to_its_end_and_paid_for_turn_by_turn(model):
    games, rollout = play(model, [1, 3, 2])
    paid = turns.paid(games, rollout.mask)
    assert paid.sum(1).tolist() == [1, 1 + 2 + 3, 1 + 2] and [game.turns for game in games] == [1, 3, 2]
    assert ((paid > 0) <= (rollout.mask > 0)).all()  # only for tokens of its own
    for game, ids, attention, mask in zip(games, rollout.ids, rollout.attention, rollout.mask, strict=True):
        assert ids[attention.bool()].tolist() == game.ids
        own = ids[rollout.start :][mask.bool()].tolist()
        assert str(own[-len(eval(game.said)) :]) == game.said == game.environment.heard[-1]
        told = [token for token, kept in zip(game.ids[-len(game.own) :], game.own, strict=True) if not kept]
        assert told.count(20) == told.count(21) == game.turns - 1


def test_a_game_without_room_for_another_answer_is_over(model):
    games, _ = play(model, [9], longest=12)
    assert 1 <= games[0].turns < 9 and len(games[0].ids) <= 12
