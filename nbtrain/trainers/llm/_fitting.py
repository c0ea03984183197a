"""How many rows fit into memory at a time (--auto-find-batch-size)."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import Any

from nbtrain.models.load import Precision
from nbtrain.runs import ranks
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.journal import story
from nbtrain.runs.record import Record
from nbtrain.trainers._samples import undisturbed

Collate = Callable[..., Mapping[str, Any]]


def fitted(  # noqa: PLR0913  each is known by the caller only
    params: Any, run: ActiveRun, model: Any, rows: Any, collate: Collate, precision: Precision, facts: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The parameters and the facts with the largest batch size up to --batch-size that fits, for the same steps.

    It is a divisor of the size that was asked for; the longest rows are tried, forward and back, and the model is as it
    was afterwards. A run that goes on keeps the size that it began with: its steps are those of its checkpoint.
    """
    known = Record.of(story(run.folder.events)).facts().get("batch_size") if run.resume_from else None
    # of several processes the one with the least memory decides
    size = int(known) if known else min(ranks.each(_largest(params.batch_size, model, rows, collate, precision)))
    times = params.gradient_accumulation * params.batch_size // size
    if size < params.batch_size and not known:
        run.warn(
            f"{params.batch_size} rows do not fit into memory: {size} are taken at a time, with "
            f"--gradient-accumulation {times} (--auto-find-batch-size). The steps are the same."
        )
    return params.but(batch_size=size, gradient_accumulation=times), {**facts, "batch_size": size}


def _largest(asked: int, model: Any, rows: Any, collate: Collate, precision: Precision) -> int:
    lengths = [len(ids) for ids in rows["input_ids"]]
    longest = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    for size in range(asked, 1, -1):
        if asked % size == 0 and _fits(model, collate([rows[at] for at in longest[:size]]), precision):
            return size
    return 1  # where not even one fits the run itself says so, and what helps


def _fits(model: Any, batch: Mapping[str, Any], precision: Precision) -> bool:
    import torch

    device = next(model.parameters()).device
    placed = {
        name: item.to(device) if hasattr(item, "to") else item for name, item in batch.items() if name != "tokens"
    }
    try:
        with undisturbed(model), torch.enable_grad(), precision.autocast(device.type):
            model.train()
            model(**placed).loss.backward()
        return True
    except (torch.OutOfMemoryError, MemoryError):
        return False
    except RuntimeError as error:
        if "allocate memory" in str(error):  # the CPU's allocator has no exception of its own
            return False
        raise
    finally:
        model.zero_grad(set_to_none=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
