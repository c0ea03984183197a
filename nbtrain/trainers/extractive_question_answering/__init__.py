"""Extractive question answering: the piece of a text that answers a question, or that none does (SQuAD 1 and 2).

Data: context, question, answers ({"text": [...], "answer_start": [...]}, or an answer and its offset)
Result: a model that gives each token a score as the first and as the last one of the answer
Extra: nbtrain[text]
Source: Rajpurkar et al. 2016, arXiv:1606.05250; 2018, arXiv:1806.03822; Devlin et al. 2019, arXiv:1810.04805
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from nbtrain.data import read, spans
from nbtrain.data.forms import text
from nbtrain.errors import DataError
from nbtrain.evaluate import figures
from nbtrain.evaluate.examples import Examples
from nbtrain.evaluate.spans import Found
from nbtrain.evaluate.text import token_f1
from nbtrain.models import faults
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Shown
from nbtrain.params.streaming import not_streamed
from nbtrain.params.usual import Headed
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder, _examples, _lengths, _texts
from nbtrain.trainers.extractive_question_answering import _answers
from nbtrain.trainers.extractive_question_answering._answers import Asked, Rule

AUTO = "AutoModelForQuestionAnswering"
SHOWN = 3  # questions that are asked again and again
LISTED = 20  # wrong answers in the report
_AT_ONCE = 16  # windows that `predict` gives the model


class ExtractiveQuestionAnsweringParams(
    Headed, Basic, Data, Model, Optim, Precision, Peft, Checkpoints, Evaluation, Shown, Base
):
    """Parameters of `extractive-question-answering`."""

    text_column: str = option("context", "column of the text that holds the answer", group="Data")
    question_column: str = option("question", "column of the question", group="Data")
    answer_column: str = option("answers", "column of the answers, with or without their offsets", group="Data")
    stream: bool = not_streamed(
        "a text is read in pieces that are put together again by the number of its question. Rows are mapped from the "
        "disk, so data may be larger than the memory."
    )
    max_seq_length: int = option(
        384, "question and piece of the text that are read together", group="Model", unit="tokens", ge=32
    )
    max_doc_stride: int = option(
        128, "tokens that two neighbouring pieces of a long text share", group="Model", unit="tokens", ge=0
    )
    max_answer_length: int = option(30, "longest answer that is looked for", group="Model", unit="tokens", ge=1)
    null_threshold: float = option(
        0.0,
        "how much surer of no answer than of the best one the model must be; only where the data have such questions",
        group="Model",
        unit="logits",
    )

    @model_validator(mode="after")
    def _pieces_move_on(self) -> Self:
        if self.max_doc_stride > self.max_seq_length // 2:
            raise ValueError(
                f"--max-doc-stride {self.max_doc_stride} is more than half of --max-seq-length {self.max_seq_length}: "
                "with the question there would be no room to move on in a long text. 384 and 128 are usual"
            )
        return self


Params = ExtractiveQuestionAnsweringParams
PIPELINE = "question-answering"
says = _examples.saying("answers")


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, or the best one's, and the totals."""
    _encoder.begin(params)
    run.stage("reading the data")
    splits = read.read(params, run.folder.data)
    form = _form(params, splits)
    splits = _encoder.judged(params, run, splits, form)
    tokenizer, config = _texts.processor(params, run)
    faults.refuse_without_places(tokenizer, params.model)
    run.stage("tokenising")
    how = _windows(params, config, tokenizer)
    rows, held = (part and _answers.windows(part, form, tokenizer, how) for part in (splits.train, splits.valid))
    run.warn(f"{len(splits.train):,} rows are read in {len(rows):,} pieces of at most {how.longest} tokens.")
    # the saved model knows it: one that has never seen a question without an answer always gives one
    none = any(not form.read(row).answers for row in splits.train)
    config.null_threshold = params.null_threshold if none else None
    asked = Asked([form.read(row) for row in splits.valid or splits.train], held or rows)
    rule = Rule(config.null_threshold, params.max_answer_length)
    job = _encoder.Job(
        auto=AUTO,
        config=config,
        train=rows,
        valid=held,
        collate=partial(_answers.collate, tokenizer),
        measure=partial(_answers.measure, asked, rule),
        show=partial(_answers.show, asked, rule, SHOWN),
        metric="f1",
        task="",  # peft's own class for questions drops token_type_ids: an adapter would learn another model
        tiny=_texts.TINY_TEXT,
        processor=tokenizer,
        rows=_answers.scores,
        conclude=partial(_conclude, run, asked, rule),
    )
    return _encoder.fit(params, run, job)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and judged; what a run would stop at is told with everything else."""
    splits = read.read(params, cache)
    form, parts = _form(params, splits), _lengths.of_roles("question", "context")
    shown = partial(_lengths.rendered, params, form, parts, _limits, _texts.TINY_TEXT)
    return _encoder.check(params, splits, form, rendered=shown)


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its tokenizer."""
    return _texts.opened(params, path, AUTO)


