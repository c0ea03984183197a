"""Text regression: a number for each text, or several; also for pairs of texts (how similar, how hard).

Data: text (str), a second text where there are pairs, target (a number; several columns, or a list, for several)
Result: a model whose outputs are the numbers
Extra: nbtrain[text]
Source: Devlin et al. 2019, arXiv:1810.04805, section 4.1 (STS-B)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from nbtrain.data import labelled, read
from nbtrain.data.labelled import Form
from nbtrain.data.stream import Stream
from nbtrain.errors import ParamError
from nbtrain.evaluate.examples import Examples
from nbtrain.evaluate.numbers import measure
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Shown
from nbtrain.params.streaming import Streaming
from nbtrain.params.usual import Headed, names_of
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder, _examples, _numbers, _texts
from nbtrain.trainers._texts import AUTO, opened

LISTED = 20  # rows that the model is most mistaken about, in the report

__all__ = ["Params", "TextRegressionParams", "check", "evaluate", "opened", "predict", "train", "usage"]


class TextRegressionParams(
    _texts.Columns, Headed, Basic, Data, Streaming, Model, Optim, Precision, Peft, Checkpoints, Evaluation, Shown, Base
):
    """Parameters of `text-regression`."""

    target_column: Annotated[str | list[str], BeforeValidator(names_of)] = option(
        ["target"], "column of the number; several with commas, or as JSON", group="Data"
    )
    scale_targets: bool = option(
        True, "train on numbers of mean 0 and spread 1; the saved model answers in their own unit", group="Training"
    )
    metric: Literal["mae", "mse", "rmse", "r2", "pearson", "spearman", "loss"] = option(
        "rmse", "by which evaluations are compared", group="Evaluation"
    )


Params = TextRegressionParams
PIPELINE = "text-classification"
says = _examples.saying("numbers")


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, or the best one's, and the totals."""
    _encoder.begin(params)
    run.stage("reading the data")
    splits = read.read(params, run.folder.data)
    form = _form(params, splits.train)
    splits = _encoder.judged(params, run, splits, form)
    tokenizer, config = _texts.processor(params, run)
    run.stage("tokenising")
    longest = _encoder.longest(params, config, tokenizer)
    tokens = _texts.tokenised(splits, form, tokenizer, longest=longest, target=form.values, cache=run.folder.data)
    _texts.tell_cut(tokens["train"], longest, run)
    values = {name: _values(rows, form, tokens[name]) for name, rows, _ in splits.items()}
    numbers = _numbers.Numbers.of(values["train"], form.names, scale=params.scale_targets)
    numbers.describe(config)
    run.warn("\n".join(_numbers.spread(values, form.names)))
    held = tokens.get("valid")
    shown = splits.valid if splits.valid is not None else splits.train
    expected = numbers.expected((held if held is not None else tokens["train"])["labels"][:])
    show = partial(_show, numbers, form, shown, expected)

    def conclude(model: Any, found: Sequence[Any]) -> None:
        run.report |= numbers.report(expected, found, run.folder.figures) | {"worst": show(LISTED, found)}

    job = _encoder.Job(
        auto=AUTO,
        config=config,
        train=tokens["train"],
        valid=held,
        collate=_texts.collate(tokenizer, numbers.targets),
        measure=partial(numbers.measure, expected),
        show=partial(show, _numbers.SHOWN),
        metric=params.metric,
        task="SEQ_CLS",
        tiny=_texts.TINY_TEXT,
        processor=tokenizer,
        conclude=conclude,
        finish=numbers.fold,
    )
    return _encoder.fit(params, run, job)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and judged, and what the numbers are by split."""
    splits = read.read(params, cache)
    form = _form(params, splits.train)
    return _encoder.check(params, splits, form, more=_spread, rendered=partial(_texts.rendered, params, form))


def _form(params: Any, rows: Any) -> Form:
    """How the rows are read."""
    targets = params.target_column if "target_column" in params.given() else []
    columns, texts = labelled.find(rows, params.column_mapping, _texts.named(params), targets, classes=False)
    form = Form(columns, numbers=texts)
    return replace(form, names=labelled.named(rows, form.targets))


def _values(rows: Any, form: Form, tokens: Any) -> Any:
    """(rows, targets) floats."""
    import numpy

    if not isinstance(rows, Stream):
        return tokens["labels"][:]
    columns = rows.select_columns(list(form.targets))
    found = numpy.fromiter((value for row in columns for value in form.values(row)), dtype=float)
    return found.reshape(-1, len(form.names))


def _spread(splits: read.Splits, form: Form) -> list[str]:
    columns = list(form.targets)
    values = {name: [form.values(row) for row in rows.select_columns(columns)] for name, rows, _ in splits.items()}
    return _numbers.spread(values, form.names)


def _show(
    numbers: _numbers.Numbers, form: Form, rows: Any, expected: Any, count: int, found: Sequence[Any]
) -> tuple[Mapping[str, Any], ...]:
    """The rows that the model is most mistaken about."""
    worst = numbers.worst(expected, found, count)
    return tuple({"prompt": form.shown(rows[at]), **said} for at, said in worst)


def predict(
    params: Any, model: Any, tokenizer: Any, rows: Sequence[Any], **settings: Any
) -> list[float | dict[str, float]]:
    """The number of each row, or by name those of several targets.

    Args:
        rows: a text; a pair of texts; or a mapping with text, and pair.
        settings: there are none.
    """
    if settings:
        raise ParamError(f"predict of {params.room} has no settings; found {', '.join(sorted(settings))}")
    return _numbers.answers(model.config, _texts.logits(params, model, tokenizer, rows))


def evaluate(params: Any, path: str, data: Any = None) -> dict[str, float]:
    """The saved model measured, in the unit of its targets: on the rows that the run held out, or on others."""
    import numpy

    model, tokenizer = opened(params, path)
    with _texts.to_measure(params, data, partial(_form, params)) as (rows, form):
        expected = numpy.array([form.values(row) for row in rows])
        logits = _texts.logits(params, model, tokenizer, [form.texts(row) for row in rows])
    return measure(expected, _numbers.in_own_unit(model.config, logits))


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    rows, form = _examples.judged(params, data, cache, lambda splits: _form(params, splits.train))
    return Examples(
        "numbers",
        [form.texts(row) for row in rows],
        [list(form.values(row)) for row in rows],
        lambda model, tokenizer, texts: _examples.numbered(predict(params, model, tokenizer, texts)),
        tuple(form.names),
    )


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to ask for the numbers of a text."""
    return _texts.usage(path, _numbers.spoken(path))
