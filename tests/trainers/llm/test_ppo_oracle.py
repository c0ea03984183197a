"""One step of PPO in the numbers of TRL 1.12.0, the last release that had it; see scripts/ppo_oracle.py."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nbtrain import trainers
from nbtrain.trainers.llm._learner import Judged, Learner, without_any_dropout
from nbtrain.trainers.rl import rollouts
from nbtrain.trainers.rl.rollouts import Drawing, Rollout

ORACLE = json.loads((Path(__file__).parents[2] / "data_files" / "ppo_oracle.json").read_text())


def fill(module, shift):
    """As scripts/ppo_oracle.py fills its models."""
    with torch.no_grad():
        for place, weight in enumerate(module.parameters()):
            numbers = torch.arange(weight.numel(), dtype=torch.float64) * 0.7391 + place * 1.37 + shift
            weight.copy_((numbers.sin() * 0.25).reshape(weight.shape) + (1.0 if weight.dim() == 1 else 0.0))
    return module


def one_step(**changes):
    """One step on the oracle's models, prompts and answers: what was found on the way, and the weights after it."""
    given, figures = ORACLE["inputs"], ORACLE["whole"]
    settings = given["settings"]
    policy = fill(LlamaForCausalLM(LlamaConfig(**given["shape"])), 0.1)
    reference = fill(LlamaForCausalLM(LlamaConfig(**given["shape"])), 0.13)
    asked = {
        "rl_gamma": settings["gamma"], "rl_gae_lambda": settings["lam"], "rl_kl_coef": settings["kl_coef"],
        "rl_clip_range": settings["cliprange"], "rl_value_clip_range": settings["cliprange_value"],
        "rl_value_loss_coef": settings["vf_coef"], "rl_num_ppo_epochs": given["passes"], "rl_mini_batch_size": 4,
    }  # fmt: skip
    params = trainers.load("llm").Params(**{"trainer": "ppo", "rl_reward_fn": "length", **asked, **changes})
    drawing = Drawing(5)
    learner = Learner(params, policy, reference, None, drawing, None)
    fill(learner.head, 0.3)
    learner.head.bias.data.zero_()
    ids = torch.cat((torch.tensor(given["prompts"]), torch.tensor(given["answers"]["whole"])), 1)
    written = Rollout(ids, torch.ones_like(ids), 4, torch.ones(4, 5), torch.zeros(4, dtype=torch.bool))
    rollout = rollouts.referred(rollouts.scored(written, policy, learner.head, drawing), reference, drawing)
    optimizer = torch.optim.SGD([*policy.parameters(), *learner.head.parameters()], lr=given["rate"])

    def move():
        optimizer.step()
        optimizer.zero_grad()
        return 0.0

    scores = torch.tensor(figures["scores"])
    paid = torch.nn.functional.pad(scores[:, None], (4, 0))  # all for the last token
    told = learner.learn(Judged(rollout, scores, paid, {}, torch.ones(4)), move)
    return SimpleNamespace(rollout=rollout, told=told, policy=policy, head=learner.head, figures=figures)


@pytest.fixture(scope="module")
def update():
    return one_step()


def test_a_rollout_has_the_probabilities_and_values_of_trl(update):
    for name, found in (("logprobs", "logprobs"), ("ref_logprobs", "reference"), ("values", "values")):
        expected = torch.tensor(update.figures[name])
        assert torch.allclose(getattr(update.rollout, found), expected, atol=1e-5), name


def test_the_losses_of_all_passes_are_those_of_trl(update):
    for name in ("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction"):
        expected = [each[name] for each in update.figures["losses"]]
        assert update.told[name] == pytest.approx(sum(expected) / len(expected), abs=1e-5), name
    assert update.told["clip_fraction"] > 0.1 and update.told["value_clip_fraction"] > 0.1  # the clips are at work


def test_the_weights_after_a_step_are_those_of_trl(update):
    for name, weight in update.policy.named_parameters():
        total, squares = update.figures["weights"][name]
        assert weight.sum().item() == pytest.approx(total, abs=1e-4), name
        assert weight.square().sum().item() == pytest.approx(squares, rel=1e-5), name
    assert torch.allclose(update.policy.lm_head.weight[:3], torch.tensor(update.figures["lm_head"]), atol=1e-5)
    weight, bias = update.figures["score"]
    assert torch.allclose(update.head.weight[0], torch.tensor(weight), atol=1e-5)
    assert update.head.bias.item() == pytest.approx(bias[0], abs=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rl_gamma", 0.5), ("rl_gae_lambda", 0.3), ("rl_kl_coef", 0.0), ("rl_clip_range", 0.02),
        ("rl_value_clip_range", 0.02), ("rl_value_loss_coef", 0.1), ("rl_num_ppo_epochs", 2), ("rl_mini_batch_size", 2),
    ],
)  # fmt: skip
def test_each_field_changes_what_is_learnt(update, field, value):
    torch.manual_seed(0)
    changed = one_step(**{field: value})
    assert torch.equal(changed.rollout.logprobs, update.rollout.logprobs)
    assert not torch.allclose(changed.policy.lm_head.weight, update.policy.lm_head.weight, atol=1e-7)


def test_a_policy_without_any_dropout_says_the_same_twice():
    model = LlamaForCausalLM(LlamaConfig(**ORACLE["inputs"]["shape"], attention_dropout=0.5)).train()
    ids = torch.tensor([[5, 6, 7, 8]])
    assert not torch.equal(model(ids).logits, model(ids).logits)
    without_any_dropout(model)
    assert torch.equal(model(ids).logits, model(ids).logits)
