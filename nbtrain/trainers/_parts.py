"""A model of which each process holds a part (FSDP): whole again at the end, to be measured, saved and opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def is_in_parts(trainer: Any) -> bool:
    """Whether no process will have the whole model while `trainer` trains."""
    return bool(getattr(trainer, "is_fsdp_enabled", False))


def cut(trainer: Any) -> None:
    """Choose where the model is cut, if its config does not say: its layers, and not what its embeddings are in.

    accelerate cuts those out by themselves, and fails where they are a part of a part (BERT).
    """
    plugin, model = trainer.accelerator.state.fsdp_plugin, trainer.model
    embeddings = model.get_input_embeddings()
    known, around = set(), set()
    for module in model.modules():
        known.add(type(module).__name__)
        if embeddings in module.modules():
            around.add(type(module).__name__)
    kinds = known & set(getattr(model, "_no_split_modules", None) or ()) - around
    if kinds and not plugin.transformer_cls_names_to_wrap:
        plugin.transformer_cls_names_to_wrap = sorted(kinds)


def apart(model: Any) -> None:
    """Each part in its process again: a forward pass leaves some together, which is no state to load or save."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def make_whole(model: Any) -> None:
    """Put the parts of `model` together, in its place; all processes call it, and each then has an ordinary model.

    torch has `fully_shard`, and nothing that takes it back: its hooks and its class are taken off here, so that a
    forward pass of one process asks no other.
    """
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor
    from torch.nn import Parameter

    apart(model)
    whole: dict[int, Any] = {}  # a weight that has two names stays one
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if isinstance(weight, DTensor):
                if id(weight) not in whole:
                    # a copy, because what it gives may still be on its way, and a process that ends would cut it off
                    full = weight.detach().full_tensor().clone()
                    whole[id(weight)] = Parameter(full, weight.requires_grad)
                module._parameters[name] = whole[id(weight)]
    vars(model).pop("generate", None)  # as the Trainer has put it there, it asks the hooks
    for module in model.modules():
        if isinstance(module, FSDPModule):
            for handle in _hooks(module._get_fsdp_state()):
                handle.remove()
            module.__class__ = type(module).__bases__[1]  # (FSDPModule, what it was)


def _hooks(state: Any) -> Iterator[Any]:
    """What `fully_shard` has hung on a module: around its forward pass, and before its state is saved or loaded."""
    yield from (state._pre_forward_hook_handle, state._post_forward_hook_handle)
    if (group := state._fsdp_param_group) is not None:
        yield from group._module_to_pre_save_state_dict_hook_handle.values()
        yield from group._module_to_pre_load_state_dict_hook_handle.values()
