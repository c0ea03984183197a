"""Trains the runs whose folders are named, one after the other: alone, or as one of several processes (RANK)."""

import sys

from nbtrain import fit
from nbtrain.runs.folder import RunFolder

for path in sys.argv[1:]:
    fit.fit(RunFolder(path))
