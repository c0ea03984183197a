"""What the model writes about pictures: the writing, and how far it is from what it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbtrain.data.images import opened
from nbtrain.data.pictured import VQA, Talk
from nbtrain.evaluate import text
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _pictures
from nbtrain.trainers._samples import undisturbed
from nbtrain.trainers.vlm._labels import IGNORED
from nbtrain.trainers.vlm._manners import Manner


def write(
    model: Any,
    manner: Manner,
    talks: Sequence[Talk],
    *,
    rows: int,
    longest: int,
    stopped: Callable[[], bool] = lambda: False,
) -> list[str]:
    """What the model writes as the last answer of each row, the likeliest token each time.

    Args:
        rows: written at once. longest: tokens of an answer. stopped: asked before each token; True ends the writing.
    """
    import torch

    def over(ids: Any, *_: Any, **__: Any) -> Any:
        return torch.full((len(ids),), stopped(), device=ids.device)

    tokenizer, found = manner.processor.tokenizer, list[str]()
    settings = greedy(model, manner, longest)
    for at in range(0, len(talks), rows):
        batch = placed(manner.asked([look(talk) for talk in talks[at : at + rows]]), model)
        with undisturbed(model):
            ids = model.generate(**batch, **settings, stopping_criteria=[over])
        found += tokenizer.batch_decode(manner.written(ids, batch), skip_special_tokens=True)
    return [" ".join(each.split()) for each in found]


def greedy(model: Any, manner: Manner, longest: int) -> dict[str, Any]:
    """Settings of `generate` in place of the model's own: one answer, without chance, of at most so many tokens."""
    own, tokenizer = model.generation_config, manner.processor.tokenizer
    known = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    ends = sorted({*known, tokenizer.eos_token_id} - {None})
    settings = {
        "max_new_tokens": longest, "max_length": None, "min_length": 0, "do_sample": False, "num_beams": 1,
        "temperature": None, "top_p": None, "top_k": None, "length_penalty": 1.0, "early_stopping": False,
        "use_cache": True,
    }  # fmt: skip
    if manner.ends_itself:
        return settings
    pad = own.pad_token_id if own.pad_token_id is not None else tokenizer.pad_token_id
    return settings | {"eos_token_id": ends or None, "pad_token_id": pad}


