"""Embeddings: texts as vectors, near where they belong together; for search, duplicates, clusters.

Data: two texts that belong together (pair, qa), with a class (pair_class) or a score (pair_score), or three (triplet)
Result: a model that sentence-transformers loads
Extra: nbtrain[embeddings]
Source: Reimers and Gurevych 2019, arXiv:1908.10084; Henderson et al. 2017, arXiv:1705.00652, section 4.4 (other rows
as negatives); Gao et al. 2021, arXiv:2101.06983 (large batches in parts)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from nbtrain.data import read
from nbtrain.data.labelled import Texts
from nbtrain.errors import DataError, ParamError
from nbtrain.evaluate.examples import Examples
from nbtrain.models import load
from nbtrain.models.adapters import with_adapter
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Shown
from nbtrain.params.streaming import not_streamed
from nbtrain.params.usual import Headed, again, alone
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder, _examples, _loop, _texts
from nbtrain.trainers._samples import undisturbed
from nbtrain.trainers.sentence_transformers import _compared, _learning, _measure, _rows

BETTER = "sentence-transformers/all-MiniLM-L6-v2"
COMPARED = 4  # texts that the saved model is asked, too
_COUNTED = 1_000  # rows whose tokens are counted at once

__all__ = [
    "Params", "SentenceTransformersParams", "check", "evaluate", "examples", "opened", "predict", "says", "train",
    "usage",
]  # fmt: skip


Alone = alone(
    "its losses compare the rows of a batch, or have a head that each process would train for itself. A larger "
    "--batch-size with --loss cached_multiple_negatives works"
)


class SentenceTransformersParams(
    Alone, Headed, Basic, Data, Model, Optim, Precision, Peft, Checkpoints, Evaluation, Shown, Base
):
    """Parameters of `sentence-transformers`."""

    trainer: Literal["pair", "pair_class", "pair_score", "triplet", "qa"] = option(
        "pair_score",
        "pair: texts that belong together; qa: questions and answers; pair_class, pair_score: pairs with a class or a "
        "score; triplet: a text, one near it, one far from it",
        group="Basic",
        essential=True,
    )
    sentence1_column: str = option("sentence1", "column of the first text, or the question", group="Data")
    sentence2_column: str = option("sentence2", "column of the second text, or the answer", group="Data")
    stream: bool = not_streamed(
        "a batch must hold no text twice, so the rows of one are chosen among all of them. Rows are mapped from the "
        "disk, so data may be larger than the memory."
    )
    sentence3_column: str | None = option(
        None,
        "column of the text that is far from the first; none: found by its name",
        group="Data",
        only=_rows.TRIPLETS,
    )
    target_column: str | None = option(
        None, "column of the class or the score; none: found by its name", group="Data", only=_rows.SCORED
    )
    loss: _learning.Loss | None = option(
        None, "what is minimised; none: as suits the trainer, the classes and the batch", group="Training"
    )
    mini_batch_size: int = option(
        32,
        "rows embedded at once with the loss cached_multiple_negatives, which large batches take",
        group="Training",
        unit="rows",
        ge=1,
        only=("pair", "qa", "triplet"),
    )
    max_seq_length: int = option(
        128, "longest text; what is longer loses its end", group="Model", unit="tokens", ge=4, essential=True
    )
    lr: float = again(Optim, "lr", 3e-5)
    metric: str | None = option(
        None,
        "by which evaluations are compared: spearman, average_precision, accuracy, ndcg@10, mrr@10, loss ...; none: "
        "as suits the trainer",
        group="Evaluation",
    )

    @model_validator(mode="after")
    def _loss_suits_the_rows(self) -> Self:
        known = _learning.BY_METHOD[self.trainer]
        if self.loss is not None and self.loss not in known:
            raise ValueError(f"--loss {self.loss} is none of {self.trainer}, which has {', '.join(known)}")
        if self.batch_size == 1 and self.trainer in ("pair", "qa"):
            raise ValueError("--batch-size 1 leaves no other row to be told apart from. Take 2 or more")
        return self


Params = SentenceTransformersParams
PIPELINE = "sentence-similarity"


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, or the best one's, and the totals."""
    from transformers import set_seed

    _encoder.begin(params)
    run.stage("reading the data")
    splits = read.read(params, run.folder.data, by=_rows.classes(params))
    form = _rows.recognise(splits.train, params)
    splits = _encoder.judged(params, run, splits, form)
    name = _learning.loss_name(params, form)
    rows = {split: _rows.tidy(each, form) for split, each, _ in splits.items()}
    if form.method == "pair_score":
        rows = _scored(rows, form, run, as_cosines=name == "cosine")
    apart = name in _learning.IN_BATCH
    if apart and (taken := _rows.taken(rows["train"], params.batch_size)) < len(rows["train"]):
        run.warn(
            f"Some texts stand in many rows, and none may stand twice in a batch: an epoch takes in {taken:,} of "
            f"{len(rows['train']):,} rows at most. A smaller --batch-size takes in more."
        )
    shown = rows.get("valid") or rows["train"]
    exam = _measure.Exam(form, shown, params.eval_batch_size, _measure.kind(form, name))
    metric = exam.metric(params.metric)
    place = _encoder.place(params, _texts.TINY_TEXT, run, better=BETTER)
    run.stage("loading the model")
    set_seed(params.seed)  # what the data took must not change how a head begins
    model = _learning.opened(params, place)
    adapted = with_adapter(model.transformers_model, params, task="FEATURE_EXTRACTION") if params.peft else None
    loss = _learning.loss_of(params, model, name, form)
    run.stage("preparing")
    _texts.tell_cut({"cut": _cut(model, rows["train"], form)}, model.max_seq_length, run)
    trainer, facts = _learning.trainer_of(params, run, model, loss, rows, apart=apart)
    watch = _measure.Watch(trainer, run, exam)
    trainer.evaluation_loop = watch.evaluate
    values = _loop.train(trainer, params, run, _loop.Told({**facts, "loss": name}, watch.take, metric=metric))
    if "valid" in rows and not run.stopped:
        run.stage("measuring the trained model")
        run.report |= watch.conclude(run.folder.figures)
    texts = shown["sentence1"][:COMPARED]
    with undisturbed(model):
        expected = model.encode(texts, show_progress_bar=False)
    run.stage("saving the model")
    _learning.save(params, model, adapted, run.folder.model, place)
    if not run.stopped:
        run.stage("opening the saved model")
        _learning.verify(params, run.folder.model, texts, expected)
    return values


