"""Questions as windows of tokens, what a model says to each window, and what that makes of a question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbtrain.data import spans
from nbtrain.evaluate import text
from nbtrain.evaluate.spans import Found, Span, search, together

AROUND = 60  # characters of the context that are shown on each side of an answer
_ROWS = 256  # questions that are made into windows at once
_WORDS = 12  # first words of questions in the report
_READ = ("start_positions", "end_positions")


@dataclass(frozen=True)
class Rule:
    """How scores become an answer. threshold: as `Found.answer` takes it. longest: tokens of an answer."""

    threshold: float | None
    longest: int


@dataclass(frozen=True)
class Asked:
    """Questions and the windows that are read for them, in order, each with the place of its question."""

    questions: Sequence[spans.Question]
    windows: Any

    def answers(self, scores: Sequence[Any], rule: Rule) -> list[Found]:
        """What the scores of the first windows say to the questions that those windows hold whole."""
        found: dict[int, list[Found]] = {}
        for window, score in zip(self._read(), scores, strict=False):
            found.setdefault(int(window["question"]), []).append(
                search(*score, window["offsets"], blank=int(window["blank"]), longest=rule.longest)
            )
        if len(scores) < len(self.windows):
            found.pop(max(found))  # its other windows may not have been read
        return [together(found[at]) for at in sorted(found)]

    def _read(self) -> Iterator[Mapping[str, Any]]:
        if isinstance(self.windows, list):
            return iter(self.windows)
        return iter(self.windows.with_format("numpy", columns=["offsets", "blank", "question"]))


def windows(rows: Any, form: spans.Form, tokenizer: Any, how: spans.Windows) -> Any:
    """A dataset of the windows of all rows, as `spans.windows` makes them."""

    def made(batch: Mapping[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        questions = [form.read(dict(zip(batch, values, strict=True))) for values in zip(*batch.values(), strict=True)]
        found = spans.windows(tokenizer, questions, how)
        return {**found, "question": [numbers[at] for at in found["question"]]}

    columns = list(dict.fromkeys(form.columns.values()))
    return rows.select_columns(columns).map(
        made, batched=True, batch_size=_ROWS, with_indices=True, remove_columns=columns
    )


def collate(tokenizer: Any, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The batch padded to its longest window; start_positions and end_positions, (windows,), where they are known."""
    import torch

    inputs = [
        {name: example[name] for name in ("input_ids", "token_type_ids") if name in example} for example in examples
    ]
    batch = dict(tokenizer.pad(inputs, return_tensors="pt"))
    labels = {name: torch.tensor([example[name] for example in examples]) for name in _READ}
    return {**batch, **labels, "tokens": int(batch["attention_mask"].sum())}


def scores(outputs: Any, batch: Mapping[str, Any]) -> list[Any]:
    """Of each window (2, tokens): the scores of its tokens as the first and as the last one, without the padding."""
    import torch

    both = torch.stack([outputs.start_logits, outputs.end_logits], 1).float().cpu().numpy()
    masks = batch["attention_mask"].bool().cpu().numpy()
    return [pair[:, mask] for pair, mask in zip(both, masks, strict=True)]


def measure(asked: Asked, rule: Rule, found: Sequence[Any]) -> dict[str, float]:
    """Exact match and F1 of the held-out questions; see `text.squad`."""
    said = said_to(asked, rule, found)
    rights = [[answer.text for answer in question.answers] for question, _ in said]
    return text.squad([answer for _, answer in said], rights)


def said_to(asked: Asked, rule: Rule, found: Sequence[Any]) -> list[tuple[spans.Question, str]]:
    """Each question with the answer that was found, '' for none."""
    answers = asked.answers(found, rule)
    return [
        (question, piece(each.answer(rule.threshold), question.context))
        for question, each in zip(asked.questions, answers, strict=False)
    ]


def piece(span: Span | None, context: str) -> str:
    """The text of a span, '' for none."""
    return context[span.start : span.end] if span else ""


def show(asked: Asked, rule: Rule, most: int, found: Sequence[Any]) -> tuple[dict[str, str], ...]:
    """The first questions, with the answer marked where it stands in the text."""
    answers = asked.answers(found, rule)[:most]
    return tuple(
        {
            "prompt": question.question,
            "output": marked(each.answer(rule.threshold), question.context),
            "expected": " | ".join(dict.fromkeys(answer.text for answer in question.answers)) or "(no answer)",
        }
        for question, each in zip(asked.questions, answers, strict=False)
    )


def marked(span: Span | None, context: str) -> str:
    """The answer in its surroundings: "... stands in [Paris], near ..."."""
    if span is None:
        return "(no answer)"
    before, after = context[max(0, span.start - AROUND) : span.start], context[span.end : span.end + AROUND]
    left, right = "…" * (span.start > AROUND), "…" * (span.end + AROUND < len(context))
    return f"{left}{before}[{context[span.start : span.end]}]{after}{right}"


def best_threshold(questions: Sequence[spans.Question], found: Sequence[Found]) -> tuple[float, float]:
    """The threshold of the best F1 on these questions, and that F1.

    Source: find_best_thresh of SQuAD's evaluate-v2.0.py.
    """
    rows = []
    for question, each in zip(questions, found, strict=True):
        right = [answer.text for answer in question.answers]
        margin = each.blank - each.span.score if each.span else float("inf")
        rows.append((margin, text.token_f1("", right), text.token_f1(piece(each.span, question.context), right)))
    rows.sort()
    # from "never an answer" on, one question more is answered at a time, the surest first
    total = best = sum(none for _, none, _ in rows)
    threshold = rows[0][0] - 1.0
    for margin, none, some in rows:
        total += some - none
        if total > best:
            best, threshold = total, margin
    return threshold, best / len(rows)


def by_first_word(said: Sequence[tuple[spans.Question, str]]) -> dict[str, dict[str, float]]:
    """Exact match, F1 and count of the questions that begin with the same word, the commonest words first."""
    groups: dict[str, list[tuple[spans.Question, str]]] = {}
    for question, answer in said:
        groups.setdefault(question.question.split()[0].lower(), []).append((question, answer))
    common = sorted(groups.items(), key=lambda item: -len(item[1]))[:_WORDS]
    return {
        word: {
            **text.squad(
                [answer for _, answer in each], [[right.text for right in question.answers] for question, _ in each]
            ),
            "count": len(each),
        }
        for word, each in common
    }