def placed(batch: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """The batch where the model is; pictures in its numbers, where it was saved in half of them."""
    device, found = next(model.parameters()).device, dict[str, Any]()
    for name, value in batch.items():
        if hasattr(value, "to"):
            value = value.to(device, model.dtype) if value.is_floating_point() else value.to(device)
        found[name] = value
    return found


def look(talk: Talk) -> Talk:
    """The row with its pictures opened."""
    return Talk(tuple(map(opened, talk.pictures)), talk.messages, talk.references)


def likelihoods(manner: Manner) -> Callable[[Any, Mapping[str, Any]], list[Any]]:
    """For a batch: of each row (tokens,) the logarithm of the probability of each token of its answer.

    A model that tells its loss only (BLIP's answers) has one number a row, the same in a batch.
    """

    def rows(outputs: Any, batch: Mapping[str, Any]) -> list[Any]:
        import numpy
        import torch

        if getattr(outputs, "logits", None) is None:
            return [numpy.asarray([-float(outputs.loss)])] * len(batch["labels"])
        logits, labels = aligned(outputs.logits, batch["labels"], causal=manner.causal)
        found = []
        for row, wanted in zip(logits, labels, strict=True):
            kept = wanted != IGNORED
            # row by row, and of the answer alone: all logits of a batch as floats may be larger than the model
            chosen = torch.log_softmax(row[kept].float(), -1).gather(-1, wanted[kept][:, None])[:, 0]
            found.append(chosen.cpu().numpy())
        return found

    return rows


def aligned(logits: Any, labels: Any, *, causal: bool) -> tuple[Any, Any]:
    """Logits and the labels that they are of; some models put tokens of pictures before those of the text."""
    logits = logits[:, -labels.shape[1] :]
    return (logits[:, :-1], labels[:, 1:]) if causal else (logits, labels)


def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """The mean cross entropy of the tokens of answers, over all batches of a step where their number is known."""
    from torch.nn.functional import cross_entropy

    logits, wanted = aligned(outputs.logits, labels, causal=True)
    total = cross_entropy(
        logits.float().flatten(0, 1), wanted.to(logits.device).flatten(), ignore_index=IGNORED, reduction="sum"
    )
    count = num_items_in_batch if num_items_in_batch is not None else (wanted != IGNORED).sum().clamp(min=1)
    return total / count


@dataclass
class Writer:
    """The model in training, as one that writes; it gets to know the model before the first step.

    talks: the held-out rows (or, where there are none, those that are trained on), as many as are written out.
    rows: how many of them are written out at an evaluation. common: the commonest answer of the rows trained on.
    """

    params: Any
    run: ActiveRun
    manner: Manner
    talks: Sequence[Talk]
    rows: int
    common: str
    model: Any = None

    def written(self, talks: Sequence[Talk]) -> list[str]:
        """What the model now writes."""
        return write(
            self.model,
            self.manner,
            talks,
            rows=self.params.eval_batch_size,
            longest=self.params.max_target_length,
            stopped=self.run.stop_asked,
        )

    def measure(self, found: Sequence[Any]) -> dict[str, float]:
        """The mean loss of an answer's token, and the figures of the rows that are written out.

        Args:
            found: `likelihoods` of all held-out rows.
        """
        total, count = sum(float(row.sum()) for row in found), sum(map(len, found))
        values = {"loss": -total / max(count, 1)}
        talks = self.talks[: self.rows]
        if not talks:
            return values
        written = self.written(talks)
        return values if self.run.stop_asked() else values | scored(self.params.trainer, written, talks)

    def show(self, found: Sequence[Any]) -> tuple[dict[str, Any], ...]:
        """The first rows with their pictures, as the model answers them now."""
        talks = self.talks[: _pictures.SHOWN]
        return tuple(
            {
                "prompt": talk.question,
                "output": output,
                "expected": talk.references[0],
                "picture": _pictures.thumbnail(opened(talk.pictures[0])),
                "alt": f"the picture {_pictures.name_of(talk.pictures[0], at)}",
            }
            for at, (talk, output) in enumerate(zip(talks, self.written(talks), strict=True))
        )

    def conclude(self, model: Any, found: Sequence[Any]) -> None:
        """Into the report: what the trained model writes, the rows that are furthest off first, and what is easy."""
        talks = self.talks[: self.rows]
        rows = [
            {
                "picture": _pictures.name_of(talk.pictures[0], at),
                "question": talk.question,
                "written": output,
                "references": list(talk.references),
                "f1": round(text.token_f1(output, talk.references), 4),
            }
            for at, (talk, output) in enumerate(zip(talks, self.written(talks), strict=True))
        ]
        self.run.report["written"] = sorted(rows, key=lambda row: row["f1"])
        if talks and self.params.trainer == VQA:
            always = scored(VQA, [self.common] * len(talks), talks)
            self.run.report["always_the_commonest_answer"] = {"answer": self.common, **always}


def scored(trainer: str, written: Sequence[str], talks: Sequence[Talk]) -> dict[str, float]:
    """Of answers exact_match and f1 (0 to 1, as SQuAD counts them); of captions ROUGE (0 to 1), bleu and chrf."""
    right = [talk.references for talk in talks]
    if trainer == VQA:
        return text.squad(written, right)
    return {**text.rouge(written, right), "bleu": text.bleu(written, right), "chrf": text.chrf(written, right)}


def commonest(talks: Iterable[Talk]) -> str:
    """The answer that most rows have, whatever its case."""
    counts = Counter(talk.answer.strip().casefold() for talk in talks)
    return counts.most_common(1)[0][0] if counts else ""
