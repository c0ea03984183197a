"""TRL's GRPOTrainer: fed with our tokens, played through environments, measured on one answer a held-out prompt."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._samples import undisturbed
from nbtrain.trainers.llm import _trl
from nbtrain.trainers.llm._language import Tokens
from nbtrain.trainers.rl import environments, rewards

PLAYED = "environment_reward"  # column in which a played environment says what the row earned


def trainer(  # noqa: PLR0913  what a Trainer is made of
    model: Any,
    beside: Any,
    tokenizer: Any,
    tokens: Tokens,
    config: Mapping[str, Any],
    *,
    judge: rewards.Combined,
    run: ActiveRun,
    plays: Callable[..., Any] | None = None,
) -> Any:
    """The Trainer of a policy.

    Args:
        beside: the frozen reference; None: `model` without its adapter, or none is needed.
        tokens: rows with prompt_ids and prompt, and the columns that the rewards read.
        config: of GRPOConfig; its beta is the price of the distance from the reference.
        plays: as `episodes` makes it, where answers are played through an environment.
    """
    from trl import GRPOConfig
    from trl.trainer.utils import add_fused_lm_head

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # of rollouts: a warning that nothing can be done about
    settings = GRPOConfig(**{**config, "beta": 0.0}, num_generations_eval=1, reward_weights=list(judge.weights))
    functions = [_told(name, each) for name, each in judge.rewards.items()]
    _trl.without_dropout(model)
    with _trl._adapters_as_they_are(model):
        made = _kind()(
            model,
            functions,
            settings,
            processing_class=tokenizer,
            train_dataset=tokens.train,
            eval_dataset=tokens.valid,
            rollout_func=plays,
        )
    # by itself it would open the reference a second time, by the name of the model's base
    made.beta, made.ref_model = config["beta"], beside
    if beside is not None:
        add_fused_lm_head(beside, temperature=settings.temperature)
    made.stop_asked = run.stop_asked
    made.create_model_card = lambda **_: None  # a run has a card of its own
    return made


def _told(name: str, reward: rewards.Reward) -> rewards.Reward:
    """A reward whose faults are told in words, under its name."""

    def judge(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        known = {key: value for key, value in columns.items() if key != "prompt_ids"}
        return rewards.judge(name, reward, prompts, completions, known)

    return rewards.labelled(judge, name)


def _kind() -> Any:
    import torch
    from transformers.trainer_utils import EvalLoopOutput
    from trl import GRPOTrainer

    class Groups(GRPOTrainer):  # type: ignore[misc]
        """Prompts in our tokens; epochs that a resumed run has too; an evaluation that changes nothing."""

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Any:
            self.rows = inputs
            return super()._generate_and_score_completions(inputs)

        def _tokenize_prompts(self, prompts: list[Any]) -> Any:
            return [row["prompt_ids"] for row in self.rows], None, {}

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            sampler = super()._get_train_sampler(dataset)
            # accelerate calls it at each epoch; by itself the order of the second depends on the first's having been
            sampler.set_epoch = lambda epoch: sampler.generator.manual_seed(self.args.seed + epoch)
            return sampler

        def evaluation_loop(self, dataloader: Any, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> Any:
            """One answer to each held-out prompt, drawn alike each time."""
            rows, totals, size = self.eval_dataset, dict[str, float](), self.args.per_device_eval_batch_size
            with undisturbed(self.model):
                torch.manual_seed(self.args.seed)
                for start in range(0, len(rows), size):
                    part = [rows[place] for place in range(start, min(start + size, len(rows)))]
                    for name, value in self.judged(part).items():
                        totals[name] = totals.get(name, 0.0) + value * len(part) / len(rows)
                    if self.stop_asked():
                        break
            self.model.eval()  # TRL tells by the mode what it is logging; the next step sets it back
            named = {f"{metric_key_prefix}_{name}": value for name, value in totals.items()}
            return EvalLoopOutput(predictions=None, label_ids=None, metrics=named, num_samples=len(rows))

        def judged(self, rows: list[dict[str, Any]]) -> dict[str, float]:
            """What one answer to each row is worth, and how long the answers are, as means."""
            self.rows, prompts = rows, [row["prompt"] for row in rows]
            _, ids, _, said, _, played, *_ = self._generate(prompts)
            known = [row | {name: values[place] for name, values in played.items()} for place, row in enumerate(rows)]
            worth = self._calculate_rewards(known, prompts, said, ids)
            means = worth.nanmean(0).nan_to_num(0.0).tolist()
            found = {f"rewards/{name}/mean": mean for name, mean in zip(self.reward_func_names, means, strict=True)}
            lengths = {
                name: self._metrics["eval"][name][-1]
                for name in ("completions/mean_length", "completions/clipped_ratio")
            }
            self._metrics["eval"].clear()
            total = (worth * self.reward_weights.to(worth.device)).nansum(1).mean().item()
            return {"reward": total} | found | lengths

    return Groups


def episodes(make: environments.Make, ask: Callable[[Any], list[int]], tokenizer: Any) -> Callable[..., Any]:
    """Rollouts through environments, turn by turn, as GRPOTrainer takes them.

    Args:
        ask: a text or messages to the tokens of the prompt.
    """
    pool: list[environments.Environment] = []

    def played(prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        pool.extend(make() for _ in range(len(prompts) - len(pool)))
        opened = zip(pool, trainer.rows, prompts, strict=False)
        plays = [_Play(one, environments.asked(one, _row(row), prompt), ask, tokenizer) for one, row, prompt in opened]
        for _ in range(environments.LONGEST):
            waiting = [each for each in plays if not each.done]
            if not waiting:
                break
            answers, _ = trainer._generate_single_turn([each.seen for each in waiting], None, {}, 1)
            for each, answer in zip(waiting, answers, strict=True):
                each.answer(answer)
        return {
            "prompt_ids": [each.prompt for each in plays],
            "completion_ids": [each.ids for each in plays],
            "logprobs": None,
            "env_mask": [each.own for each in plays],
            PLAYED: [each.reward for each in plays],
        }

    return played


def played_reward(name: str) -> rewards.Reward:
    """What the environment gave while it was played."""
    return rewards.labelled(lambda prompts, completions, **columns: columns[PLAYED], name)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("prompt_ids", "prompt")}


@dataclass
class _Play:
    """One row played to its end.

    ids: what followed the prompt. own: 1 where a token is the policy's, 0 where it is the environment's.
    """

    environment: environments.Environment
    asked: Any
    ask: Callable[[Any], list[int]]
    tokenizer: Any
    ids: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    reward: float = 0.0
    done: bool = False

    def __post_init__(self) -> None:
        said = self.asked
        self.turns = list(said) if isinstance(said, list) else [{"role": "user", "content": said}]
        self.prompt = self.ask(self.turns)

    @property
    def seen(self) -> list[int]:
        """All tokens up to now."""
        return [*self.prompt, *self.ids]

    def answer(self, ids: list[int]) -> None:
        """Let the environment judge an answer, and put what it says behind it."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        turn = environments.judged(self.environment, text)
        self.reward, self.done = self.reward + turn.reward, turn.done
        self.ids, self.own = self.ids + ids, self.own + [1] * len(ids)
        if not self.done:
            said = [{"role": "assistant", "content": text}, {"role": "user", "content": turn.says}]
            more = self._between(text, said, ended=ids[-1] in self.tokenizer.all_special_ids)
            self.ids, self.own = self.ids + more, self.own + [0] * len(more)
            self.turns += said

    def _between(self, text: str, said: list[dict[str, str]], *, ended: bool) -> list[int]:
        """The tokens between an answer and the next, as the template writes them."""
        render = partial(self.tokenizer.apply_chat_template, tokenize=False)
        before, after = (
            render(self.turns, add_generation_prompt=True),
            render(self.turns + said, add_generation_prompt=True),
        )
        ids = self.tokenizer(after[len(before) + len(text) :], add_special_tokens=False).input_ids
        return ids[1:] if ended and ids and ids[0] in self.tokenizer.all_special_ids else ids
