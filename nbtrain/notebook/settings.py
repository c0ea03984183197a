"""What can be set of the extension: `%config NBTrain` lists it, `%config NBTrain.refresh = 1` sets it."""

from __future__ import annotations

from traitlets import Bool, Float, Unicode
from traitlets.config.configurable import Configurable


class NBTrain(Configurable):
    """Settings of nbtrain in this notebook."""

    refresh = Float(0.25, min=0.05, help="Shortest time between two drawings of the live view, in seconds.").tag(
        config=True
    )
    runs_folder = Unicode(".", help="The folder below which runs are made and found.").tag(config=True)
    standby = Bool(True, help="Keep a worker ready that has its imports done, so that a run starts sooner.").tag(
        config=True
    )
