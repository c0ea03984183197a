"""Trains the runs whose folders are named, one after the other: alone, or as one of several processes (RANK).

Without dropout: what each process leaves out is its own chance, and two could not be one.
"""

import sys

import torch
from torch.nn import functional

from nbtrain import fit
from nbtrain.runs.folder import RunFolder

attend = functional.scaled_dot_product_attention
functional.scaled_dot_product_attention = lambda *given, **named: attend(*given, **{**named, "dropout_p": 0.0})
functional.dropout = lambda values, *given, **named: values
torch.nn.Dropout.forward = lambda module, values: values

for path in sys.argv[1:]:
    fit.fit(RunFolder(path))
