"""The cross entropy of flat rows in one array of logits: its gradient is written over them.

transformers' own loss holds several arrays of the size of the logits at once: a copy in float32, their logarithms, the
gradient. With a vocabulary of 150,000 that is most of the memory of a small model's step.
"""

from __future__ import annotations

from functools import cache
from typing import Any

ON_CPU, ON_GPU = 1 << 22, 1 << 25  # logits that are worked on at once: on a CPU what its caches hold


def use(model: Any) -> None:
    """Have `model` (without an adapter) take this loss for flat rows; other batches have their own as before."""
    from transformers.loss.loss_utils import ForCausalLMLoss

    if model.loss_function is ForCausalLMLoss:
        model.loss_function = of_flat_rows


def of_flat_rows(
    logits: Any, labels: Any, vocab_size: int, *, shift_labels: Any = None, num_items_in_batch: Any = None, **given: Any
) -> Any:
    """As transformers' ForCausalLMLoss; of flat rows, the logits hold their gradient afterwards.

    Args:
        logits: (..., vocabulary) float.
        shift_labels: (...) the token that follows at each position, all of them trained: so flat rows are made.
        num_items_in_batch: by which the sum is divided; None: their number.
    """
    from transformers.loss.loss_utils import ForCausalLMLoss

    if shift_labels is None:
        return ForCausalLMLoss(logits, labels, vocab_size, num_items_in_batch=num_items_in_batch, **given)
    count = shift_labels.numel() if num_items_in_batch is None else num_items_in_batch
    total = _function().apply(logits, shift_labels)
    return total / (count.to(total.device) if hasattr(count, "to") else count)


@cache
def _function() -> Any:
    import torch

    class CrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: Any, targets: Any) -> Any:
            rows, wanted = logits.view(-1, logits.shape[-1]), targets.reshape(-1, 1)
            total = torch.zeros((), device=logits.device)
            step = max(1, (ON_GPU if logits.is_cuda else ON_CPU) // rows.shape[1])
            for start in range(0, len(rows), step):
                part, token = rows[start : start + step], wanted[start : start + step]
                scores = part.float()  # float32 stays where it is
                whole = scores.logsumexp(-1, keepdim=True)
                total += (whole - scores.gather(1, token)).sum()
                if ctx.needs_input_grad[0]:
                    slope = scores.sub_(whole).exp_()
                    slope.scatter_add_(1, token, slope.new_full((1, 1), -1.0).expand(len(token), 1))
                    if slope.dtype != part.dtype:
                        part.copy_(slope)
            ctx.slope = logits
            return total

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, factor: Any) -> Any:
            slope, ctx.slope = ctx.slope, None
            return slope.mul_(factor), None

    return CrossEntropy
