"""Flat rows: the documents of a batch stand one behind the other in one row, without padding.

Every layer but attention works on single positions, so nothing changes there; attention runs document by document. The
head sees only the positions that have a label, which spares it the prompts when only answers are trained. The loss and
its gradient are those of the padded batch; `difference` measures it on the model at hand before a run relies on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from nbtrain.trainers.llm import _loss

IGNORED = -100  # the label that torch's cross entropy passes over
NAME = "by_document"
_PARTS = {
    "input_ids", "position_ids", "logits_to_keep", "labels", "shift_labels", "bounds", "cu_seq_lens_q", "cu_seq_lens_k",
    "max_length_q", "max_length_k", "tokens",
}  # fmt: skip
# they change the scores inside the softmax: no kernel used here has them
_NOT_OURS = ("softcap", "position_bias", "s_aux")


class CannotBeFlat(Exception):
    """This model's attention asks for something that is not computed document by document here."""


def attention_by_document(  # noqa: PLR0913  transformers calls it so
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    **given: Any,
) -> tuple[Any, None]:
    """Causal attention inside each document of one flat row.

    Args:
        query: (1, heads, positions, size) float.
        key, value: (1, key heads, positions, size) float; heads is a multiple of key heads.
        attention_mask: None; the documents are in `given`, as the collator made them:
            bounds, (documents + 1,) ints from 0 to positions; cu_seq_lens_q, the same as an int32 tensor on the device.
        scaling: factor of the scores; None: 1 / sqrt(size).

    Returns:
        ((1, positions, heads, size) float, None): no attention weights.

    Raises:
        CannotBeFlat: the attention has a part that is not here.
    """
    bounds = given.get("bounds")
    foreign = [name for name in _NOT_OURS if given.get(name) is not None]
    if bounds is None or foreign or given.get("is_causal") is False:
        raise CannotBeFlat(f"attention with {', '.join(foreign) or 'no documents'}")
    window = given.get("sliding_window")
    kernel = _varlen() if query.is_cuda and not dropout and query.element_size() == 2 else None
    if kernel is not None:
        ends, longest = given["cu_seq_lens_q"], given["max_length_q"]
        rows = (part[0].transpose(0, 1) for part in (query, key, value))
        sides = (-1 if window is None else window - 1, 0)
        return kernel(*rows, ends, ends, longest, longest, scale=scaling, window_size=sides, enable_gqa=True)[
            None
        ], None
    from torch import cat

    found = [
        _attend(query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], scaling, dropout, window)
        for start, end in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    return cat(found, 2).transpose(1, 2).contiguous(), None


def _attend(query: Any, key: Any, value: Any, scaling: float | None, dropout: float, window: int | None) -> Any:
    from torch.nn.functional import scaled_dot_product_attention

    length = query.shape[2]
    mask = None if window is None or length <= window else _band(length, window, query.device)
    shared = {"scale": scaling, "dropout_p": dropout, "enable_gqa": query.shape[1] != key.shape[1]}
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, **shared)


def _band(length: int, window: int, device: Any) -> Any:
    """(length, length) bool: each position sees itself and the `window - 1` before it."""
    import torch

    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)


@cache
def _varlen() -> Any:
    """The kernel for documents of various lengths, None where this torch or this GPU has none."""
    import torch

    try:
        from torch.nn.attention.varlen import varlen_attn

        ends = torch.tensor([0, 4, 8], dtype=torch.int32, device="cuda")
        heads, key_heads = (
            torch.zeros(8, count, 64, dtype=torch.bfloat16, device="cuda", requires_grad=True) for count in (2, 1)
        )
        varlen_attn(heads, key_heads, key_heads, ends, ends, 4, 4, window_size=(2, 0), enable_gqa=True).sum().backward()
    except (ImportError, TypeError, RuntimeError, ValueError):  # an older torch, or a GPU without it
        return None
    return varlen_attn


