"""A model of which each process holds a part (FSDP): whole again at the end, to be measured, saved and opened."""

from __future__ import annotations

from typing import Any


def is_in_parts(trainer: Any) -> bool:
    """Whether no process will have the whole model while `trainer` trains."""
    return bool(getattr(trainer, "is_fsdp_enabled", False))


def make_whole(model: Any) -> None:
    """Put the parts of `model` together, in its place; all processes call it, and each then has an ordinary model.

    torch has `fully_shard`, and nothing that takes it back: its hooks and its class are taken off here, so that a
    forward pass of one process asks no other.
    """
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor
    from torch.nn import Parameter

    whole: dict[int, Any] = {}  # a weight that has two names stays one
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if isinstance(weight, DTensor):
                if id(weight) not in whole:
                    whole[id(weight)] = Parameter(weight.detach().full_tensor(), weight.requires_grad)
                module._parameters[name] = whole[id(weight)]
    for module in model.modules():
        if isinstance(module, FSDPModule):
            state = module._get_fsdp_state()
            state._pre_forward_hook_handle.remove()
            state._post_forward_hook_handle.remove()
            module.__class__ = type(module).__bases__[1]  # (FSDPModule, what it was)
