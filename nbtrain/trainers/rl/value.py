"""What a policy expects of itself: a value before each token.

The head reads the policy's own last hidden state (a shared trunk): a model and its gradients are then in memory once,
and each step is one pass instead of two. It begins at zero, so that the first advantages are the returns themselves.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple


class Read(NamedTuple):
    """Of one pass. logits: (rows, time, tokens) before each token. values: (rows, time); None without a head."""

    logits: Any
    values: Any


def value_head(model: Any) -> Any:
    """A linear layer on the model's last hidden state, in float32, on the model's device."""
    import torch

    width = model.get_output_embeddings().in_features
    head = torch.nn.Linear(width, 1, device=next(model.parameters()).device, dtype=torch.float32)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return head


def read(model: Any, ids: Any, attention: Any, start: int, head: Any = None) -> Read:
    """What the model says before each token from `start` on.

    Args:
        ids: (rows, start + time) tokens. attention: the same shape, 1 where there is one.
        head: as `value_head` gives it.
    """
    import torch

    positions = (attention.cumsum(1) - 1).clamp(min=0)
    given = {"input_ids": ids, "attention_mask": attention, "use_cache": False}
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    accepted = inspect.signature(bare.forward).parameters
    if "position_ids" in accepted:
        given["position_ids"] = positions
    time = ids.shape[1] - start
    if "logits_to_keep" in accepted:
        given["logits_to_keep"] = time + 1  # the logits of a long prompt are most of the memory
    seen: list[Any] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    try:
        logits = model(**given).logits[:, -time - 1 : -1]
    finally:
        hook.remove()
    if head is None:
        return Read(logits.float(), None)
    with torch.autocast(ids.device.type, enabled=False):  # half the digits are too few for a value
        values = head(seen[0][:, -time - 1 : -1].float()).squeeze(-1)
    return Read(logits.float(), values)
