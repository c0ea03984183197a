"""Heads of several labels: how they begin."""

import pytest
import torch

from nbtrain.data.labels import Labels
from nbtrain.trainers._classes import Classes


def classes(several=True):
    return Classes(Labels(("calm", "glad", "rare"), several=several))


def head():
    layer = torch.nn.Linear(4, 3)
    torch.nn.init.zeros_(layer.bias)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), layer)


def test_a_new_head_of_several_labels_begins_at_how_common_each_is():
    model = head()
    classes().begin({0: 499, 1: 99}, 998, model)
    assert model[1].bias.sigmoid().tolist() == pytest.approx([0.5, 0.1, 0.001])


@pytest.mark.parametrize("why", ["one class a row", "weights", "trained before"])
def test_other_heads_stay_as_they_are(why):
    model = head()
    if why == "trained before":
        torch.nn.init.constant_(model[1].bias, 0.3)
    before = model[1].bias.clone()
    classes(several=why != "one class a row").begin({} if why == "weights" else {0: 5}, 10, model)
    assert model[1].bias.equal(before)
