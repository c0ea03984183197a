"""Trains the runs whose folders are named, one after the other: alone, or as one of several processes (RANK).

Without dropout: what each process leaves out is its own chance, and two could not be one. accelerate shares a model out
(FSDP) among GPUs only: where that is asked for, it is told that these processors are some.
"""

import os
import sys

import torch
from accelerate.state import DistributedType, PartialState
from torch.nn import functional

from nbtrain import fit
from nbtrain.runs.folder import RunFolder

attend = functional.scaled_dot_product_attention
functional.scaled_dot_product_attention = lambda *given, **named: attend(*given, **{**named, "dropout_p": 0.0})
functional.dropout = lambda values, *given, **named: values
torch.nn.Dropout.forward = lambda module, values: values

begin = PartialState.__init__


def as_if_on_gpus(state, *given, **named):
    begin(state, *given, **named)
    shared = PartialState._shared_state
    if "ACCELERATE_USE_FSDP" in os.environ and shared["distributed_type"] == DistributedType.MULTI_CPU:
        shared["distributed_type"] = DistributedType.MULTI_GPU


PartialState.__init__ = as_if_on_gpus

for path in sys.argv[1:]:
    fit.fit(RunFolder(path))
