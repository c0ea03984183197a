"""Group relative policy optimisation: of several answers to a prompt, those above their mean become likelier.

TRL's GRPOTrainer writes the answers and learns from them; the prompts' tokens, the rewards and the rest are ours.

Source: Shao et al. 2024, arXiv:2402.03300
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, model_validator

from nbtrain.data.prompts import Prompts
from nbtrain.errors import MissingExtra, ParamError
from nbtrain.models import load
from nbtrain.params import option
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _loop
from nbtrain.trainers.llm import _groups, _language, _reference, _reinforced, _ways, sft
from nbtrain.trainers.llm._language import Tokens, opened, usage
from nbtrain.trainers.llm._reinforced import is_rewarded, longest_answer, recognise
from nbtrain.trainers.llm.sft import predict
from nbtrain.trainers.rl import rewards

__all__ = ["GRPO", "check", "opened", "predict", "train", "usage"]

ONLY, _GROUP = ("grpo",), "Reinforcement Learning"
Loss = Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"]


class GRPO(BaseModel):
    """What grpo alone reads."""

    rl_num_generations: int = option(
        4, "answers to a prompt, which are compared with each other", group=_GROUP, unit="answers", ge=2, only=ONLY
    )
    rl_loss_type: Loss = option(
        "grpo",
        "grpo: each answer counts alike; dapo, bnpo: each token; dr_grpo: by a fixed length; cispo, sapo, luspo, "
        "vespo: clipped otherwise",
        group=_GROUP,
        only=ONLY,
    )
    rl_mask_truncated_completions: bool = option(
        False, "learn nothing from answers that did not come to their end", group=_GROUP, only=ONLY
    )
    use_vllm: bool = option(False, "let vLLM write the answers; it needs a CUDA GPU", group=_GROUP, only=ONLY)
    vllm_mode: Literal["colocate", "server"] = option(
        "colocate", "vLLM beside the training on its GPU, or a server (--vllm-server-url)", group=_GROUP, only=ONLY
    )
    vllm_server_url: str | None = option(None, "where the server of --vllm-mode server is", group=_GROUP, only=ONLY)
    vllm_gpu_memory_utilization: float = option(
        0.3, "of the GPU's memory, for vLLM", group=_GROUP, unit="share", gt=0, lt=1, only=ONLY
    )
    vllm_tensor_parallel_size: int = option(
        1, "GPUs over which vLLM spreads the model", group=_GROUP, unit="GPUs", ge=1, only=ONLY
    )

    @model_validator(mode="after")
    def _can_be_grouped(self) -> Self:
        if getattr(self, "trainer", "") != "grpo":
            return self
        if not is_rewarded(self):
            raise ValueError(
                "GRPO needs --rl-reward-fn (a function), --rl-reward-model-path (a trained reward model) or "
                "--rl-env-module (an environment)"
            )
        backend = getattr(self, "backend", "auto")
        if backend in ("hf", "native"):
            raise ValueError(f"--backend {backend}: the loss of grpo is TRL's. Leave --backend out")
        if self.use_vllm and self.vllm_mode == "server" and not self.vllm_server_url:
            raise ValueError("--vllm-mode server needs --vllm-server-url")
        return self


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values."""
    params, judge, writing = in_whole_groups(params, run), _reinforced.reward(params), vllm(params)
    tokens, tokenizer = _language.tokenised(params, run, prepare, recognise)
    at_once = params.batch_size * params.gradient_accumulation // params.rl_num_generations
    if len(tokens.train) < at_once:
        what = f"a step answers {at_once} prompts, and there are {len(tokens.train)} to train on"
        raise ParamError(what, fix="a smaller --batch-size or --gradient-accumulation, or more data.")
    return fit(params, run, tokens, tokenizer, judge, writing)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and judged."""
    return _language.check(params, cache, recognise, prepare=prepare)


def in_whole_groups(params: Any, run: ActiveRun) -> Any:
    """The parameters with a batch that holds each prompt's answers together.

    Raises:
        ParamError: the batch size that was given does not.
    """
    group, parts = params.rl_num_generations, params.gradient_accumulation
    answers = params.batch_size * parts
    if answers % group == 0:
        return params
    unit = group // math.gcd(group, parts)
    if "batch_size" not in params.given():
        run.warn(f"--batch-size {unit}: the {group} answers to a prompt stay in one step (--rl-num-generations).")
        return params.but(batch_size=unit)
    below = params.batch_size // unit * unit
    sizes = " or ".join(str(size) for size in (below, below + unit) if size)
    others = ", ".join(str(count) for count in range(2, answers + 1) if answers % count == 0)
    times = f" x --gradient-accumulation {parts}" if parts > 1 else ""
    raise ParamError(
        f"--batch-size {params.batch_size}{times} makes {answers} answers a step, which are no whole groups of "
        f"--rl-num-generations {group}",
        why="the answers to a prompt are compared with each other, so they belong into one step",
        fix=f"--batch-size {sizes}" + (f"; or --rl-num-generations {others}." if others else "."),
    )


def vllm(params: Any) -> dict[str, Any]:
    """What GRPOConfig takes of vLLM.

    Raises:
        MissingExtra: it is not installed. ParamError: there is no GPU for it.
    """
    if not params.use_vllm:
        return {}
    without = "or leave --use-vllm out: transformers then writes the answers, more slowly"
    if load.device().kind != "cuda":
        raise ParamError(
            "--use-vllm needs a CUDA GPU, and there is none here", fix=f"take a machine with one, {without}"
        )
    if find_spec("vllm") is None:
        raise MissingExtra("--use-vllm needs vllm, which is not installed", fix=f"pip install vllm, {without}")
    return {
        "use_vllm": True,
        "vllm_mode": params.vllm_mode,
        "vllm_server_base_url": params.vllm_server_url,
        "vllm_gpu_memory_utilization": params.vllm_gpu_memory_utilization,
        "vllm_tensor_parallel_size": params.vllm_tensor_parallel_size,
    }


def prepare(params: Any, run: ActiveRun, splits: Any, form: Prompts, tokenizer: Any, longest: int) -> Tokens:
    """The rows with `prompt_ids`, and `prompt` as the rewards see it: a text, or messages where the data has them."""
    tokens = _reinforced.prepare(params, run, splits, form, tokenizer, longest)

    def asked(rows: Any) -> Any:
        if rows is None:
            return None
        said = [_reinforced.asked(form, row) for row in rows]
        # TRL takes a column of pictures for a part of the prompt
        return rows.remove_columns(
            [name for name in ("prompt", "image", "images") if name in rows.column_names]
        ).add_column("prompt", said)

    return replace(tokens, train=asked(tokens.train), valid=asked(tokens.valid))


def fit(  # noqa: PLR0913  what the data and the parameters have become
    params: Any, run: ActiveRun, tokens: Tokens, tokenizer: Any, judge: rewards.Combined, writing: dict[str, Any]
) -> dict[str, float]:
    """Train on prompts, save the policy and see that it opens."""
    from transformers import set_seed

    run.stage("loading the model")
    set_seed(params.seed)  # what the data took must not change how an adapter begins
    model = load.causal_model(params, tell=run.warn)
    _ways.attend(params, model)
    beside = _reference.reference(params, run, model) if params.rl_kl_coef else None
    run.stage("preparing")
    _, (precision, _, facts) = _language.settled(params, run, model, tokens)
    arguments = _loop.arguments(
        params,
        run,
        rows=len(tokens.train) * params.rl_num_generations,  # a batch counts answers
        device=load.device(),
        precision=precision,
        evaluate=tokens.valid is not None,
    )
    # an environment is played by the policy turn by turn; a sample is its first turn
    plays, playing = _played(params, tokenizer, judge) if params.rl_env_module else (None, judge)
    config = arguments | _settings(params) | writing
    trainer = _groups.trainer(model, beside, tokenizer, tokens, config, judge=playing, run=run, plays=plays)
    samples = _reference.Samples(params, run, model, beside, tokenizer, tokens.prompts)
    of_row = functools.partial(_reinforced.judged, judge, Prompts({"prompt": "prompt"}))
    told = _loop.Told(
        facts | {"path": f"TRL's GRPOTrainer, {params.rl_num_generations} answers a prompt"},
        _reinforced.valued(params, tokens, samples, of_row),
        metric="reward",
        curve="reward",
    )
    values = _loop.train(trainer, params, run, told)
    run.stage("saving the model")
    load.save(model, tokenizer, run.folder.model, params)
    if not run.stopped:
        run.stage("opening the saved model")
        load.verify(run.folder.model, trust_remote_code=params.trust_remote_code)
    return values


def _settings(params: Any) -> dict[str, Any]:
    """What GRPOConfig calls by other names."""
    return {
        "beta": params.rl_kl_coef,
        "epsilon": params.rl_clip_range,
        "num_generations": params.rl_num_generations,
        "max_completion_length": longest_answer(params),
        "temperature": params.rl_temperature,
        "top_k": params.rl_top_k,
        "top_p": params.rl_top_p,
        "loss_type": params.rl_loss_type,
        "mask_truncated_completions": params.rl_mask_truncated_completions,
    }


def _played(params: Any, tokenizer: Any, judge: rewards.Combined) -> tuple[Any, rewards.Combined]:
    """Rollouts through the environment, and the rewards with the environment's taken from there."""
    room = _language.longest(params) - longest_answer(params)

    def ask(turns: Any) -> list[int]:
        return list(sft.prompt(params, tokenizer, turns).ids[-room:])

    name = list(judge.rewards)[-1]  # as `_reinforced.reward` has it, the environment is the last
    changed = replace(judge, rewards={**judge.rewards, name: _groups.played_reward(name)})
    return _groups.episodes(_reinforced.environment(params), ask, tokenizer), changed