def predict(
    params: Any,
    model: Any,
    tokenizer: Any,
    rows: Sequence[Mapping[str, str]],
    *,
    null_threshold: float | None = None,
    max_answer_length: int | None = None,
) -> list[dict[str, Any]]:
    """The answer to each row.

    Args:
        rows: each with a question and a context, under these names or those of the data that was trained on.
        null_threshold, max_answer_length: in place of those of the run.

    Returns:
        answer ("" where the text holds none), start and end (its characters, None where there is none), score and
        no_answer_score (logits).
    """
    import torch

    questions = [_question(params, row) for row in rows]
    if not questions:
        return []
    columns = spans.windows(tokenizer, questions, _windows(params, model.config, tokenizer))
    windows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    device, found = next(model.parameters()).device, list[Any]()
    for at in range(0, len(windows), _AT_ONCE):
        batch = _answers.collate(tokenizer, windows[at : at + _AT_ONCE])
        batch = {name: batch[name].to(device) for name in batch if name != "tokens"}
        with torch.no_grad():
            found += _answers.scores(model(**batch), batch)
    own = getattr(model.config, "null_threshold", None)
    rule = Rule(own if null_threshold is None else null_threshold, max_answer_length or params.max_answer_length)
    answers = Asked(questions, windows).answers(found, rule)
    return [_told(question, each, rule) for question, each in zip(questions, answers, strict=True)]


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    rows, form = _examples.judged(params, data, cache, partial(_form, params))
    questions = [form.read(row) for row in rows]

    def ask(model: Any, tokenizer: Any, asked: Sequence[Any]) -> list[str]:
        return [said["answer"] for said in predict(params, model, tokenizer, asked)]

    return Examples(
        "answers",
        [{"question": each.question, "context": each.context} for each in questions],
        [[answer.text for answer in each.answers] for each in questions],
        ask,
    )


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to ask it."""
    code = f"""\
import torch
from transformers import {AUTO}, AutoTokenizer

model = {AUTO}.from_pretrained("model").eval()  # this folder's
tokenizer = AutoTokenizer.from_pretrained("model")
question, context = "Where does the tower stand?", "The tower stands in Paris, near the river."
tokens = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
offsets = tokens.pop("offset_mapping")[0].tolist()
inside = torch.tensor([part == 1 for part in tokens.sequence_ids(0)])
with torch.no_grad():
    scores = model(**tokens)
first, last = (each[0].masked_fill(~inside, -1e9) for each in (scores.start_logits, scores.end_logits))
pairs = (first[:, None] + last[None, :]).masked_fill(torch.ones(len(first), len(first)).tril(-1).bool(), -1e9)
start, end = divmod(int(pairs.argmax()), len(first))
print(context[offsets[start][0] : offsets[end][1]])"""
    return "transformers", code


def _form(params: Any, splits: read.Splits) -> spans.Form:
    flags = (
        ("context", "text_column", params.text_column),
        ("question", "question_column", params.question_column),
        ("answers", "answer_column", params.answer_column),
    )
    named = {role: column for role, flag, column in flags if flag in params.given()}
    return spans.recognise(splits.train, params.column_mapping, named)


def _windows(params: Any, config: Any, tokenizer: Any) -> spans.Windows:
    longest = _encoder.longest(params, config, tokenizer)
    return spans.Windows(longest, min(params.max_doc_stride, longest // 2))


def _limits(params: Any, config: Any, tokenizer: Any) -> _lengths.Limits:
    how = _windows(params, config, tokenizer)
    words = "are read in several pieces, with their question (--max-seq-length), over"
    return {"question": (how.longest // 2, "are half of a piece and more, over"), "context": (how.longest, words)}


def _question(params: Any, row: Mapping[str, Any]) -> spans.Question:
    """A row that is asked: by the names of the roles, or of the run's columns."""
    if not isinstance(row, Mapping):
        raise DataError(
            f"a row to answer has a question and a context; found {type(row).__name__}",
            fix='Write {"question": "...", "context": "..."}.',
        )
    mapped = params.column_mapping or {}
    flags = {"question": params.question_column, "context": params.text_column}
    found = {}
    for role, flag in flags.items():
        name = next((name for name in (role, flag, mapped.get(role)) if name in row), None)
        if name is None:
            raise DataError(f"the row has no {role}; it has {', '.join(map(str, row))}", fix=f"Give it a {role}.")
        found[role] = text(row[name], name)
    return spans.Question(found["question"], found["context"], ())


def _told(question: spans.Question, found: Found, rule: Rule) -> dict[str, Any]:
    span = found.answer(rule.threshold)
    return {
        "answer": _answers.piece(span, question.context),
        "start": span.start if span else None,
        "end": span.end if span else None,
        "score": found.span.score if found.span else None,
        "no_answer_score": found.blank,
    }


def _conclude(run: ActiveRun, asked: Asked, rule: Rule, model: Any, found: Sequence[Any]) -> None:
    """Into the report: how each kind of question fared, the threshold that would be best, and the worst answers."""
    said = _answers.said_to(asked, rule, found)
    rows = [
        {
            "question": question.question,
            "answer": answer,
            "expected": [each.text for each in question.answers],
            "f1": round(token_f1(answer, [each.text for each in question.answers]), 4),
        }
        for question, answer in said
    ]
    run.report["by_first_word"] = table = _answers.by_first_word(said)
    bars = [{"label": word, "f1": row["f1"], "rows": row["count"]} for word, row in table.items()]
    figures.by_class(bars, run.folder.figures / "by_first_word.png")
    run.report["worst_answers"] = sorted(rows, key=lambda row: row["f1"])[:LISTED]
    if rule.threshold is not None:
        threshold, best = _answers.best_threshold(asked.questions, asked.answers(found, rule))
        run.report["best_null_threshold"] = {"threshold": threshold, "f1": best}
        run.warn(f"On these rows --null-threshold {threshold:.2f} would be best: F1 {best:.3f}.")
