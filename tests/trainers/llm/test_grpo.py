"""GRPO learns what a reward likes, step by step as a plain script of TRL does, and goes on as if never stopped."""

import pytest
import torch

from nbtrain.models import load


def short(completion):
    return -len(completion) / 10


@pytest.fixture(scope="module")
def learnt(rewarded):
    return rewarded(epochs=2, lr=2e-3)


def test_the_policy_learns_what_is_rewarded(learnt):
    rewards = [values["reward"] for values in learnt.logged]
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.5
    assert learnt.evaluations[-1]["reward"] > learnt.evaluations[0]["reward"] + 0.5
    assert learnt.values["reward"] == learnt.evaluations[-1]["reward"]


def test_its_figures_are_told(learnt):
    names = {"reward", "rewards/short/mean", "kl", "completions/mean_length", "completions/clipped_ratio", "loss"}
    assert names <= learnt.logged[0].keys()
    assert {"reward", "rewards/short/mean", "completions/mean_length"} <= learnt.evaluations[0].keys()
    assert (learnt.started.metric, learnt.started.curve) == ("reward", "reward")
    assert learnt.started.total_steps == len(learnt.logged) == 36


def test_samples_show_policy_and_reference_with_what_they_are_worth(learnt):
    for sample in learnt.samples[-1]:
        assert sample["prompt"].startswith("Tell me about")
        assert float(sample["reward"]) == pytest.approx(short(sample["output"]), abs=1e-3)
        assert float(sample["reference reward"]) == pytest.approx(short(sample["reference"]), abs=1e-3)


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation": 2, "batch_size": 4}])
def test_each_step_is_that_of_a_plain_script(rewarded, changes):
    """The script is written with TRL's public names; its prompts are texts that the template has rendered already."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    ours = rewarded(max_steps=6, valid_fraction=0, **changes)
    tiny = load.resolve("tiny")
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    rows = [{"prompt": [{"role": "user", "content": f"Tell me about the number {number}."}]} for number in range(40)]
    settings = GRPOConfig(
        output_dir=str(ours.folder.path / "plain"), use_cpu=True, bf16=False, seed=42, max_steps=6, learning_rate=1e-3,
        per_device_train_batch_size=ours.params.batch_size, weight_decay=0.01, warmup_steps=0,
        gradient_accumulation_steps=ours.params.gradient_accumulation, logging_steps=1, logging_first_step=True,
        num_generations=4, max_completion_length=8, temperature=1.0, top_k=50, beta=0.02, loss_type="grpo",
        activation_checkpointing=False, save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip

    def judged(prompts, completions, **columns):
        return [short(completion[0]["content"]) for completion in completions]

    trainer = GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), judged, settings, Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    plain = [log for log in trainer.state.log_history if "loss" in log]
    for name in ("loss", "reward", "kl", "grad_norm", "completions/mean_length"):
        assert [log[name] for log in ours.logged] == pytest.approx([log[name] for log in plain], abs=1e-5, rel=1e-4), (
            name
        )


@pytest.mark.parametrize("changes", [{}, {"peft": True, "lora_dropout": 0.2}, {"peft": True, "quantization": "int4"}])
def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_weights(rewarded, changes):
    given = {"epochs": 2, "max_samples": 8, "valid_fraction": 0, "batch_size": 16, "rl_max_new_tokens": 4, **changes}
    straight, first = rewarded(**given), rewarded(**given, stop=2)  # in the second epoch
    rest = rewarded(**given, resume=first.folder)
    assert len(rest.logged) == len(straight.logged) == 4
    assert all(torch.equal(straight.weights[name], rest.weights[name]) for name in straight.weights)


def test_evaluations_and_samples_change_nothing(rewarded):
    given = {"max_samples": 8, "rl_max_new_tokens": 4, "valid_fraction": 0.25}
    seldom = rewarded(**given, eval_strategy="no")
    often = rewarded(**given, eval_strategy="steps", eval_steps=1, sample_every_n_steps=1)
    assert len(often.evaluations) == len(often.logged) == 3
    assert all(torch.equal(seldom.weights[name], often.weights[name]) for name in seldom.weights)
