"""Text to text: translation, summarisation, simplification, questions, code.

Data: source text and target text; several right texts a row; texts by language
Result: a model with an encoder and a decoder (T5, BART, mT5, Pegasus, Marian, M2M ...)
Extra: nbtrain[text]
Source: Raffel et al. 2020, arXiv:1910.10683 (T5); Lewis et al. 2020, arXiv:1910.13461 (BART)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from nbtrain.data import read, targets
from nbtrain.data.forms import text
from nbtrain.errors import DataError, ModelError, ParamError
from nbtrain.evaluate.examples import Examples
from nbtrain.models import load
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Shown
from nbtrain.params.streaming import Streaming
from nbtrain.params.usual import Headed, again
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder, _examples, _lengths
from nbtrain.trainers.seq2seq import _tokens, _writing

AUTO = "AutoModelForSeq2SeqLM"
TINY = load.TINY.parent / "seq2seq"
RECOMMENDED = "google/flan-t5-base"
OVERFLOWING = ("t5", "mt5", "umt5", "longt5")  # they were pretrained in bf16
SHOWN = 3  # held-out rows that are written again and again


class Seq2SeqParams(
    Headed, Basic, Data, Streaming, Model, Optim, Precision, Peft, Checkpoints, Evaluation, Shown, Base
):
    """Parameters of `seq2seq`."""

    text_column: str = option("text", "column of the text that is read", group="Data")
    target_column: str = option("target", "column of the text that is to be written", group="Data")
    source_prefix: str = option(
        "", "words put before each text, as T5 expects them: 'summarize: '", group="Data", aliases=("prefix",)
    )
    source_language: str | None = option(
        None, "code of the language that is read, for models of many languages: eng_Latn", group="Data"
    )
    target_language: str | None = option(
        None, "code of the language that is written, for models of many languages: fra_Latn", group="Data"
    )
    max_seq_length: int = option(
        128, "longest text that is read; what is longer loses its end", group="Model", unit="tokens", ge=8
    )
    max_target_length: int = option(
        128, "longest text that is written; what is longer loses its end", group="Model", unit="tokens", ge=2
    )
    batch_size: int = again(Optim, "batch_size", 2)
    generate_rows: int = option(
        64,
        "held-out rows that are written out at each evaluation, for ROUGE, BLEU and chrF; 0: none",
        group="Evaluation",
        unit="rows",
        ge=0,
    )
    num_beams: int | None = option(
        None, "texts tried side by side; none: as the model's settings say", group="Generation", unit="beams", ge=1
    )
    length_penalty: float | None = option(
        None, "with beams: above 0 for longer texts, below for shorter ones", group="Generation", unit="power"
    )
    no_repeat_ngram_size: int | None = option(
        None, "no run of so many tokens is written twice; 0: as it comes", group="Generation", unit="tokens", ge=0
    )

    @model_validator(mode="after")
    def _lengths_are_weighed_between_beams(self) -> Self:
        if self.length_penalty is not None and (self.num_beams or 1) == 1:
            raise ValueError("--length-penalty weighs several beams against each other. Add --num-beams 4")
        return self


Params = Seq2SeqParams
says = _examples.saying("texts")


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, or the best one's, and the totals."""
    _encoder.begin(params)
    run.stage("reading the data")
    splits = read.read(params, run.folder.data)
    form = _form(params, splits)
    splits = _encoder.judged(params, run, splits, form)
    place = _encoder.place(params, TINY, run, better=RECOMMENDED)
    tokenizer, config = _tokens.tokenizer(params, place), _config(params, place)
    params = _in_range(params, config, run)
    run.stage("tokenising")
    longest = _tokens.limits(params, config)
    how = {"prefix": params.source_prefix, "longest": longest, "warn": run.warn}
    rows, held = (part and _tokens.tokenised(part, form, tokenizer, **how) for part in (splits.train, splits.valid))
    pairs = [form.read(row) for row in _first(splits.valid or splits.train, max(params.generate_rows, SHOWN))]
    writer = _writing.Writer(
        params=params,
        run=run,
        tokenizer=tokenizer,
        longest=longest[1],
        sources=held or rows,
        texts=[pair.source for pair in pairs],
        references=[pair.references for pair in pairs],
        rows=params.generate_rows,
        shown=SHOWN,
    )
    job = _encoder.Job(
        auto=AUTO,
        config=config,
        train=rows,
        valid=held,
        collate=_collator(tokenizer),
        measure=writer.measure,
        show=writer.show,
        task="SEQ_2_SEQ_LM",
        tiny=TINY,
        processor=tokenizer,
        rows=_writing.likelihoods,
        ready=writer.ready,
        conclude=writer.conclude,
        new_head=False,
    )
    return _encoder.fit(params, run, job)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and judged; what a run would stop at is told with everything else."""
    splits = read.read(params, cache)
    form = _form(params, splits)
    shown = partial(_lengths.rendered, params, form, _lengths.of_roles("source", "target"), _limits, TINY)
    return _encoder.check(params, splits, form, rendered=shown)


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its tokenizer."""
    model = load.saved_headed(AUTO, path, trust_remote_code=params.trust_remote_code).to(load.device().kind)
    tokenizer = load.saved_tokenizer(path, trust_remote_code=params.trust_remote_code)
    # beside an adapter there are no settings of generation: its base has its own
    _writing.settle(model, params, tokenizer, _tokens.limits(params, model.config)[1])
    return model, tokenizer


