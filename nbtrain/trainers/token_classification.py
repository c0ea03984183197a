"""Token classification: a tag for each token: named entities, slots, chunks, parts of speech.

Data: tokens (a list, or words with spaces between them), tags (a list of names or numbers); CoNLL files
Result: a model that gives each token's first piece a score for each tag
Extra: nbtrain[text]
Source: Devlin et al. 2019, arXiv:1810.04805, section 5.3; Tjong Kim Sang and De Meulder 2003, W03-0419 (counting)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nbtrain.data import read, stream, tags
from nbtrain.data.tags import Form, Tagged
from nbtrain.errors import DataError
from nbtrain.evaluate import classes, figures, text
from nbtrain.evaluate.examples import Examples
from nbtrain.models import faults
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Shown
from nbtrain.params.streaming import Streaming
from nbtrain.params.usual import Headed
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder, _examples, _texts

AUTO, PIPELINE = "AutoModelForTokenClassification", "token-classification"
SHOWN = 3  # held-out rows that are tagged again and again
LISTED = 20  # wrong rows in the report
IGNORED = -100  # the label that torch's cross entropy passes over
_ASKED = 32  # rows that a saved model is asked at once


class TokenClassificationParams(
    Headed, Basic, Data, Streaming, Model, Optim, Precision, Peft, Checkpoints, Evaluation, Shown, Base
):
    """Parameters of `token-classification`."""

    tokens_column: str = option("tokens", "column of the tokens", group="Data")
    tags_column: str = option("tags", "column of the tags, one a token", group="Data")
    max_seq_length: int = option(
        128, "longest row; what is longer loses its end", group="Model", unit="tokens of the model", ge=4
    )


Params = TokenClassificationParams
says = _examples.saying("tags")


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, or the best one's, and the totals."""
    _encoder.begin(params)
    run.stage("reading the data")
    splits = read.read(params, run.folder.data)
    form = _form(params, splits)
    splits = _encoder.judged(params, run, splits, form)
    tokenizer, config = _texts.processor(params, run)
    faults.refuse_without_places(tokenizer, params.model)
    config.id2label = dict(enumerate(form.names))
    config.label2id = {name: number for number, name in enumerate(form.names)}
    run.stage("tokenising")
    longest = _encoder.longest(params, config, tokenizer)
    rows, held = (
        part and _tokenised(part, form, tokenizer, longest, run.warn) for part in (splits.train, splits.valid)
    )
    shown = splits.valid or splits.train
    right = [[label for label in labels if label != IGNORED] for labels in (held or rows)["labels"]]
    job = _encoder.Job(
        auto=AUTO,
        config=config,
        train=rows,
        valid=held,
        collate=partial(_collate, tokenizer),
        measure=partial(_measure, form, right),
        show=partial(_show, form, [form.read(row) for row in shown.select(range(min(len(shown), _encoder.LOOKED_AT)))]),
        metric="f1" if form.entities else "accuracy",
        task="TOKEN_CLS",
        tiny=_texts.TINY_TEXT,
        processor=tokenizer,
        rows=_scores,
        conclude=partial(_conclude, run, form, shown, right),
    )
    return _encoder.fit(params, run, job)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and judged; what a run would stop at is told with everything else."""
    splits = read.read(params, cache)
    form = _form(params, splits)
    return _encoder.check(params, splits, form, rendered=_texts.lengths(params, form, "tokens"))


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its tokenizer."""
    return _texts.opened(params, path, AUTO)


