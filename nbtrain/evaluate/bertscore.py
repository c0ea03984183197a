"""BERTScore: how near the words of a text are to those of its reference, as an encoder sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LAYERS = {
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "bert-base-multilingual-cased": 9,
    "roberta-base": 10,
    "roberta-large": 17,
    "distilbert-base-uncased": 5,
    "xlm-roberta-base": 9,
    "xlm-roberta-large": 17,
    "microsoft/deberta-xlarge-mnli": 40,
    "microsoft/deberta-large-mnli": 18,
}
"""The layer that agrees best with people, by model, as the authors of BERTScore found it."""
USUAL = "roberta-large"
_AT_ONCE = 32  # texts


def bertscore(
    written: Sequence[str],
    references: Sequence[Sequence[str]],
    model: Any,
    tokenizer: Any,
    layer: int | None = None,
) -> dict[str, float]:
    """Means over the texts, without weights for rare words and without rescaling.

    Args:
        references: of each text one or several; the one with the best F1 counts.
        model, tokenizer: of an encoder. layer: whose output is compared; None: the last.

    Returns:
        bertscore_precision, bertscore_recall, bertscore_f1.

    Source: Zhang et al. 2020, arXiv:1904.09675.
    """
    texts = list(dict.fromkeys([*written, *(text for each in references for text in each)]))
    seen = dict(zip(texts, _embedded(texts, model, tokenizer, layer), strict=True))
    scores = [
        max((_scores(seen[text], seen[right]) for right in each), key=lambda score: score[2])
        for text, each in zip(written, references, strict=True)
    ]
    means = [sum(column) / len(scores) for column in zip(*scores, strict=True)]
    return {f"bertscore_{name}": mean for name, mean in zip(("precision", "recall", "f1"), means, strict=True)}


def _embedded(texts: Sequence[str], model: Any, tokenizer: Any, layer: int | None) -> list[tuple[Any, Any]]:
    """Of each text its tokens as (tokens, width) of length 1, and which of them are words, not marks of the ends."""
    import torch

    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512) - 2)
    ends = (tokenizer.cls_token_id, tokenizer.sep_token_id)
    found = []
    for begin in range(0, len(texts), _AT_ONCE):
        some = [text.strip() for text in texts[begin : begin + _AT_ONCE]]
        batch = tokenizer(some, padding=True, truncation=True, max_length=longest, return_tensors="pt").to(model.device)
        with torch.no_grad():
            states = model(**batch, output_hidden_states=True).hidden_states[-1 if layer is None else layer]
        states = torch.nn.functional.normalize(states.float(), dim=-1)
        for state, mask, ids in zip(states, batch["attention_mask"].bool(), batch["input_ids"], strict=True):
            words = torch.tensor([token not in ends for token in ids[mask].tolist()], device=state.device)
            found.append((state[mask], words))
    return found


def _scores(text: tuple[Any, Any], right: tuple[Any, Any]) -> tuple[float, float, float]:
    """Precision, recall and F1: each word is matched with the nearest of the other side."""
    (one, words), (other, others) = text, right
    if not words.any() or not others.any():
        return 0.0, 0.0, 0.0
    near = one @ other.T
    precision = float(near.max(1).values[words].mean())
    recall = float(near.max(0).values[others].mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0
