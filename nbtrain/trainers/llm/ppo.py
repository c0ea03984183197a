"""Proximal policy optimisation: answers that a reward likes become likelier, near a reference.

A step is a round: `--rl-chunk-size` prompts are answered and judged, then the policy learns from these answers in
`--rl-num-ppo-epochs` passes, each update of the weights over `--rl-mini-batch-size` of them.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, model_validator

from nbtrain.data.prompts import Prompts
from nbtrain.errors import ParamError
from nbtrain.models import load
from nbtrain.params import option
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _steps
from nbtrain.trainers._news import Told
from nbtrain.trainers._samples import _ends
from nbtrain.trainers.llm import _language, _reference, _reinforced, _ways, sft
from nbtrain.trainers.llm._language import Tokens, opened, usage
from nbtrain.trainers.llm._learner import Learner, Table, in_order
from nbtrain.trainers.llm._reinforced import is_rewarded, judged, longest_answer, prepare, recognise
from nbtrain.trainers.llm.sft import predict
from nbtrain.trainers.rl import environments, sandbox
from nbtrain.trainers.rl.rewards import Combined
from nbtrain.trainers.rl.rollouts import Drawing, chunks

__all__ = ["PPO", "check", "opened", "predict", "train", "usage"]

ONLY, _GROUP = ("ppo",), "Reinforcement Learning"


class PPO(BaseModel):
    """What ppo alone reads."""

    rl_gamma: float = option(
        0.99, "what a reward one token later is worth", group=_GROUP, unit="share", gt=0, le=1, only=ONLY
    )
    rl_gae_lambda: float = option(
        0.95, "0: trust the value head; 1: trust what came", group=_GROUP, unit="share", ge=0, le=1, only=ONLY
    )
    rl_value_loss_coef: float = option(
        0.5, "weight of the value head's loss", group=_GROUP, unit="share", ge=0, only=ONLY
    )
    rl_value_clip_range: float = option(
        0.2, "how far a value may move in one step", group=_GROUP, unit="reward", gt=0, only=ONLY
    )
    rl_num_ppo_epochs: int = option(
        4, "passes over the answers of a step", group=_GROUP, unit="passes", ge=1, only=ONLY
    )
    rl_chunk_size: int = option(
        128, "answers that are written and judged in a step", group=_GROUP, unit="answers", ge=1, only=ONLY
    )
    rl_mini_batch_size: int = option(
        32, "answers of one update; through the model by --batch-size, where that is given", group=_GROUP,
        unit="answers", ge=1, only=ONLY,
    )  # fmt: skip

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        if getattr(self, "trainer", "") != "ppo":
            return self
        if not is_rewarded(self):
            raise ValueError("PPO needs --rl-reward-model-path (a trained reward model) or --rl-reward-fn")
        if getattr(self, "backend", "auto") in ("trl", "hf", "native"):
            raise ValueError(f"--backend {self.backend}: ppo has a loop of its own. Leave --backend out")  # type: ignore[attr-defined]
        return self


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ParamError("ppo trains in one process, and this is one of several", fix="start it without a launcher.")
    reward = _reinforced.reward(params)  # what is wrong with it is told before anything is read
    if any(name.startswith("code") for name in reward.rewards):
        run.warn(sandbox.told())
    form: list[Any] = []

    def remembered(params: Any, splits: Any) -> Any:
        form.append(recognise(params, splits))
        return form[0]

    tokens, tokenizer = _language.tokenised(params, run, prepare, remembered)
    return fit(params, run, tokens, tokenizer, reward, form[0])


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and judged; what is wrong with the reward is told first."""
    _reinforced.reward(params)
    return _language.check(params, cache, recognise, prepare=prepare)


def fit(
    params: Any, run: ActiveRun, tokens: Tokens, tokenizer: Any, reward: Combined, form: Prompts
) -> dict[str, float]:
    """Train on prompts, save the policy and see that it opens."""
    import torch
    from transformers import set_seed

    run.stage("loading the model")
    set_seed(params.seed)
    policy = load.causal_model(params, tell=run.warn)
    _ways.attend(params, policy)
    if params.peft and params.lora_dropout and "lora_dropout" in params.given():
        run.warn("--lora-dropout is not used: ppo compares probabilities, and chance would be taken for a change.")
    beside = _reference.reference(params, run, policy)
    device = load.device()
    precision = load.precision(params, device, size=load.parameter_counts(policy)["parameters"])
    half = torch.bfloat16 if precision.bf16 else torch.float16 if precision.fp16 else None
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ends = tuple(_ends(policy, tokenizer) or ())
    drawing = Drawing(
        longest_answer(params), params.rl_temperature, params.rl_top_k, params.rl_top_p, ends=ends, pad=pad
    )
    judge, table = functools.partial(judged, reward, form), _table(params, tokenizer, ends, reward)
    learner = Learner(params, policy, beside, tokenizer, drawing, judge, half=half, table=table)
    run.stage("preparing")
    values = _rounds(params, run, tokens, learner, device, precision)
    run.stage("saving the model")
    load.save(policy, tokenizer, run.folder.model, params)
    if not run.stopped:
        run.stage("opening the saved model")
        load.verify(run.folder.model, trust_remote_code=params.trust_remote_code)
    return values


