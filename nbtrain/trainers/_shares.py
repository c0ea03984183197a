"""A Trainer in several processes, each with its share of a step's rows: the losses of one process that has them all.

transformers would fill the last batch of an epoch up with rows of the first, weigh the processes' means alike however
many rows each is of, and let each process measure a part of the held-out rows. Here every row is trained once an epoch,
counts as much as any other, and each process measures all held-out rows, so that all decide alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nbtrain.runs import ranks

IGNORED = -100  # a label that no loss counts
ROWS = "rows"  # of a batch of this process, beside its tensors


def spread(trainer: Any) -> None:
    """Let `trainer` train with the other processes."""
    accelerator = trainer.accelerator

    def whole(loader: Any, device_placement: bool | None = None, **_: Any) -> Any:
        """As accelerate prepares a loader for one process."""
        from accelerate.data_loader import prepare_data_loader

        prepared = prepare_data_loader(
            loader,
            accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=accelerator.device_placement if device_placement is None else device_placement,
            rng_types=[],
            use_seedable_sampler=accelerator.use_seedable_sampler,
            data_seed=accelerator.dataloader_config.data_seed,
            non_blocking=accelerator.non_blocking,
        )
        accelerator._dataloaders.append(prepared)
        return prepared

    def shared(loader: Any, *given: Any, **named: Any) -> Any:
        return whole(_shared(loader), *given, **named)

    def to_train() -> Any:
        accelerator.prepare_data_loader = shared
        try:
            return get_train_dataloader()
        finally:
            accelerator.prepare_data_loader = whole

    get_train_dataloader = trainer.get_train_dataloader
    trainer.get_train_dataloader, accelerator.prepare_data_loader = to_train, whole
    _weigh(trainer)


class Share:
    """The rows of this process, of batches that are as large as all processes together take them.

    Args:
        batch_sampler: gives those batches, the same in each process; by this name accelerate finds it.
    """

    def __init__(self, batch_sampler: Any) -> None:
        self.batch_sampler = batch_sampler

    @property
    def sampler(self) -> Any:
        """What gives the rows, one by one; accelerate puts one of its own there."""
        return self.batch_sampler.sampler

    @sampler.setter
    def sampler(self, sampler: Any) -> None:
        self.batch_sampler.sampler = sampler

    @property
    def batch_size(self) -> int:
        """Rows of all processes."""
        return int(self.batch_sampler.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        return map(part, self.batch_sampler)

    def __len__(self) -> int:
        return len(self.batch_sampler)


def part(batch: list[int]) -> list[int]:
    """This process's part of a batch: as many rows as any other's, or one more.

    Fewer rows than processes go to each of them: the mean of equal means is that of the rows, and a process without
    any would let the others wait.
    """
    count, number = ranks.count(), ranks.number()
    if len(batch) < count:
        return batch
    return batch[len(batch) * number // count : len(batch) * (number + 1) // count]


def _shared(loader: Any) -> Any:
    """The loader, its batches as large as all processes together take them, with this one's share of each."""
    from torch.utils.data import DataLoader

    loader.batch_sampler.batch_size *= ranks.count()
    collate = loader.collate_fn
    return DataLoader(
        loader.dataset,
        batch_sampler=Share(loader.batch_sampler),
        collate_fn=lambda examples: {**collate(examples), ROWS: len(examples)},
        pin_memory=loader.pin_memory,
    )


def _weigh(trainer: Any) -> None:
    """Let each row count alike, or each label, where the loss is the mean of those of a batch.

    One over the tokens of a step is divided by those of all processes already.
    """
    step, compute, gather = trainer.training_step, trainer.compute_loss, trainer.accelerator.gather
    weight, uneven = 1.0, False
    knows_tokens = trainer.args.average_tokens_across_devices and bool(
        trainer.model_accepts_loss_kwargs or trainer.compute_loss_func
    )

    def weighed(model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        nonlocal weight, uneven
        rows, weight = inputs.pop(ROWS), 1.0
        if knows_tokens and num_items_in_batch is not None:
            return step(model, inputs, num_items_in_batch)
        here = _items(inputs.get("labels"), rows)
        all_rows, everywhere = zip(*ranks.each((rows, here)), strict=True)
        weight, uneven = here * len(everywhere) / max(sum(everywhere), 1), len(set(all_rows)) > 1
        try:
            return step(model, inputs, num_items_in_batch)
        finally:
            uneven = False

    def loss(model: Any, inputs: Mapping[str, Any], *rest: Any, **named: Any) -> Any:
        found = compute(model, inputs, *rest, **named)
        if not model.training:
            return found
        return (found[0] * weight, *found[1:]) if isinstance(found, tuple) else found * weight

    def gathered(values: Any, *rest: Any, **named: Any) -> Any:
        return _joined(values) if uneven else gather(values, *rest, **named)

    trainer.training_step, trainer.compute_loss = weighed, loss
    trainer.accelerator.gather = gathered


def _joined(values: Any) -> Any:
    """The values of each process, which are not as many in each: accelerate joins as many of each only."""
    from torch import cat

    return cat([each.reshape(-1, *each.shape[1:]) for each in ranks.each(values.detach().cpu())]).to(values.device)


def _items(labels: Any, rows: int) -> int:
    """What the loss of a batch is a mean of: a label of each token, where rows have such, else one of each row."""
    of_tokens = getattr(labels, "ndim", 0) == 2 and not labels.is_floating_point()
    return int((labels != IGNORED).sum()) if of_tokens else rows


Step = Callable[..., Any]


def synced_once(trainer: Any, step: Step, model: Any, parts: list[Any], *rest: Any) -> Any:
    """The sum of `step` over the parts of a batch; the processes add up their gradients at the last of them only."""
    *first, last = parts
    found = 0.0
    for each in first:
        with trainer.accelerator.no_sync(model):
            found = found + step(model, each, *rest)
    return found + step(model, last, *rest)
