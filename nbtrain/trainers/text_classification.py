"""Text classification: one class for each text, or any number of labels; also for pairs of texts.

Data: text (str), a second text where there are pairs, target (a class as a number or a name, or a list of labels)
Result: a model that gives each class a score
Extra: nbtrain[text]
Source: Devlin et al. 2019, arXiv:1810.04805; King and Zeng 2001 (class weights); Fan and Lin 2007 (thresholds by label)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from nbtrain.data import labelled, labels, read
from nbtrain.data.labelled import Form
from nbtrain.errors import DataError, ParamError
from nbtrain.evaluate.examples import Examples
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Shown
from nbtrain.params.streaming import Streaming
from nbtrain.params.usual import Headed
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _classes, _encoder, _examples, _texts
from nbtrain.trainers._texts import AUTO, opened

LISTED = 20  # rows that the model is most mistaken about, in the report

__all__ = ["Params", "TextClassificationParams", "check", "evaluate", "opened", "predict", "train", "usage"]


class TextClassificationParams(
    _texts.Columns,
    _classes.Classed,
    Headed,
    Basic,
    Data,
    Streaming,
    Model,
    Optim,
    Precision,
    Peft,
    Checkpoints,
    Evaluation,
    Shown,
    Base,
):
    """Parameters of `text-classification`."""

    metric: (
        Literal["accuracy", "f1_macro", "f1_micro", "f1_weighted", "precision", "recall", "mcc", "auc", "loss"] | None
    ) = option(
        None, "by which evaluations are compared; none: f1_macro, with several labels f1_micro", group="Evaluation"
    )


Params = TextClassificationParams
PIPELINE = "text-classification"
says = _examples.saying("classes")


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, or the best one's, and the totals."""
    _encoder.begin(params)
    run.stage("reading the data")
    splits = read.read(params, run.folder.data, by=partial(_classes_of, params))
    form = _form_of(params, splits)
    splits = _encoder.judged(params, run, splits, form)
    run.warn("\n".join(_balance(splits, form)))
    classes = _classes.Classes(form.labels, params.threshold)
    if params.threshold is not None and not classes.several:
        run.warn("threshold only applies to rows with several labels, will be ignored")
    tokenizer, config = _texts.processor(params, run)
    classes.describe(config)
    run.stage("tokenising")
    longest = _encoder.longest(params, config, tokenizer)
    mark = partial(_mark, classes, form)
    tokens = _texts.tokenised(splits, form, tokenizer, longest=longest, target=mark, cache=run.folder.data)
    _texts.tell_cut(tokens["train"], longest, run)
    held = tokens.get("valid")
    shown = splits.valid if splits.valid is not None else splits.train
    expected = classes.expected((held if held is not None else tokens["train"])["labels"][:])
    show = partial(_show, classes, form, shown, expected)

    def conclude(model: Any, found: Sequence[Any]) -> None:
        classes.decide(expected, found, model.config)
        run.report |= classes.report(expected, found, run.folder.figures) | {"worst": show(LISTED, found)}

    counts = Counter(at for row in splits.train for at in form.classes(row))
    job = _encoder.Job(
        auto=AUTO,
        config=config,
        train=tokens["train"],
        valid=held,
        collate=_texts.collate(tokenizer, classes.targets),
        measure=partial(classes.measure, expected),
        show=partial(show, _classes.SHOWN),
        metric=params.metric or ("f1_micro" if classes.several else "f1_macro"),
        task="SEQ_CLS",
        tiny=_texts.TINY_TEXT,
        processor=tokenizer,
        loss=classes.loss(params.class_weights, counts, len(splits.train)),
        ready=partial(classes.begin, {} if params.class_weights else counts, len(splits.train)),
        conclude=conclude,
    )
    return _encoder.fit(params, run, job)