def _table(params: Any, tokenizer: Any, ends: Sequence[int], reward: Combined) -> Table | None:
    """Where the environment is played, None where there is none."""
    if not params.rl_env_module:
        return None
    *_, (name, weight) = zip(reward.rewards, reward.weights, strict=True)

    def first(environment: Any, row: Mapping[str, Any]) -> Sequence[int]:
        asked = environments.asked(environment, row, None)
        return row["prompt_ids"] if asked is None else sft.prompt(params, tokenizer, asked).ids

    following = _reinforced.follow(params, tokenizer, ends)
    return Table(_reinforced.environment(params), first, following, name, weight, _language.longest(params))


def _rounds(
    params: Any, run: ActiveRun, tokens: Tokens, learner: Learner, device: Any, precision: Any
) -> dict[str, float]:
    """All steps; the last evaluation's values."""
    import torch

    rows, size = len(tokens.train), params.rl_chunk_size
    epoch_steps = math.ceil(rows / size)
    settings = _steps.settings(
        params, run, epoch_steps=epoch_steps, device=device, precision=precision, evaluate=tokens.valid is not None
    )
    if settings.gradient_checkpointing:
        learner.policy.gradient_checkpointing_enable()
    learner.policy.train()
    optimizer = _steps.optimizer(settings, learner.policy, learner.head)
    updates = sum(learner.updates(part.stop - part.start) for part in chunks(rows, size))
    course = _steps.schedule(settings, optimizer, math.ceil(updates * settings.max_steps / epoch_steps))
    scaler = torch.amp.GradScaler(device.kind, enabled=precision.fp16)
    learner.backward = lambda loss: scaler.scale(loss).backward()  # type: ignore[method-assign]
    parts = _steps.Parts(
        {"model": learner.policy, "value": learner.head},
        {"optimizer": optimizer, "schedule": course, "scaler": scaler, "penalty": learner.penalty},
        functools.partial(_describe, learner) if not params.peft else None,
    )
    samples = _reference.Samples(params, run, learner.policy, learner.beside, learner.tokenizer, tokens.prompts)
    take = _reinforced.valued(params, tokens, samples, learner.judge)
    told = Told(_facts(params, tokens, learner, device, precision), take, "reward", "reward")
    evaluate = functools.partial(_evaluated, params, run, tokens.valid, learner) if tokens.valid is not None else None
    steps = _steps.Steps(params, run, settings, parts, told, epoch_steps=epoch_steps, evaluate=evaluate)

    def move() -> float:
        scaler.unscale_(optimizer)
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(weights, params.max_grad_norm or math.inf)
        if scaler.is_enabled() or steps.sound(norm):
            scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        course.step()
        return float(norm)

    with _steps.memory_told(lambda: steps.done + 1, learner.at_once):
        for step in steps:
            epoch, place = steps.epoch(step)
            chosen = list(in_order(rows, size, params.seed + epoch))[place]
            played, rate = learner.play(tokens.train[chosen]), course.get_last_lr()[0]
            values = learner.describe(played) | learner.learn(played, move) | {"learning_rate": rate}
            steps.log(values, tokens=int(played.rollout.mask.sum()))
        return steps.end()


def _evaluated(params: Any, run: ActiveRun, rows: Any, learner: Learner) -> dict[str, float]:
    """The same figures of held-out prompts, answered in the same way, with the same draws each time."""
    import torch

    torch.manual_seed(params.seed)
    totals: dict[str, float] = {}
    for part in chunks(len(rows), params.eval_batch_size):
        some = rows[part]
        for name, value in learner.describe(learner.play(some)).items():
            totals[name] = totals.get(name, 0.0) + value * len(some["prompt_ids"]) / len(rows)
        if run.stop_asked():
            break
    return totals


def _facts(params: Any, tokens: Tokens, learner: Learner, device: Any, precision: Any) -> dict[str, Any]:
    import torch

    reference = "a frozen copy" if learner.beside is not None else "the model without its adapter"
    return {
        "model": params.model,
        **load.parameter_counts(learner.policy),
        "device": device.kind,
        "dtype": "bf16" if precision.bf16 else "fp16" if precision.fp16 else "fp32",
        "threads": torch.get_num_threads(),
        "rows": len(tokens.train),
        "valid_rows": len(tokens.valid) if tokens.valid is not None else 0,
        "path": f"PPO: the value head reads the policy's own layers; the reference is {reference}",
    }


def _describe(learner: Learner, path: Path) -> None:
    """A checkpoint of a whole model opens as one."""
    learner.policy.config.save_pretrained(path)
    learner.tokenizer.save_pretrained(path)