def rows(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The batch of these examples as one flat row.

    Args:
        examples: "input_ids" and "labels" of equal length, labels -100 where not trained; an example that holds several
            documents has their lengths in "seq_lengths".

    Returns:
        input_ids, position_ids: (1, positions); logits_to_keep: (trained,) positions whose next token is trained;
        labels, shift_labels: (1, trained) those tokens; bounds, cu_seq_lens_q, max_length_q (and _k): where the
        documents are; tokens: all of them, in number.
    """
    import torch

    lengths = [length for example in examples for length in example.get("seq_lengths") or [len(example["input_ids"])]]
    ids = torch.tensor([token for example in examples for token in example["input_ids"]])
    targets = torch.tensor([label for example in examples for label in example["labels"]])
    ends = torch.tensor([0, *lengths]).cumsum(0)
    targets[ends[:-1]] = IGNORED  # the first token of a document is nobody's next
    trained = (targets != IGNORED).nonzero()[:, 0]
    return {
        "input_ids": ids[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "logits_to_keep": trained - 1,
        **_documents(targets[trained][None], ends),
        "tokens": len(ids),
    }


def _documents(labels: Any, ends: Any) -> dict[str, Any]:
    """What a model is told of the documents. labels: (1, trained). ends: (documents + 1,) int, from 0."""
    import torch

    starts, longest = ends.to(torch.int32), int(ends.diff().max())
    return {
        "labels": labels,
        "shift_labels": labels,
        "bounds": ends.tolist(),
        "cu_seq_lens_q": starts,
        "cu_seq_lens_k": starts,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def pieces(batch: Mapping[str, Any], most: int) -> list[Mapping[str, Any]]:
    """The row in pieces of whole documents, each of at most `most` positions where its documents let it be.

    The losses of the pieces, each divided by the number of tokens of all, add up to the row's; what is kept for the
    backward pass is a piece's. Pieces in which nothing is trained are left out.

    Args:
        batch: as `rows` gives it, with or without its "tokens"; one that holds anything else stays whole.
    """
    from torch import tensor

    bounds = batch["bounds"]
    if bounds[-1] <= most or batch.keys() - _PARTS:
        return [batch]
    found, begin = list[Mapping[str, Any]](), 0
    for end in range(1, len(bounds)):
        if end < len(bounds) - 1 and bounds[end + 1] - bounds[begin] <= most:
            continue  # the next document finds room, too
        first, last = bounds[begin], bounds[end]
        kept = (batch["logits_to_keep"] >= first) & (batch["logits_to_keep"] < last)
        if kept.any():
            found.append(
                {
                    "input_ids": batch["input_ids"][:, first:last],
                    "position_ids": batch["position_ids"][:, first:last],
                    "logits_to_keep": batch["logits_to_keep"][kept] - first,
                    **_documents(batch["labels"][:, kept], tensor(bounds[begin : end + 1]) - first),
                }
            )
        begin = end
    return found or [batch]


def padded(examples: Sequence[Mapping[str, Any]], *, pad: int = 0, side: str = "right") -> dict[str, Any]:
    """The batch padded to its longest example: input_ids, attention_mask, labels, each (examples, longest)."""
    import torch

    longest = max(len(example["input_ids"]) for example in examples)

    def fill(values: Sequence[int], blank: int) -> list[int]:
        blanks = [blank] * (longest - len(values))
        return [*values, *blanks] if side == "right" else [*blanks, *values]

    return {
        "input_ids": torch.tensor([fill(example["input_ids"], pad) for example in examples]),
        "attention_mask": torch.tensor([fill([1] * len(example["input_ids"]), 0) for example in examples]),
        "labels": torch.tensor([fill(example["labels"], IGNORED) for example in examples]),
        "tokens": sum(len(example["input_ids"]) for example in examples),
    }


def enable(model: Any) -> None:
    """Let `model` attend document by document.

    Raises:
        CannotBeFlat: it does not let its attention be chosen.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attention_by_document)
    # without this one transformers would build a mask of positions times positions
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
    base = bare(model)
    if not base._can_set_attn_implementation():
        raise CannotBeFlat(f"{type(base).__name__} does not let its attention be chosen")
    base.set_attn_implementation(NAME)
    if base.config._attn_implementation != NAME:
        raise CannotBeFlat(f"{type(base).__name__} kept its own attention")
    _loss.use(base)


def disable(model: Any, implementation: str = "sdpa") -> bool:
    """Take document by document attention away; says whether it was there."""
    base = bare(model)
    flat = base.config._attn_implementation == NAME
    if flat:
        base.set_attn_implementation(implementation)
    return bool(flat)


@contextmanager
def padded_attention(model: Any) -> Iterator[None]:
    """Inside, a model with flat attention takes padded batches and generates."""
    flat = disable(model)
    try:
        yield
    finally:
        if flat:
            bare(model).set_attn_implementation(NAME)


def difference(model: Any) -> float:
    """How far a flat batch is from the padded one: the larger relative difference, of the logits and of the mean loss.

    Three short documents of random tokens, in evaluation mode; leaves model and random state as they were.
    """
    import torch

    vocabulary, device = bare(model).get_input_embeddings().num_embeddings, next(model.parameters()).device
    chance = torch.Generator().manual_seed(0)
    documents = [torch.randint(vocabulary, (length,), generator=chance).tolist() for length in (7, 19, 12)]
    examples = [{"input_ids": ids, "labels": [IGNORED] * 3 + ids[3:]} for ids in documents]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            flat = model(**_placed(rows(examples), device), use_cache=False)
            with padded_attention(model):
                straight = model(**_placed(padded(examples), device), use_cache=False)
    finally:
        model.train(training)
    wanted = torch.cat([straight.logits[row, 2 : len(ids) - 1] for row, ids in enumerate(documents)]).float()
    if flat.logits[0].shape != wanted.shape:
        return float("inf")
    logits = (flat.logits[0].float() - wanted).norm() / wanted.norm()
    loss = (flat.loss - straight.loss).abs() / straight.loss
    return float(torch.stack([logits, loss.float()]).nan_to_num(nan=float("inf")).max())


def _placed(batch: Mapping[str, Any], device: Any) -> dict[str, Any]:
    return {name: item.to(device) if hasattr(item, "to") else item for name, item in batch.items() if name != "tokens"}


def bare(model: Any) -> Any:
    """The model under its adapter."""
    return model.get_base_model() if hasattr(model, "peft_config") else model
