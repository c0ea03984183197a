"""The road that every method of a language model takes: data, checks, tokens, model, training, the saved model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nbtrain.data import chat, read
from nbtrain.data import check as judge
from nbtrain.errors import ParamError
from nbtrain.models import load
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _feed, _loop
from nbtrain.trainers._samples import Manner, Prompt, generate
from nbtrain.trainers.llm import (
    _coach,
    _custom,
    _fitting,
    _flat,
    _lessons,
    _measure,
    _native,
    _rendered,
    _rows,
    _teacher,
    _ways,
)

SHOWN = 3  # prompts that are asked again and again


@dataclass(frozen=True)
class Tokens:
    """The data as it is trained.

    train, valid: datasets with input_ids and labels; valid None where nothing is held out. teacher: whose logits are
    learnt.
    """

    train: Any
    valid: Any
    prompts: tuple[Prompt, ...]
    teacher: _teacher.Teacher | None = None


Prepare = Callable[..., Tokens]
"""(params, run, splits, form, tokenizer, longest): the rows as a method trains on them."""


def train(params: Any, run: ActiveRun, prepare: Prepare) -> dict[str, float]:
    """Train a causal language model."""
    if params.use_distillation:
        prepare = partial(_lessons.prepare, prepare)
    tokens, tokenizer = tokenised(params, run, prepare, text_or_chat)
    return fit(params, run, tokens, tokenizer)


def text_or_chat(params: Any, splits: read.Splits) -> judge.Form:
    """The form of plain text or of chats; with a teacher who writes the answers, of prompts too."""
    return (
        _lessons.recognise(_text_or_chat, params, splits) if params.use_distillation else _text_or_chat(params, splits)
    )


def _text_or_chat(params: Any, splits: read.Splits) -> chat.Form:
    named = {"text": params.text_column} if "text_column" in params.given() else {}
    return chat.recognise(splits.train, params.column_mapping, named)


def tokenised(
    params: Any,
    run: ActiveRun,
    prepare: Prepare,
    recognise: Callable[..., judge.Form] = text_or_chat,
    reading: Callable[..., read.Splits] = read.read,
) -> tuple[Tokens, Any]:
    """The data, judged and in tokens, before a model is loaded; and the tokenizer.

    Args:
        recognise: (params, splits) to the form of the rows.
        reading: (params, cache) to the splits.
    """
    import datasets
    from transformers import set_seed
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    set_seed(params.seed)
    run.stage("reading the data")
    splits = reading(params, run.folder.data)
    for notice in splits.notices:
        run.warn(notice)
    form = recognise(params, splits)
    run.stage("checking the rows")
    splits, report = judge.check(splits, form, on_bad_rows=params.on_bad_rows)
    run.warn("\n".join(report.lines()))
    splits, form = _rows.shaped(params, run, splits, form)
    tokenizer = load.tokenizer(params, tell=run.warn)
    run.stage("tokenising")
    tokens = prepare(params, run, splits, form, tokenizer, longest(params))
    run.prepared()
    return tokens, tokenizer


def check(
    params: Any,
    cache: Path,
    recognise: Callable[..., judge.Form] = text_or_chat,
    reading: Callable[..., read.Splits] = read.read,
    prepare: Prepare | None = None,
) -> list[str]:
    """The data, read and judged; what a run would stop at is told with everything else.

    Args:
        prepare: of the method; rows can then be shown in tokens, with what is trained of them.
    """
    splits = reading(params, cache)
    form = recognise(params, splits)
    kept, report = judge.check(splits, form, on_bad_rows="skip")
    lines = [f"Data: {splits.origin}", *splits.notices, *report.lines()]
    rendered = partial(_rendered.rendered, params, form, prepare, cache) if prepare else None
    return judge.Findings(lines, report=report, splits=kept, rendered=rendered)


def longest(params: Any) -> int:
    """Tokens of the longest row: no more than any limit that was given, or than the model has places for."""
    place = load.resolve(params.model)
    config = load.open_config(place, token=params.token, trust_remote_code=params.trust_remote_code)
    asked = params.max_seq_length or params.block_size
    places = getattr(config.get_text_config(), "max_position_embeddings", None) or asked
    return int(min(asked, params.model_max_length, places))


def fit(params: Any, run: ActiveRun, tokens: Tokens, tokenizer: Any) -> dict[str, float]:
    """Train on tokens, save the model and see that it opens."""
    from transformers import set_seed

    run.stage("loading the model")
    set_seed(params.seed)  # what the data took must not change how an adapter begins
    model = load.causal_model(params, tell=run.warn)
    run.stage("preparing")
    take = partial(_take, model, tokenizer, tokens.prompts, params, run) if tokens.prompts else None
    if params.backend == "native":
        values = _by_native(params, run, model, tokenizer, tokens, take)
    else:
        trainer, facts = _trainer(params, run, model, tokenizer, tokens)
        values = _loop.train(trainer, params, run, _loop.Told(facts, take))
    if tokens.teacher is not None:
        tokens.teacher.tell(run)
    run.stage("saving the model")
    _flat.disable(model)
    load.save(model, tokenizer, run.folder.model, params)
    if not run.stopped:
        run.stage("opening the saved model")
        load.verify(run.folder.model, trust_remote_code=params.trust_remote_code)
    return values


def _trainer(params: Any, run: ActiveRun, model: Any, tokenizer: Any, tokens: Tokens) -> tuple[Any, dict[str, Any]]:
    """The Trainer, and what is known at the start."""
    tokens, (precision, arguments, facts) = settled(params, run, model, tokens)
    way = _ways.choose(params, run, model, tokenizer, precision)
    if params.auto_find_batch_size:
        fitted, facts = _fitting.fitted(params, run, model, tokens.train, way.collate, precision, facts)
        sizes = (fitted.batch_size, fitted.gradient_accumulation)
        arguments |= dict(zip(("per_device_train_batch_size", "gradient_accumulation_steps"), sizes, strict=True))
    make = _ways.trl_trainer if params.backend == "trl" else partial(_ways.plain_trainer, loss=_custom.loss(params))
    data = {"train_dataset": tokens.train, "eval_dataset": tokens.valid}
    trainer = make(model, tokenizer, data, way, arguments)
    measure = partial(_measure.by_trainer, trainer)
    if tokens.teacher is not None:
        measure = _coach.attach(trainer, params, tokens.teacher, precision)
    trainer.evaluation_loop = partial(_measure.evaluation_loop, trainer, params, run, measure)
    return trainer, facts | {"path": way.told}


def _by_native(params: Any, run: ActiveRun, model: Any, tokenizer: Any, tokens: Tokens, take: Any) -> dict[str, float]:
    """Train by the loop of our own."""
    _, (precision, _, facts) = settled(params, run, model, tokens)
    way = _ways.choose(params, run, model, tokenizer, precision)
    if params.auto_find_batch_size:
        params, facts = _fitting.fitted(params, run, model, tokens.train, way.collate, precision, facts)
    job = _native.Job(
        model,
        tokens.train,
        way.collate,
        valid=tokens.valid,
        describe=None if params.peft else partial(_described, model, tokenizer),
    )
    told = _loop.Told(facts | {"path": way.told}, take)
    return _native.train(params, run, job, told, device=load.device(), precision=precision)


def _described(model: Any, tokenizer: Any, path: Path) -> None:
    model.config.save_pretrained(path)
    tokenizer.save_pretrained(path)


def settled(
    params: Any, run: ActiveRun, model: Any, tokens: Tokens
) -> tuple[Tokens, tuple[load.Precision, dict[str, Any], dict[str, Any]]]:
    """The rows as a Trainer takes them; the precision, its arguments, and what is known at the start."""
    import torch

    counts, device = load.parameter_counts(model), load.device()
    if device.note:
        run.warn(device.note)
    precision = load.precision(params, device, size=counts["parameters"])
    held_out = tokens.valid is not None
    rows, count = _feed.drawn(tokens.train, params, run)
    arguments = _loop.arguments(params, run, rows=count, device=device, precision=precision, evaluate=held_out)
    facts = {
        "model": params.model,
        **counts,
        "device": device.kind,
        "dtype": "bf16" if precision.bf16 else "fp16" if precision.fp16 else "fp32",
        "threads": torch.get_num_threads(),
        **_loop.together(params),
        **({} if count is None else {"rows": count}),
        "valid_rows": len(tokens.valid) if held_out else 0,
    }
    return replace(tokens, train=rows), (precision, arguments, facts)


def _take(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], params: Any, run: ActiveRun, step: int
) -> tuple[dict[str, str], ...]:
    """What the model writes after each prompt, beside what the data says."""
    with _flat.padded_attention(model):
        written = generate(model, tokenizer, prompts, Manner.of(params), stopped=run.stop_asked)
    return tuple(
        {"prompt": prompt.text, "output": output, **({"expected": prompt.expected} if prompt.expected else {})}
        for prompt, output in zip(prompts, written, strict=True)
    )


def own_prompts(params: Any, tokenizer: Any, prompt: Callable[[Any, Any, Any], Prompt]) -> list[Prompt]:
    """The prompts of --sample-prompts, none where none were given."""
    asked = params.sample_prompts or []
    return [prompt(params, tokenizer, text) for text in ([asked] if isinstance(asked, str) else asked)]


def predict(
    params: Any, model: Any, tokenizer: Any, rows: Sequence[Any], *, prompt: Callable[..., Prompt], **settings: Any
) -> list[str]:
    """What the model writes after each row; `prompt(params, tokenizer, row)` makes the tokens of one."""
    names = {
        "max_new_tokens": "longest", "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "seed": "seed",
    }  # fmt: skip
    unknown = set(settings) - set(names)
    if unknown:
        raise ParamError(f"predict has no setting {', '.join(sorted(unknown))}", fix=f"it has {', '.join(names)}")
    own = Manner.of(params)
    given = {names[name]: value for name, value in settings.items()}
    manner = Manner(**({name: getattr(own, name) for name in names.values()} | given))
    return generate(model, tokenizer, [prompt(params, tokenizer, row) for row in rows], manner) if rows else []


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its tokenizer."""
    trusted = params.trust_remote_code
    model = load.saved_model(path, trust_remote_code=trusted).to(load.device().kind)
    return model, load.saved_tokenizer(path, trust_remote_code=trusted)


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to let it write."""
    adapter = (path / "adapter_config.json").is_file()
    kind = "AutoPeftModelForCausalLM" if adapter else "AutoModelForCausalLM"
    apart, together = (f"from peft import {kind}\n", "") if adapter else ("", f"{kind}, ")
    chat_template = (path / "chat_template.jinja").is_file()
    messages = '[{"role": "user", "content": "Hello"}]'
    asked = f"tokenizer.apply_chat_template({messages}, add_generation_prompt=True, tokenize=False)"
    code = f"""\
{apart}from transformers import {together}AutoTokenizer

model = {kind}.from_pretrained("model")  # this folder's
tokenizer = AutoTokenizer.from_pretrained("model")
prompt = {asked if chat_template else '"Hello"'}
tokens = tokenizer(prompt, return_tensors="pt", add_special_tokens={not chat_template})
print(tokenizer.decode(model.generate(**tokens, max_new_tokens=50)[0], skip_special_tokens=True))"""
    return "peft" if adapter else "transformers", code