def _scored(rows: dict[str, Any], form: _rows.Form, run: ActiveRun, *, as_cosines: bool) -> dict[str, Any]:
    """The rows; `as_cosines` brings scores beyond -1 and 1 between 0 and 1.

    Raises:
        DataError: all scores are the same.
    """
    low, high = min(rows["train"]["label"]), max(rows["train"]["label"])
    if low == high:
        what = f"Column {form.columns['target']} has only the score {low:g}: there is nothing to tell apart."
        raise DataError(what, fix="Name another column, or train on the pairs that belong together: --trainer pair.")
    if not as_cosines or (-1 <= low and high <= 1):
        return rows
    run.warn(f"The scores are from {low:g} to {high:g}; for the loss cosine they are brought between 0 and 1.")

    def scaled(row: dict[str, Any]) -> dict[str, float]:
        return {"label": (row["label"] - low) / (high - low)}

    return {name: each.map(scaled) for name, each in rows.items()}


def _cut(model: Any, rows: Any, form: _rows.Form) -> list[int]:
    """Tokens that are lost, by row."""
    found: list[int] = []
    for batch in rows.select_columns(list(form.roles)).iter(_COUNTED):
        sides = (
            _texts.tokens_of([Texts(each) for each in texts], model.tokenizer, model.max_seq_length)["cut"]
            for texts in batch.values()
        )
        found += map(sum, zip(*sides, strict=True))
    return found


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and judged; what a run would stop at is told with everything else."""
    splits = read.read(params, cache, by=_rows.classes(params))
    form = _rows.recognise(splits.train, params)
    return _encoder.check(params, splits, form, rendered=_texts.lengths(params, form, *form.roles))


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its tokenizer."""
    model = _learning.saved(params, path, load.device().kind)
    return model, model.tokenizer


def predict(params: Any, model: Any, tokenizer: Any, rows: Sequence[Any], **settings: Any) -> list[Any]:
    """The embedding of a text, a list of floats; of two texts their cosine; of three those of the first to the others.

    Args:
        rows: texts; pairs or triplets of them; or mappings with the columns that were trained on.
        settings: there are none.
    """
    if settings:
        raise ParamError(f"predict of {params.room} has no settings; found {', '.join(sorted(settings))}")
    found = [_rows.sides(params, row) for row in rows]
    texts = list(dict.fromkeys(text for sides in found for text in sides))
    if not texts:
        return []
    vectors = model.encode(texts, batch_size=params.eval_batch_size, show_progress_bar=False)
    place = {text: vector for text, vector in zip(texts, vectors, strict=True)}
    return [_said([place[text] for text in sides]) for sides in found]


def _said(vectors: list[Any]) -> Any:
    import numpy

    if len(vectors) == 1:
        return vectors[0].tolist()
    first, *others = (vector / max(float(numpy.linalg.norm(vector)), 1e-12) for vector in vectors)
    near = [float(first @ other) for other in others]
    return near[0] if len(near) == 1 else near


def evaluate(params: Any, path: str, data: Any = None) -> dict[str, float] | None:
    """The saved model measured, on held-out rows or on others; None with softmax, whose head is not saved."""
    form_of = partial(_rows.recognise, params=params)
    with _texts.to_measure(params, data, form_of, _rows.classes(params)) as (rows, form):
        kind = _measure.kind(form, _learning.loss_name(params, form))
        if kind == "classes":
            return None
        model, _ = opened(params, path)
        return _measure.Exam(form, _rows.tidy(rows, form), params.eval_batch_size, kind).measure(model)


def says(params: Any) -> str:
    """The kind of what its models tell; '' with softmax, whose head is not saved."""
    return "" if params.loss == "softmax" else _compared.KINDS[params.method]


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    form_of = partial(_rows.recognise, params=params)
    rows, form = _examples.judged(params, data, cache, lambda splits: form_of(splits.train), _rows.classes(params))
    return _compared.examples(_rows.tidy(rows, form), form, params.eval_batch_size)


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to compare texts."""
    code = """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("model")  # this folder's
vectors = model.encode(["A text", "Another text", "Something else"])
print(vectors.shape)
print(model.similarity(vectors, vectors))"""
    return "sentence-transformers", code