def _mark(classes: _classes.Classes, form: Form, row: Mapping[str, Any]) -> Any:
    """The classes of a row as they are trained."""
    return classes.mark(form.classes(row))


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and judged, and the classes by split."""
    splits = read.read(params, cache, by=partial(_classes_of, params))
    form = _form_of(params, splits)
    return _encoder.check(params, splits, form, more=_balance, rendered=partial(_texts.rendered, params, form))


def _form_of(params: Any, splits: read.Splits) -> Form:
    # what is held out of a stream is not chosen by class: the only row of one may be there
    return _form(params, splits.train, splits.valid if params.stream else None)


def _form(params: Any, rows: Any, held_out: Any = None) -> Form:
    """How the rows are read, with their classes."""
    targets = [params.target_column] if "target_column" in params.given() else []
    columns, numbers = labelled.find(rows, params.column_mapping, _texts.named(params), targets, classes=True)
    found = labels.find(rows, columns["target"], several=params.multi_label, order=params.labels, held_out=held_out)
    return Form(columns, found, numbers)


def _classes_of(params: Any, rows: Any) -> list[str]:
    """By row, what it is held out by: its class, the rarest of its labels, "" where it has none."""
    form = _form(params, rows)
    found = [_tried(form, cell) for cell in rows[form.columns["target"]]]
    counts = Counter(at for row in found for at in row)
    return [str(min(row, key=lambda at: counts[at])) if row else "" for row in found]


def _tried(form: Form, cell: Any) -> tuple[int, ...]:
    column = form.columns["target"]
    try:
        return form.classes({column: cell})
    except DataError:  # told with its row when the rows are judged
        return ()


def _balance(splits: read.Splits, form: Form) -> list[str]:
    """The classes by split, and what is too rare to be learnt or measured."""
    column = form.columns["target"]
    counts = {
        name: Counter(at for cell in rows[column] for at in _tried(form, cell)) for name, rows, _ in splits.items()
    }
    lines = ["Classes:", *labels.balance(counts, form.labels, {name: len(rows) for name, rows, _ in splits.items()})]
    for words, limit in (("no row", 0), ("one row", 1)):
        rare = [name for at, name in enumerate(form.labels.names) if counts["train"][at] == limit]
        if rare:
            shown = ", ".join(rare[:10]) + ", ..." * (len(rare) > 10)
            lines.append(f"With {words} to train on: {shown}. They cannot be learnt well; more rows, or no such class.")
    return lines


def _show(
    classes: _classes.Classes, form: Form, rows: Any, expected: Any, count: int, found: Sequence[Any]
) -> tuple[Mapping[str, Any], ...]:
    """The rows that the model is most mistaken about."""
    worst = classes.worst(expected, found, count)
    return tuple({"prompt": form.shown(rows[at]), **said} for at, said in worst)


def predict(params: Any, model: Any, tokenizer: Any, rows: Sequence[Any], **settings: Any) -> list[dict[str, Any]]:
    """The class of each row, or its labels, with the scores of all.

    Args:
        rows: a text; a pair of texts; or a mapping with text, and pair.
        settings: threshold (several labels; in place of those that were tuned).

    Returns:
        {"label", "score", "scores"}; with several labels {"labels", "scores"}.
    """
    if unknown := settings.keys() - {"threshold"}:
        raise ParamError(f"predict has no setting {', '.join(sorted(unknown))}", fix="it has threshold")
    return _classes.answers(model.config, _texts.logits(params, model, tokenizer, rows), settings.get("threshold"))


def evaluate(params: Any, path: str, data: Any = None) -> dict[str, float]:
    """The saved model measured, with its own thresholds: on the rows that the run held out, or on others."""
    model, tokenizer = opened(params, path)
    names = [model.config.id2label[at] for at in range(model.config.num_labels)]
    known = params.but(labels=names, multi_label=model.config.problem_type.startswith("multi"))
    by = partial(_classes_of, params) if data is None else None
    with _texts.to_measure(params, data, partial(_form, known), by) as (rows, form):
        classes = _classes.Classes(form.labels)
        expected = classes.expected([_mark(classes, form, row) for row in rows])
        logits = _texts.logits(params, model, tokenizer, [form.texts(row) for row in rows])
    return _classes.measured(model.config, logits, expected)


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    by = partial(_classes_of, params) if data is None else None
    rows, form = _examples.judged(params, data, cache, lambda splits: _form(params, splits.train), by)
    names = form.labels.names
    return Examples(
        "classes",
        [form.texts(row) for row in rows],
        [[names[at] for at in form.classes(row)] for row in rows],
        lambda model, tokenizer, texts: _examples.labelled(predict(params, model, tokenizer, texts)),
        tuple(names),
    )


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to classify a text."""
    return _texts.usage(path, _classes.spoken(path))