def predict(params: Any, model: Any, tokenizer: Any, rows: Sequence[Any], **settings: Any) -> list[str]:
    """What the model writes for each row.

    Args:
        rows: texts, or mappings with the column that was read in training; --source-prefix is put before each.
        settings: max_new_tokens, num_beams, length_penalty, no_repeat_ngram_size; where not given, as the run's were.
    """
    known = ("max_new_tokens", *_writing.SETTINGS)
    if unknown := sorted(set(settings) - set(known)):
        raise ParamError(f"predict has no setting {', '.join(unknown)}", fix=f"it has {', '.join(known)}")
    sources = [params.source_prefix + _source(params, row) for row in rows]
    if not sources:
        return []
    ids, _ = _tokens.encoded(tokenizer, _tokens.limits(params, model.config)[0], text=sources)
    return _writing.write(model, tokenizer, ids, rows=params.eval_batch_size, **settings)


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    rows, form = _examples.judged(params, data, cache, partial(_form, params))
    pairs = [form.read(row) for row in rows]
    return Examples(
        "texts", [pair.source for pair in pairs], [list(pair.references) for pair in pairs], partial(predict, params)
    )


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to let it write."""
    adapter = (path / "adapter_config.json").is_file()
    length = f", max_new_tokens={params.max_target_length}" if adapter else ""
    code = f"""\
from transformers import {AUTO}, AutoTokenizer

model = {AUTO}.from_pretrained("model")  # this folder's
tokenizer = AutoTokenizer.from_pretrained("model")
tokens = tokenizer({params.source_prefix + "A text to read."!r}, return_tensors="pt")
written = model.generate(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask{length})
print(tokenizer.decode(written[0], skip_special_tokens=True))"""
    return "peft" if adapter else "transformers", code


def _limits(params: Any, config: Any, tokenizer: Any) -> _lengths.Limits:
    source, target = _tokens.limits(params, config)
    return {
        "source": (source, "lose their end (--max-seq-length) at"),
        "target": (target, "lose their end (--max-target-length) at"),
    }


def _form(params: Any, splits: read.Splits) -> targets.Form:
    flags = (("source", "text_column", params.text_column), ("target", "target_column", params.target_column))
    named = {role: column for role, flag, column in flags if flag in params.given()}
    return targets.recognise(splits.train, params.column_mapping, named)


def _first(rows: Any, count: int) -> Any:
    return rows.select(range(min(count, len(rows))))


def _config(params: Any, place: str) -> Any:
    """The model's config.

    Raises:
        ModelError: it is no model that reads one text and writes another.
    """
    config = load.open_config(place, token=params.token, trust_remote_code=params.trust_remote_code)
    if not config.is_encoder_decoder:
        made = (config.architectures or [config.model_type])[0]
        raise ModelError(
            f"{params.model} has no encoder and decoder: it is a {made}.",
            why="this room trains models that read one text and write another (T5, BART, Marian ...).",
            fix=f"choose another --model, such as {RECOMMENDED}, or the room llm for a model that goes on writing.",
        )
    return config


def _in_range(params: Any, config: Any, run: ActiveRun) -> Any:
    """The parameters; a T5 on a GPU without bf16 computes in fp32, unless fp16 was asked for by name.

    Its activations are larger than fp16 can hold: the loss would be no number.
    """
    if params.mixed_precision is not None or config.model_type not in OVERFLOWING:
        return params
    if not load.precision(params, load.device()).fp16:
        return params
    run.warn(f"A {config.model_type} overflows in fp16, and this GPU has no bf16: it is trained in fp32.")
    return params.but(mixed_precision="fp32")


def _collator(tokenizer: Any) -> Any:
    """Rows to a batch, padded to its longest source and target; "tokens" are those that are no padding."""
    from transformers import DataCollatorForSeq2Seq

    pad = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=_writing.IGNORED)

    def collate(examples: list[Mapping[str, Any]]) -> dict[str, Any]:
        batch = dict(pad([{name: example[name] for name in ("input_ids", "labels")} for example in examples]))
        return {**batch, "tokens": sum(len(example["input_ids"]) + len(example["labels"]) for example in examples)}

    return collate


def _source(params: Any, row: Any) -> str:
    """The text of a row: itself, or what its column holds."""
    if isinstance(row, str):
        return row
    names = (params.text_column, (params.column_mapping or {}).get("source"), *targets.ROLES["source"])
    name = next((name for name in names if isinstance(row, Mapping) and name in row), None)
    if name is None:
        raise DataError(f"no text to read in {str(row)[:80]!r}", fix="Give texts, or rows with a column source.")
    return text(row[name], name)
