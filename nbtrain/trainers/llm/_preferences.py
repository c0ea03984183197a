"""The road of preferences: pairs judged and in tokens, a policy trained on them, each held-out pair counted once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, model_validator

from nbtrain.data import chat, encoding, preferences, read, sources, stream
from nbtrain.data.preferences import Preferences
from nbtrain.errors import DataError
from nbtrain.models import load
from nbtrain.params import option
from nbtrain.params.options import Location
from nbtrain.runs import ranks
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _loop
from nbtrain.trainers._samples import Prompt, undisturbed
from nbtrain.trainers.llm import _coach, _language, _pairs, _reference, _trl, _ways
from nbtrain.trainers.llm._language import SHOWN, Tokens

_PARTS = ("prompt_ids", "chosen_ids", "rejected_ids", "row")
PAIRS, POLICIES = ("dpo", "orpo", "reward"), ("dpo", "orpo")


class Pairs(BaseModel):
    """What the methods of preferences read."""

    prompt_text_column: str | None = option(
        None, "column of the prompt; none: found by its usual names", group="Data", only=(*PAIRS, "ppo", "grpo")
    )
    rejected_text_column: str | None = option(
        None, "column of the rejected answer; that of the chosen one is --text-column", group="Data", only=PAIRS
    )
    model_ref: Location | None = option(
        None,
        "the model to stay near; none: the model as it begins. orpo needs none: the distance from it is reported",
        group="DPO/ORPO",
        only=POLICIES,
    )
    max_prompt_length: int = option(
        512, "longest prompt; a longer one loses its beginning", group="DPO/ORPO", unit="tokens", ge=1, only=POLICIES
    )
    max_completion_length: int | None = option(
        1024,
        "longest answer; a longer one loses its end; none: as long as the row may be",
        group="DPO/ORPO",
        unit="tokens",
        ge=1,
        only=(*POLICIES, "ppo", "grpo"),
    )
    label_smoothing: float = option(
        0.0,
        "share of the pairs that may be labelled the wrong way round",
        group="DPO/ORPO",
        unit="share",
        ge=0,
        lt=0.5,
        only=("dpo", "reward"),
    )

    @model_validator(mode="after")
    def _batches_of_pairs(self) -> Self:
        method = getattr(self, "trainer", "")
        backend = getattr(self, "backend", "auto")
        if method in POLICIES and backend in ("hf", "native"):
            raise ValueError(f"--backend {backend}: the loss of {method} is TRL's. Leave --backend out")
        if method == "reward" and backend not in ("auto", "hf"):
            raise ValueError(f"--backend {backend}: transformers' Trainer trains reward models. Leave --backend out")
        return self


class Limits(NamedTuple):
    """Tokens at most; None: no limit of its own."""

    prompt: int | None
    answer: int | None
    row: int


def reading(params: Any, cache: Path) -> read.Splits:
    """The splits; what `demo` means here are pairs."""
    demo = sources.find("demo", cache, room="preferences") if params.data_path == "demo" else None
    return read.read(params, cache, found=demo)


def recognise(params: Any, splits: read.Splits, *, prompted: bool = True) -> Preferences:
    """The form of the pairs. prompted: whether each needs a prompt."""
    chosen = params.text_column if "text_column" in params.given() else None
    flags = {"prompt": params.prompt_text_column, "chosen": chosen, "rejected": params.rejected_text_column}
    named = {role: column for role, column in flags.items() if column}
    return preferences.recognise(splits.train, params.column_mapping, named, prompted=prompted)


def check(params: Any, cache: Path) -> list[str]:
    """The pairs, read and judged, for a screen."""
    return _language.check(params, cache, recognise, reading, prepare)


def prepare(  # noqa: PLR0913  what a method is given, and a template
    params: Any,
    run: ActiveRun,
    splits: read.Splits,
    form: Preferences,
    tokenizer: Any,
    longest: int,
    *,
    template: str | None = None,
) -> Tokens:
    """Pairs in tokens: prompt_ids, chosen_ids, rejected_ids, and row, their number in the split.

    Args:
        template: jinja, where --chat-template names none; None: the tokenizer's own, else chatml.
    """
    chosen = template if params.chat_template is None and template is not None else None
    template = chosen or chat.template_for(
        tokenizer, params.chat_template, warn=run.warn if form.name != "texts" else None
    )
    tokenizer.chat_template = template  # saved with the model, so that whoever uses it writes prompts as it learnt them
    limits = Limits(None, None, longest)
    if params.trainer in POLICIES:
        limits = Limits(params.max_prompt_length, params.max_completion_length, longest)

    def tokens(rows: Any) -> Any:
        return _tokenised(params, run, rows, form, tokenizer, limits)

    train, valid = tokens(splits.train), tokens(splits.valid) if splits.valid is not None else None
    shown, rows = (valid, splits.valid) if valid is not None else (train, splits.train)
    prompts = [
        Prompt(last(pair.prompt), tuple(found["prompt_ids"]), last(pair.chosen))
        for found in shown.select(range(min(SHOWN, len(shown))))
        for pair in [form.pair(rows[found["row"] - 1])]
    ]
    return Tokens(train, valid, tuple(prompts))


def last(said: list[dict[str, Any]] | str) -> str:
    """What is said at the end, for a sample."""
    return said.strip() if isinstance(said, str) else str(said[-1]["content"]) if said else ""


def _tokenised(params: Any, run: ActiveRun, rows: Any, form: Preferences, tokenizer: Any, limits: Limits) -> Any:
    """The pairs of which both sides still differ within the limits; what is lost is told."""
    import numpy

    template = encoding.Template(tokenizer, tokenizer.chat_template)

    def encoded(row: Mapping[str, Any], number: int) -> dict[str, Any]:
        empty: list[int] = []
        try:
            parts = _in_tokens(form.pair(row), template)
        except DataError as error:
            if params.on_bad_rows == "stop":
                fix = f"{error.fix} Or leave such rows out: --on-bad-rows skip."
                raise DataError(f"Row {number + 1} cannot be used: {error.what}.", fix=fix) from None
            parts = (empty, empty, empty)
        kept = _cut(parts, limits, {tokenizer.bos_token_id, tokenizer.cls_token_id})
        names = ("prompt", "chosen", "rejected")
        lost = {f"{name}_lost": len(part) - len(rest) for name, part, rest in zip(names, parts, kept, strict=True)}
        return {f"{name}_ids": part for name, part in zip(names, kept, strict=True)} | lost | {"row": number + 1}

    found = rows.map(
        encoded,
        with_indices=True,
        remove_columns=rows.column_names,
        load_from_cache_file=not ranks.is_first(),  # the first has just made it, from the same rows
        cache_file_name=str(run.folder.data / f"pairs-{rows._fingerprint}.arrow"),
        new_fingerprint=f"pairs-{rows._fingerprint}",  # else datasets pickles the tokenizer for one
    )
    seen, of = stream.first(found)
    counts = {name: numpy.asarray(seen[f"{name}_lost"]) for name in ("prompt", "chosen", "rejected")}
    answers = counts["chosen"] + counts["rejected"]
    for lost, told in ((counts["prompt"], "prompts lose their beginning"), (answers, "pairs of answers lose an end")):
        if lost.any():
            run.warn(f"{of}Too long: {numpy.count_nonzero(lost):,} of {len(seen):,} {told}, {lost.sum():,} tokens.")
    useful = _differing(seen)
    if not useful:
        fix = "Allow longer rows: --block-size, --max-completion-length."
        raise DataError("no pair is left whose answers differ", fix=fix)
    if gone := len(seen) - len(useful):
        run.warn(f"{of}Left out, {gone:,} of {len(seen):,} pairs: within the limits both sides agree.")
    if isinstance(found, stream.Stream):
        return found.map(
            lambda some: {name: [some[name][at] for at in _differing(some)] for name in _PARTS}, batched=True
        )
    return found.select(useful).select_columns(list(_PARTS))


def _differing(pairs: Any) -> list[int]:
    """Numbers of the pairs whose sides are not the same."""
    sides = zip(pairs["chosen_ids"], pairs["rejected_ids"], strict=True)
    return [at for at, (one, other) in enumerate(sides) if one != other]


def _in_tokens(pair: preferences.Pair, template: encoding.Template) -> tuple[list[int], list[int], list[int]]:
    """(prompt, chosen, rejected) in tokens; the prompt ends where the tokens of one side first are its own."""
    tokenizer, rows = template.tokenizer, []
    for said in (pair.chosen, pair.rejected):
        if isinstance(said, str):
            prompt = tokenizer(str(pair.prompt))["input_ids"] if pair.prompt else []
            ids = tokenizer(f"{pair.prompt}{said}")["input_ids"]
            if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
                ids = [*ids, tokenizer.eos_token_id]
            rows.append((ids, _alike(ids, prompt)))
            continue
        text, spans = template.render([*pair.prompt, *said], True)  # type: ignore[list-item]
        begin = spans[sum(turn["role"] == "assistant" for turn in pair.prompt)][0]  # type: ignore[index]
        row = encoding.tokens(tokenizer, [text], [[(begin, len(text))]])[0]
        rows.append((row.input_ids, row.trained.index(1)))
    (chosen, one), (rejected, other) = rows
    end = min(one, other, _alike(chosen, rejected))
    return chosen[:end], chosen[end:], rejected[end:]


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _cut(
    parts: tuple[list[int], list[int], list[int]], limits: Limits, first: set[int | None]
) -> tuple[list[int], list[int], list[int]]:
    """Parts within the limits: a prompt loses its beginning, an answer its end.

    Prompt and answer have half of the row each, and what the other leaves. A first token that only marks the beginning
    (`first`) stays: a model that has always seen it is another one without it.
    """
    prompt, chosen, rejected = parts
    wanted = min(len(prompt), limits.prompt or limits.row)
    answer = min(limits.answer or limits.row, limits.row - min(wanted, limits.row // 2))
    room = min(wanted, limits.row - min(answer, max(len(chosen), len(rejected))))
    head = prompt[:1] if room < len(prompt) and room and prompt[0] in first else []
    return head + prompt[len(prompt) - room + len(head) :], chosen[:answer], rejected[:answer]


Make = Callable[..., Any]
"""(model, reference, tokenizer, tokens, arguments): the Trainer of a method."""
More = Callable[..., dict[str, float]]
"""(trainer, reference, batch): what a method measures of held-out pairs beside what its Trainer does, as means."""


def fit(params: Any, run: ActiveRun, make: Make, more: More = lambda *_: {}) -> dict[str, float]:
    """Train a policy on pairs, save it and see that it opens.

    Returns:
        The last evaluation's values, or with --best-model the best one's, and the totals.
    """
    from transformers import set_seed

    taught = partial(_pairs.prepare, prepare) if params.use_distillation else prepare
    tokens, tokenizer = _language.tokenised(params, run, taught, recognise, reading)
    run.stage("loading the model")
    set_seed(params.seed)  # what the data took must not change how an adapter begins
    model = load.causal_model(params, tell=run.warn)
    _ways.attend(params, model)
    beside = _reference.reference(params, run, model)
    run.stage("preparing")
    tokens, (precision, arguments, facts) = _language.settled(params, run, model, tokens)
    trainer = make(model, beside, tokenizer, tokens, arguments)
    measure = partial(more, trainer, beside)
    if tokens.teacher is not None:
        measure = _coach.attach_beside(trainer, params, tokens.teacher, precision, measure)
    trainer.evaluation_loop = partial(_mean_over_pairs, trainer, run, measure)
    take = _reference.Samples(params, run, model, beside, tokenizer, tokens.prompts)
    told = _loop.Told(facts | {"path": f"TRL's {type(trainer).__name__}"}, take)
    values = _loop.train(trainer, params, run, told)
    if tokens.teacher is not None:
        tokens.teacher.tell(run)
    run.stage("saving the model")
    load.save(model, tokenizer, run.folder.model, params)
    if not run.stopped:
        run.stage("opening the saved model")
        load.verify(run.folder.model, trust_remote_code=params.trust_remote_code)
    return values


def _mean_over_pairs(
    trainer: Any, run: ActiveRun, more: More, dataloader: Any, *_: Any, metric_key_prefix: str = "eval", **__: Any
) -> Any:
    """transformers' evaluation loop, with the mean over all pairs: TRL's own is the mean of the batches' means."""
    from transformers.trainer_utils import EvalLoopOutput

    totals: dict[str, float] = {}
    count = 0
    with undisturbed(trainer.model):
        for batch in dataloader:
            batch.pop("tokens", None)
            pairs, values = _trl.measured(trainer, batch)
            for name, value in (values | more(batch)).items():
                totals[name] = totals.get(name, 0.0) + value * pairs
            count += pairs
            if run.stop_agreed():
                break
    trainer.model.eval()  # TRL tells by the mode what it is logging; the next step sets it back
    metrics = {f"{metric_key_prefix}_{name}": total / count for name, total in totals.items()}
    return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=count)
