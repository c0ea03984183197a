"""A run's script, alone and in another process, gives the same weights to the bit; its functions are in it."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from nbtrain import run as runs
from nbtrain import trainers
from nbtrain.runs import folder


def shout(prompts):
    """A teacher that is a function."""
    return [prompt.upper() for prompt in prompts]


def brief(prompts, completions, **columns):
    """A reward that is a function."""
    return [-float(len(completion)) for completion in completions]


@pytest.mark.parametrize(
    "given",
    [
        {"trainer": "distillation", "teacher_model": shout},
        {"trainer": "grpo", "rl_reward_fn": [brief, "regex"], "rl_max_new_tokens": 4},
    ],
    ids=["a function teaches", "grpo"],
)
def test_the_script_does_it_again(workdir, given):
    rows = [{"prompt": f"Tell me about {number}."} for number in range(9)]
    short = {"max_steps": 2, "batch_size": 4, "lr": 1e-3, "sample_max_new_tokens": 2}
    params = trainers.load("llm").Params(data_path=rows, **short, **given)
    first = runs.train_here(params)
    assert first.status == "finished", first.error
    done = subprocess.run([sys.executable, str(first.folder.script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    again = folder.all_runs()[-1]
    one, other = (load_file(each.model / "model.safetensors") for each in (first.folder, again))
    assert again.name != first.name
    assert all(torch.equal(one[name], other[name]) for name in one)
