"""The data of a run, read and judged before a model is loaded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from nbtrain import trainers
from nbtrain.params import Params


def check(params: Params) -> Any:
    """What judging every row finds; nothing is trained."""
    with tempfile.TemporaryDirectory(prefix="nbtrain-", ignore_cleanup_errors=True) as cache:
        return "\n".join([*params.notices, *trainers.load(params.room).check(params, Path(cache))])
