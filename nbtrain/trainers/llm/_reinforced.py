"""What the methods that learn from rewards share: their fields, their prompts in tokens, what an answer is worth."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from nbtrain.data import chat, prompts
from nbtrain.data.prompts import Prompts
from nbtrain.errors import DataError, ParamError
from nbtrain.params import option
from nbtrain.params.options import Function, Location
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._news import Take
from nbtrain.trainers._samples import Prompt
from nbtrain.trainers.llm import sft
from nbtrain.trainers.llm._language import SHOWN, Tokens, own_prompts
from nbtrain.trainers.rl import environments, judges, rewards

LEARNERS = ("ppo", "grpo")
_GROUP = "Reinforcement Learning"


class Reinforced(BaseModel):
    """What ppo and grpo read."""

    rl_reward_fn: Function | list[Any] | dict[str, Any] | None = option(
        None,
        "what an answer is worth: a name (length, regex, math ...), module:function, FILE.py:function, a function of "
        'the notebook, {"name": ..., its settings}, or a list of such',
        group=_GROUP,
        only=LEARNERS,
    )
    rl_reward_weights: str | list[float] | None = option(
        None,
        "how much each reward counts: a list, first the functions, then the model, then the environment; none: 1 each",
        group=_GROUP,
        only=LEARNERS,
    )
    rl_reward_model_path: Location | None = option(
        None, "a trained reward model, or any classifier: a Run, folder or hub id", group=_GROUP, only=LEARNERS
    )
    rl_env_module: str | None = option(
        None, "module or FILE.py with an environment that asks and judges", group=_GROUP, only=LEARNERS
    )
    rl_env_class: str | None = option(
        None, "class of the environment; none: the only one that the module has", group=_GROUP, only=LEARNERS
    )
    rl_env_config: str | dict[str, Any] | None = option(
        None, "arguments of the environment's class, as JSON", group=_GROUP, only=LEARNERS
    )
    rl_kl_coef: float = option(
        0.2, "price of a nat of distance from the reference", group=_GROUP, unit="reward per nat", ge=0, only=LEARNERS
    )
    rl_clip_range: float = option(
        0.2, "how far a token's probability may move in one step", group=_GROUP, unit="share", gt=0, lt=1, only=LEARNERS
    )
    rl_max_new_tokens: int = option(
        128, "longest answer that is written", group=_GROUP, unit="tokens", ge=1, only=LEARNERS
    )
    rl_top_k: int = option(
        50, "draw from so many likeliest tokens; 0: from all", group=_GROUP, unit="tokens", ge=0, only=LEARNERS
    )
    rl_top_p: float = option(
        1.0, "draw from the likeliest tokens of this mass", group=_GROUP, unit="share", gt=0, le=1, only=LEARNERS
    )
    rl_temperature: float = option(
        1.0, "temperature of the answers that are learnt from", group=_GROUP, unit="temperature", gt=0, only=LEARNERS
    )


def is_rewarded(params: Any) -> bool:
    """Whether anything says what an answer is worth."""
    return any((params.rl_reward_fn, params.rl_reward_model_path, params.rl_env_module))


def reward(params: Any) -> rewards.Combined:
    """What an answer is worth: the functions, the model and the environment, with their weights.

    Raises:
        ParamError: one of them is not there, or there are more or fewer weights than rewards.
    """
    said = params.rl_reward_fn
    if isinstance(said, str) and said.lstrip().startswith("["):
        said = _json(said, "--rl-reward-fn")
    given = list(said) if isinstance(said, list) else [said] if said else []
    if params.rl_reward_model_path:
        given.append(rewards.labelled(judges.classifier(params.rl_reward_model_path), "reward_model"))
    if params.rl_env_module:
        given.append(environments.reward(environment(params)))
    return rewards.combined(given, _weights(params.rl_reward_weights))


def environment(params: Any) -> environments.Make:
    """What makes the environment.

    Raises:
        ParamError: it is not there, or does not take its config.
    """
    return environments.named(params.rl_env_module, params.rl_env_class or "", params.rl_env_config)


def follow(params: Any, tokenizer: Any, ends: Sequence[int]) -> Callable[[str, bool], list[int]]:
    """What stands between an answer and the next, as the chat template writes it: see `turns.Follow`."""
    template, mark = chat.template_for(tokenizer, params.chat_template), "an-answer-stood-here"

    def tokens(says: str, ended: bool) -> list[int]:
        turns = [("user", "?"), ("assistant", mark), ("user", says)]
        messages = [{"role": role, "content": content} for role, content in turns]
        text = tokenizer.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer(text.rpartition(mark)[2], add_special_tokens=False).input_ids
        return list(ids[1:] if ended and ids[:1] and ids[0] in ends else ids)  # the answer has its end token already

    return tokens


def longest_answer(params: Any) -> int:
    """Tokens of the longest answer: no more than either limit that there is."""
    return min(params.rl_max_new_tokens, params.max_completion_length or params.rl_max_new_tokens)


def recognise(params: Any, splits: Any) -> Prompts:
    """The form of the prompts."""
    named = {"prompt_text_column": params.prompt_text_column, "text_column": params.text_column}
    given = [column for flag, column in named.items() if flag in params.given() and column]
    return prompts.recognise(splits.train, params.column_mapping, {"prompt": given[0]} if given else None)


def prepare(params: Any, run: ActiveRun, splits: Any, form: Prompts, tokenizer: Any, longest: int) -> Tokens:
    """The rows with `prompt_ids`, the tokens of their prompts as the chat template writes them."""
    tokenizer.chat_template = chat.template_for(tokenizer, params.chat_template, warn=run.warn)
    room = longest - longest_answer(params)
    if room < 1:
        what = f"answers of {longest_answer(params)} tokens leave no room for a prompt: a row has {longest}"
        raise ParamError(what, fix="a smaller --rl-max-new-tokens, or a larger --block-size.")

    def tokens(rows: Any) -> Any:
        if rows is None:
            return None
        ids = [sft.prompt(params, tokenizer, form.messages(row)).ids for row in rows]
        if cut := sum(len(each) > room for each in ids):
            run.warn(f"Too long: {cut:,} of {len(ids):,} prompts lose their beginning; {room} tokens are kept.")
        return rows.add_column("prompt_ids", [list(each[-room:]) for each in ids])

    train, valid = tokens(splits.train), tokens(splits.valid)
    own = own_prompts(params, tokenizer, sft.prompt)
    shown = valid if valid is not None else train
    asked = own or [
        Prompt(form.messages(row)[-1]["content"], tuple(row["prompt_ids"]))
        for row in shown.select(range(min(SHOWN, len(shown))))
    ]
    return Tokens(train, valid, tuple(asked))


def judged(
    reward: rewards.Combined,
    form: Prompts,
    rows: Mapping[str, Sequence[Any]],
    texts: Sequence[str],
    known: Mapping[str, list[float | None]] = MappingProxyType({}),
) -> tuple[list[float | None], dict[str, list[float | None]]]:
    """What each text is worth as an answer to its row, and by which reward.

    Args:
        rows: column to values.
        known: what some rewards have said already, by their name.
    """
    questions = [asked(form, dict(zip(rows, values, strict=True))) for values in zip(*rows.values(), strict=True)]
    # as TRL has it: a chat is answered by a message, a text by a text
    said = [
        [{"role": "assistant", "content": text}] if isinstance(prompt, list) else text
        for prompt, text in zip(questions, texts, strict=True)
    ]
    columns = {name: list(values) for name, values in rows.items() if name not in ("prompt_ids", "prompt")}
    parts = {
        name: known[name] if name in known else rewards.judge(name, each, questions, said, columns)
        for name, each in reward.rewards.items()
    }
    total = reward.total(parts)
    if total and all(value is None for value in total):
        names = ", ".join(reward.rewards)
        raise DataError(
            f"no reward ({names}) has an opinion on any of {len(total)} answers", fix="look at its columns."
        )
    return total, parts


def valued(params: Any, tokens: Tokens, samples: Take, judge: Callable[..., Any]) -> Take:
    """The samples of policy and reference, and what either is worth where its row is known.

    Args:
        judge: as `judged`, of rows and texts alone.
    """
    known = tokens.valid if tokens.valid is not None else tokens.train
    rows = known[: len(tokens.prompts)] if not params.sample_prompts else None

    def take(step: int) -> tuple[Mapping[str, Any], ...]:
        found = list(samples(step))
        for said, name in (("output", "reward"), ("reference", "reference reward")):
            texts = [each[said] for each in found if said in each]
            if rows is not None and len(texts) == len(rows["prompt_ids"]):
                total, _ = judge(rows, texts)
                worth = ["" if value is None else f"{value:.3f}" for value in total]
                found = [{**each, name: value} for each, value in zip(found, worth, strict=True)]
        return tuple(found)

    return take


def asked(form: Prompts, row: Mapping[str, Any]) -> Any:
    """The prompt as the data has it: a text, or messages."""
    if "messages" in form.columns or isinstance(row[form.columns["prompt"]], list) or "system" in form.columns:
        return form.messages(row)
    return form.messages(row)[-1]["content"]


def _weights(said: str | list[float] | None) -> list[float] | None:
    if said is None or isinstance(said, list):
        return said
    found = _json(said if said.lstrip().startswith("[") else f"[{said}]", "--rl-reward-weights")
    if not all(isinstance(each, (int, float)) for each in found):
        raise ParamError(f"--rl-reward-weights are numbers; found {said!r}", fix="as in [1, 0.5]")
    return [float(each) for each in found]


def _json(said: str, flag: str) -> Any:
    try:
        return json.loads(said)
    except ValueError as error:
        raise ParamError(f"{flag} cannot be read as JSON: {error}", where=said[:80]) from None