def predict(params: Any, model: Any, tokenizer: Any, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The tags of each row.

    Args:
        rows: texts (tokens are what stands between spaces), lists of tokens, or mappings with the column of the tokens.

    Returns:
        tokens; tags, None for what is beyond --max-seq-length; scores, the probability of each tag; and where the tags
        are in BIO, entities: kind, text, start and end (tokens, end not in it).
    """
    import torch

    form = Form({"tokens": "tokens", "tags": "tags"}, tuple(model.config.id2label.values()))
    longest = _encoder.longest(params, model.config, tokenizer)
    texts, found = [form.tokens({"tokens": _tokens_of(params, row)}) for row in rows], list[dict[str, Any]]()
    for begin in range(0, len(texts), _ASKED):
        some = texts[begin : begin + _ASKED]
        encoded, firsts = _encode(tokenizer, some, longest)
        batch = tokenizer.pad(encoded, return_tensors="pt").to(next(model.parameters()).device)
        with torch.no_grad():
            chances = model(**batch).logits.float().softmax(-1).cpu().numpy()
        found += [_told(form, *each) for each in zip(some, firsts, chances, strict=True)]
    return found


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    rows, form = _examples.judged(params, data, cache, partial(_form, params))
    tagged = [form.read(row) for row in rows]

    def ask(*asked: Any) -> list[list[str]]:  # what is beyond --max-seq-length has no tag: nothing was found there
        return [[tag or "O" for tag in said["tags"]] for said in predict(params, *asked)]

    return Examples("tags", [list(each.tokens) for each in tagged], [list(each.tags) for each in tagged], ask)


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to have it tag."""
    adapter = (path / "adapter_config.json").is_file()
    code = f"""\
from transformers import {AUTO}, AutoTokenizer

model = {AUTO}.from_pretrained("model").eval()  # this folder's
tokenizer = AutoTokenizer.from_pretrained("model")
words = ["Book", "a", "table", "in", "Paris"]
tokens = tokenizer(words, is_split_into_words=True, return_tensors="pt")
tags = model(**tokens).logits[0].argmax(-1).tolist()
places = tokens.word_ids()
for at, word in enumerate(words):
    print(word, model.config.id2label[tags[places.index(at)]])"""
    return "peft" if adapter else "transformers", code


def _form(params: Any, splits: read.Splits) -> Form:
    flags = {"tokens": params.tokens_column, "tags": params.tags_column}
    named = {role: column for role, column in flags.items() if f"{role}_column" in params.given()}
    return tags.recognise(splits.train, params.column_mapping, named, held_out=splits.valid)


def _encode(tokenizer: Any, texts: Sequence[Sequence[str]], longest: int) -> tuple[dict[str, Any], list[list[int]]]:
    """What the model reads, and of each text the place of the first piece of each token; -1 where it is not read."""
    found = tokenizer([list(each) for each in texts], is_split_into_words=True, truncation=True, max_length=longest)
    firsts = []
    for at, words in enumerate(texts):
        places = found.word_ids(at)
        known = {word: place for place, word in reversed(list(enumerate(places))) if word is not None}
        firsts.append([known.get(word, -1) for word in range(len(words))])
    return dict(found), firsts


def _tokenised(rows: Any, form: Form, tokenizer: Any, longest: int, warn: Callable[[str], None]) -> Any:
    """A dataset of what the model reads and labels: the tag of a token at its first piece, else -100."""
    columns, number = list(dict.fromkeys(form.columns.values())), {name: at for at, name in enumerate(form.names)}

    def made(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        read_rows = [form.read(dict(zip(batch, values, strict=True))) for values in zip(*batch.values(), strict=True)]
        encoded, firsts = _encode(tokenizer, [row.tokens for row in read_rows], longest)
        encoded["labels"] = [[IGNORED] * len(ids) for ids in encoded["input_ids"]]
        encoded["unread"] = [places.count(-1) for places in firsts]
        for labels, places, row in zip(encoded["labels"], firsts, read_rows, strict=True):
            for place, tag in zip(places, row.tags, strict=True):
                if place >= 0:
                    labels[place] = number[tag]
        return encoded

    tokens = rows.select_columns(columns).map(made, batched=True, remove_columns=columns)
    seen, of = stream.first(tokens)
    if unread := [count for count in seen["unread"] if count]:
        what = f"{of}Longer than {longest} pieces, or without any: {sum(unread):,} tokens in {len(unread):,} of "
        warn(f"{what}{len(seen):,} rows are neither trained nor measured (--max-seq-length).")
    return tokens.select_columns([name for name in tokens.column_names if name != "unread"])


def _collate(tokenizer: Any, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The batch padded to its longest row."""
    import torch

    inputs = [{name: value for name, value in example.items() if name != "labels"} for example in examples]
    batch = dict(tokenizer.pad(inputs, return_tensors="pt"))
    labels = torch.full_like(batch["input_ids"], IGNORED)
    for row, example in enumerate(examples):
        count = len(example["labels"])
        begin = labels.shape[1] - count if tokenizer.padding_side == "left" else 0
        labels[row, begin : begin + count] = torch.tensor(example["labels"])
    return {**batch, "labels": labels, "tokens": int(batch["attention_mask"].sum())}


def _scores(outputs: Any, batch: Mapping[str, Any]) -> list[Any]:
    """Of each row (tokens, tags): the scores at the first pieces, those that have a label."""
    chosen = batch["labels"] != IGNORED
    return [row[mask].float().cpu().numpy() for row, mask in zip(outputs.logits, chosen, strict=True)]


def _measure(form: Form, right: Sequence[Sequence[int]], found: Sequence[Any]) -> dict[str, float]:
    """The share of tokens that are right; of entities precision, recall and F1, of other tags F1 by their mean."""
    answers = _answers(right, found)
    if not form.entities:
        return {name: classes.METRICS[name](answers) for name in ("accuracy", "f1_macro", "f1_weighted")}
    counted = text.entities(*_names(form, right, found))
    named = {name: counted[name] for name in ("f1", "precision", "recall")}
    return {**named, "accuracy": classes.METRICS["accuracy"](answers)}


def _answers(right: Sequence[Sequence[int]], found: Sequence[Any]) -> classes.Answers:
    """All tokens of all rows, one behind the other."""
    import numpy

    scores = numpy.concatenate(found)
    return classes.Answers(numpy.concatenate([numpy.asarray(row, int) for row in right]), scores.argmax(-1), scores)


def _names(form: Form, right: Sequence[Sequence[int]], found: Sequence[Any]) -> tuple[list[list[str]], list[list[str]]]:
    """Of each row the tags that were found, and the right ones."""
    said = [[form.names[at] for at in row.argmax(-1)] for row in found]
    return said, [[form.names[at] for at in row] for row in right]


def _show(form: Form, rows: Sequence[Tagged], found: Sequence[Any]) -> tuple[dict[str, str], ...]:
    """The first rows that have something to be found, with what was found and what there is marked in the text."""
    pairs = list(zip(rows, found, strict=False))
    telling = [pair for pair in pairs if not form.entities or tags.entities(pair[0].tags)] or pairs
    return tuple(
        {
            "prompt": " ".join(row.tokens),
            "output": form.marked(row.tokens, [form.names[at] for at in scores.argmax(-1)]),
            "expected": form.marked(row.tokens, row.tags),
        }
        for row, scores in telling[:SHOWN]
    )


def _conclude(
    run: ActiveRun, form: Form, rows: Any, right: Sequence[Sequence[int]], model: Any, found: Sequence[Any]
) -> None:
    """Into the report: the table by kind or tag, the confusions, and the rows with the most mistakes."""
    answers, folder = _answers(right, found), run.folder.figures
    if form.entities:
        by_kind = text.entities(*_names(form, right, found))["by_kind"]
        run.report["by_kind"] = by_kind
        table = [{"label": kind, "f1": row["f1"], "rows": row["count"]} for kind, row in by_kind.items()]
    else:
        table = run.report["by_tag"] = classes.by_class(answers, form.names)
    run.report["confusion"] = {"tags": list(form.names), "counts": classes.confusion(answers).tolist()}
    figures.by_class(table, folder / "by_class.png")
    figures.confusion(classes.confusion(answers), form.names, folder / "confusion.png")
    wrong = [int((scores.argmax(-1) != labels).sum()) for scores, labels in zip(found, right, strict=True)]
    worst = sorted(range(len(wrong)), key=lambda at: -wrong[at])[:LISTED]
    run.report["worst"] = [
        {"wrong_tokens": wrong[at], **sample}
        for at in worst
        if wrong[at]
        for sample in _show(form, [form.read(rows[at])], [found[at]])
    ]


def _tokens_of(params: Any, row: Any) -> Any:
    if isinstance(row, (str, list, tuple)):
        return row
    names = (params.tokens_column, (params.column_mapping or {}).get("tokens"), *tags.ROLES["tokens"])
    name = next((name for name in names if isinstance(row, Mapping) and name in row), None)
    if name is None:
        raise DataError(f"no tokens in {str(row)[:80]!r}", fix="Give a text, a list of tokens, or rows with tokens.")
    return row[name]


def _told(form: Form, tokens: Sequence[str], firsts: Sequence[int], chances: Any) -> dict[str, Any]:
    """What is said to one row. chances: (pieces, tags)."""
    best = [None if place < 0 else int(chances[place].argmax()) for place in firsts]
    found = [None if at is None else form.names[at] for at in best]
    told = {
        "tokens": list(tokens),
        "tags": found,
        "scores": [None if at is None else float(chances[place][at]) for place, at in zip(firsts, best, strict=True)],
    }
    if form.entities:
        told["entities"] = [
            {**each._asdict(), "text": " ".join(tokens[each.start : each.end])}
            for each in tags.entities([tag or "O" for tag in found])
        ]
    return told
