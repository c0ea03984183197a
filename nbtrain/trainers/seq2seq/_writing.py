"""What the model writes: the settings, the writing, and how far it is from what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbtrain.evaluate import text
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._samples import undisturbed
from nbtrain.trainers.seq2seq._tokens import language_id

IGNORED = -100  # the label that torch's cross entropy passes over
SETTINGS = ("num_beams", "length_penalty", "no_repeat_ngram_size")


def settle(model: Any, params: Any, tokenizer: Any, longest: int) -> None:
    """Put what was asked for into the model's own settings of generation, which are saved with it.

    Without them a saved model writes 20 tokens and stops.

    Args:
        longest: tokens that are written.
    """
    settings = _bare(model).generation_config
    settings.update(max_new_tokens=longest, max_length=None)
    if (settings.min_length or 0) > longest:
        settings.min_length = 0
    asked = (params.num_beams, params.length_penalty, params.no_repeat_ngram_size)
    settings.update(**{name: value for name, value in zip(SETTINGS, asked, strict=True) if value is not None})
    if (settings.num_beams or 1) == 1:
        # they mean nothing to one beam, and transformers refuses to save them beside it
        settings.update(length_penalty=1.0, early_stopping=False)
    if params.target_language is not None:
        settings.forced_bos_token_id = language_id(tokenizer, params.target_language)


def _bare(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") else model


def write(
    model: Any,
    tokenizer: Any,
    sources: Sequence[Sequence[int]],
    *,
    rows: int,
    run: ActiveRun | None = None,
    **changes: Any,
) -> list[str]:
    """What the model writes for each source.

    Args:
        sources: tokens. rows: written at once.
        run: a stop that it is asked for ends the writing.
        changes: settings of generation in place of the model's own.
    """
    import torch

    def stopped(ids: Any, *_: Any, **__: Any) -> Any:
        return torch.full((len(ids),), run is not None and run.stop_asked(), device=ids.device)

    device, written = next(model.parameters()).device, list[str]()
    for at in range(0, len(sources), rows):
        batch = tokenizer.pad({"input_ids": list(sources[at : at + rows])}, return_tensors="pt").to(device)
        with undisturbed(model):
            found = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                stopping_criteria=[stopped],
                use_cache=True,
                **changes,
            )
        written += tokenizer.batch_decode(found, skip_special_tokens=True)
    return [each.strip() for each in written]


def likelihoods(outputs: Any, batch: Mapping[str, Any]) -> list[Any]:
    """Of each row (tokens,): the logarithm of the probability of each token of its target."""
    import torch

    labels = batch["labels"]
    chosen = labels.clamp(min=0)[..., None]
    found = torch.log_softmax(outputs.logits.float(), -1).gather(-1, chosen)[..., 0]
    return [row[mask].cpu().numpy() for row, mask in zip(found, labels != IGNORED, strict=True)]


@dataclass
class Writer:
    """The model in training, as one that writes; it gets to know the model before the first step.

    sources: tokens of the held-out rows. texts, references: of the same rows.
    rows: how many of them are written out at an evaluation. shown: how many as samples.
    """

    params: Any
    run: ActiveRun
    tokenizer: Any
    longest: int
    sources: Any
    texts: Sequence[str]
    references: Sequence[tuple[str, ...]]
    rows: int
    shown: int
    model: Any = field(default=None)

    def ready(self, model: Any) -> None:
        """Take the model, and put the settings of writing into it."""
        self.model = model
        model.config.use_cache = False  # a step of training would build a cache that nobody reads
        settle(model, self.params, self.tokenizer, self.longest)

    def written(self, count: int) -> list[str]:
        """What the model now writes for the first rows."""
        sources = self.sources[:count]["input_ids"]
        return write(self.model, self.tokenizer, sources, rows=self.params.eval_batch_size, run=self.run)

    def measure(self, found: Sequence[Any]) -> dict[str, float]:
        """The mean loss of a target's token, and on the rows that are written out ROUGE, BLEU and chrF.

        Args:
            found: `likelihoods` of all held-out rows.
        """
        total, count = sum(float(row.sum()) for row in found), sum(map(len, found))
        values = {"loss": -total / count}
        written = self.written(self.rows)
        return (
            values if not written or self.run.stop_asked() else values | scored(written, self.references[: self.rows])
        )

    def show(self, found: Sequence[Any]) -> tuple[dict[str, str], ...]:
        """The first rows, as the model writes them now."""
        return tuple(
            {"prompt": source, "output": output, "expected": references[0]}
            for source, output, references in zip(self.texts, self.written(self.shown), self.references, strict=False)
        )

    def conclude(self, model: Any, found: Sequence[Any]) -> None:
        """Into the report: what the trained model writes, the rows that are furthest off first."""
        written = self.written(self.rows)
        rows = [
            {
                "source": source,
                "written": output,
                "references": references,
                "chrf": round(text.chrf([output], [references]), 2),
            }
            for source, output, references in zip(self.texts, written, self.references, strict=False)
        ]
        self.run.report["written"] = sorted(rows, key=lambda row: row["chrf"])


def scored(written: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """rouge1, rouge2, rougeL (0 to 1), bleu and chrf (0 to 100), and the mean length in words."""
    return {
        **text.rouge(written, references),
        "bleu": text.bleu(written, references),
        "chrf": text.chrf(written, references),
    }
