"""The share of each process: every row once, and as much weight for any of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

from nbtrain.runs import ranks
from nbtrain.trainers import _shares


def as_rank(monkeypatch, number, count):
    monkeypatch.setenv("WORLD_SIZE", str(count))
    monkeypatch.setenv("RANK", str(number))
    ranks.begin()


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 40), count=st.integers(2, 5), size=st.integers(1, 4))
def test_each_row_is_one_processs_unless_there_are_fewer_rows_than_processes(rows, count, size):
    with pytest.MonkeyPatch.context() as monkeypatch:
        shares = []
        for number in range(count):
            as_rank(monkeypatch, number, count)
            shares.append(list(_shares.Share(BatchSampler(SequentialSampler(range(rows)), size * count, False))))
    assert len({len(batches) for batches in shares}) == 1  # one that had fewer steps would let the others wait
    for step in zip(*shares, strict=True):
        assert all(step), "a process without rows"
        if len({tuple(part) for part in step}) > 1:
            assert max(map(len, step)) - min(map(len, step)) <= 1 and max(map(len, step)) <= size
    taken = [row for step in zip(*shares, strict=True) for part in dict.fromkeys(map(tuple, step)) for row in part]
    assert taken == list(range(rows))


def test_a_share_is_what_accelerate_takes_for_a_batch_sampler(monkeypatch):
    as_rank(monkeypatch, 1, 2)
    share = _shares.Share(BatchSampler(SequentialSampler(range(10)), 4, True))
    assert (len(share), share.batch_size, list(share)) == (2, 4, [[2, 3], [6, 7]])
    share.sampler = RandomSampler(range(10), generator=torch.Generator().manual_seed(0))
    assert share.batch_sampler.sampler is share.sampler
    assert sorted(row for batch in share for row in batch) != [2, 3, 6, 7]


@pytest.mark.parametrize(
    ("labels", "items"),
    [
        (torch.tensor([[5, -100, -100], [5, 6, -100]]), 3),
        (torch.tensor([1, 0]), 2),
        (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 2),
        (None, 2),
    ],
    ids=["a label a token", "a class a row", "several classes a row", "none"],
)
def test_a_loss_is_a_mean_of_labels_or_of_rows(labels, items):
    assert _shares._items(labels, 2) == items
