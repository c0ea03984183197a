"""Figures of another PPO, to hold ours against: those of TRL 1.12.0, the last release that has one.

It runs TRL's own trainer for one step (one rollout, four passes) on a model, prompts and answers that are fixed, and
writes what its code computed on the way to tests/data_files/ppo_oracle.json. nbtrain is not imported.

    python -m venv /tmp/oracle && /tmp/oracle/bin/pip install torch==2.13.0 "trl==1.12.0" "transformers==5.23.0"
    /tmp/oracle/bin/python scripts/ppo_oracle.py
"""

# ruff: noqa: TID253  a script of its own, in an environment of its own

import copy
import inspect
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "CUDA_VISIBLE_DEVICES": ""}

import datasets
import torch
import transformers
import trl
from tokenizers import Tokenizer, models
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

OUTPUT = Path(__file__).resolve().parent.parent / "tests" / "data_files" / "ppo_oracle.json"
SETTINGS = {"gamma": 0.95, "lam": 0.9, "kl_coef": 0.3, "cliprange": 0.1, "cliprange_value": 0.15, "vf_coef": 0.5}
WHITEN, MEAN = ppo_trainer.masked_whiten, ppo_trainer.masked_mean
RATE, PASSES, END, PAD = 5e-3, 4, 1, 0
PROMPTS = [[5, 9, 13, 4], [7, 7, 21, 30], [11, 3, 2, 8], [19, 25, 6, 6]]
ANSWERS = {
    "whole": [[12, 4, 28, 9, 17], [3, 3, 14, 22, 8], [30, 6, 19, 2, 5], [10, 27, 16, 7, 24]],
    "ended": [[12, 4, 1, 0, 0], [3, 3, 14, 22, 8], [30, 1, 0, 0, 0], [10, 27, 16, 1, 0]],
}
SHAPE = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "tie_word_embeddings": False,
}  # fmt: skip


def fill(module, shift):
    """Weights by a formula: the same in every version of everything."""
    with torch.no_grad():
        for place, weight in enumerate(module.parameters()):
            numbers = torch.arange(weight.numel(), dtype=torch.float64) * 0.7391 + place * 1.37 + shift
            weight.copy_((numbers.sin() * 0.25).reshape(weight.shape) + (1.0 if weight.dim() == 1 else 0.0))
    return module


class OnTrunk(torch.nn.Module):
    """A score on a causal model's layers, as TRL asks for one: `model`, and `score` of its last hidden state."""

    base_model_prefix = "model"

    def __init__(self, causal, bias):
        super().__init__()
        self.model = causal.model
        self.score = torch.nn.Linear(SHAPE["hidden_size"], 1)
        fill(self.score, bias)
        self.score.bias.data.zero_()


def tokenizer():
    words = {f"w{place}": place for place in range(SHAPE["vocab_size"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="w31"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="w0", eos_token="w1")


def step(kind, folder):
    """One step of TRL's trainer; what its code had in its hands, by the names it gives."""
    policy = fill(transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE)), 0.1)
    reference = fill(copy.deepcopy(policy), 0.13)
    value, judge = OnTrunk(policy, 0.3), OnTrunk(fill(copy.deepcopy(policy), 2.0), 0.7)
    answers, seen = torch.tensor(ANSWERS[kind]), {"losses": []}

    def written(model, queries, *_):
        # which prompt is which is known by its first token: TRL shuffles them
        order = [[prompt[0] for prompt in PROMPTS].index(int(row[0])) for row in queries]
        seen["order"] = order
        whole = torch.cat((queries, answers[order]), 1)
        logits = ppo_trainer.forward(model, whole, PAD).logits[:, queries.shape[1] - 1 : -1]
        return whole, logits

    def whitened(values, mask, shift_mean=True):
        here = inspect.currentframe().f_back.f_locals
        names = ("rewards", "values", "advantages", "returns", "padding_mask", "padding_mask_p1", "scores", "logprobs",
                 "ref_logprobs")  # fmt: skip
        seen.update({name: here[name].clone() for name in names})
        seen["whitened"] = WHITEN(values, mask, shift_mean)
        return seen["whitened"]

    def averaged(values, mask, axis=None):
        found = MEAN(values, mask, axis)
        if inspect.currentframe().f_back.f_code.co_name == "train":
            seen["losses"].append(float(found.detach()))
        return found

    ppo_trainer.batch_generation, ppo_trainer.masked_whiten, ppo_trainer.masked_mean = written, whitened, averaged
    rows = datasets.Dataset.from_dict({"input_ids": PROMPTS})
    settings = PPOConfig(
        output_dir=folder, per_device_train_batch_size=4, gradient_accumulation_steps=1, num_mini_batches=1,
        num_ppo_epochs=PASSES, total_episodes=4, response_length=5, temperature=1.0, missing_eos_penalty=None,
        stop_token="eos" if kind == "ended" else None, local_rollout_forward_batch_size=4, num_sample_generations=0,
        use_cpu=True, bf16=False, report_to="none", save_strategy="no", disable_tqdm=True, gradient_checkpointing=False,
        kl_estimator="k1", whiten_rewards=False, **SETTINGS,
    )  # fmt: skip
    weights = list(dict.fromkeys([*policy.parameters(), *value.score.parameters()]))
    optimizer = torch.optim.SGD(weights, lr=RATE)
    course = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    trainer = PPOTrainer(
        args=settings, processing_class=tokenizer(), model=policy, ref_model=reference, reward_model=judge,
        value_model=value, train_dataset=rows, eval_dataset=rows, optimizers=(optimizer, course),
    )  # fmt: skip
    trainer.train()
    back = torch.tensor(seen.pop("order")).argsort()
    losses = seen.pop("losses")
    figures = {name: tensor[back].tolist() for name, tensor in seen.items()}
    # masked_mean is called for: value loss (its half is taken after), its clipped share, policy loss, its clipped share
    assert len(losses) == 4 * PASSES, len(losses)
    named = [
        {"value_loss": each[0] / 2, "value_clip_fraction": each[1], "policy_loss": each[2], "clip_fraction": each[3]}
        for each in (losses[start : start + 4] for start in range(0, len(losses), 4))
    ]
    weights = {name: [float(weight.sum()), float(weight.square().sum())] for name, weight in policy.named_parameters()}
    score = [each.flatten().tolist() for each in value.score.parameters()]
    head = policy.lm_head.weight[:3].tolist()
    return figures | {"losses": named, "weights": weights, "score": score, "lm_head": head}


def main():
    assert trl.__version__ == "1.12.0", trl.__version__
    with tempfile.TemporaryDirectory() as folder:
        found = {kind: step(kind, folder) for kind in ANSWERS}
    about = {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    inputs = {"settings": SETTINGS, "rate": RATE, "passes": PASSES, "shape": SHAPE}
    inputs |= {"prompts": PROMPTS, "answers": ANSWERS}
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"made_by": about, "inputs": inputs, **found}, indent=1) + "\n", encoding="utf-8")
    print(f"written: {OUTPUT}", file=sys.stderr)


if __name__ == "__main__":
    main()
