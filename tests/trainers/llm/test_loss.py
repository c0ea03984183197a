"""The loss that is written over its logits is torch's cross entropy, and so is its gradient."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.loss.loss_utils import ForCausalLMLoss

from nbtrain.trainers.llm import _loss


def of(count, words, dtype=torch.float32, spread=3.0):
    chance = torch.Generator().manual_seed(0)
    scores = (spread * torch.randn(1, count, words, generator=chance)).to(dtype)
    return scores, torch.randint(words, (1, count), generator=chance)


def slope_of(loss, scores):
    start = scores.clone().requires_grad_()
    found = loss(start * 1.0)  # of a leaf nothing may be written over
    (3 * found).backward()  # as accumulation and fp16 scale it
    return found.item(), start.grad


@pytest.mark.parametrize("items", [None, 7, torch.tensor(7)])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 8e-3), (torch.float16, 1e-3)])
def test_loss_and_gradient_are_those_of_torch(monkeypatch, dtype, near, items):
    monkeypatch.setattr(_loss, "ON_CPU", 200)  # so that there are several parts
    scores, tokens = of(23, 50, dtype)
    ours, slope = slope_of(
        lambda logits: _loss.of_flat_rows(logits, None, 50, shift_labels=tokens, num_items_in_batch=items), scores
    )
    count = 23 if items is None else 7

    def torchs(logits):
        return cross_entropy(logits.float()[0], tokens[0], reduction="sum") / count

    wanted, gradient = slope_of(torchs, scores)
    assert ours == pytest.approx(wanted, rel=1e-6)
    assert (slope - gradient).norm() <= near * gradient.norm()


def test_scores_that_are_large_do_not_overflow():
    scores, tokens = of(5, 8, spread=1e4)
    loss, slope = slope_of(lambda logits: _loss.of_flat_rows(logits, None, 8, shift_labels=tokens), scores)
    assert loss == pytest.approx(cross_entropy(scores[0], tokens[0]).item(), rel=1e-6)
    assert slope.isfinite().all()


def test_the_gradient_stands_where_the_logits_stood():
    scores, tokens = of(6, 9)
    logits = scores.clone().requires_grad_() * 1.0
    seen = []
    logits.register_hook(lambda slope: seen.append(slope.data_ptr()))
    _loss.of_flat_rows(logits, None, 9, shift_labels=tokens).backward()
    assert seen == [logits.data_ptr()]


def test_without_a_gradient_the_logits_stay():
    scores, tokens = of(6, 9)
    before = scores.clone()
    with torch.no_grad():
        _loss.of_flat_rows(scores, None, 9, shift_labels=tokens)
    assert torch.equal(scores, before)


def test_padded_batches_have_the_loss_they_had():
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    )
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
    batch = {"input_ids": ids, "labels": ids.masked_fill(ids == 0, -100), "attention_mask": (ids != 0).long()}
    before = model(**batch).loss
    _loss.use(model)
    assert model.loss_function is _loss.of_flat_rows
    assert torch.equal(model(**batch).loss, before)


def test_a_loss_of_another_kind_is_left_alone():
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    )
    model.loss_function = other = lambda *given, **named: ForCausalLMLoss(*given, **named)
    _loss.use(model)
    assert model.loss_function is other
