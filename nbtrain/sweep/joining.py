"""`sweep-worker URL`: another machine, or another process of this one, takes part in a sweep that goes on."""

from __future__ import annotations

import json
import os
import platform
from typing import Any

from nbtrain import __version__, trainers
from nbtrain.errors import DataError, ParamError, RunError
from nbtrain.params import Params
from nbtrain.params.tokens import take
from nbtrain.sweep.storage import check_url, known, shown

USAGE = "URL [--study NAME] [--workers N] [--data-path PATH] [--project-name NAME]"
_VALUED = ("--study", "--workers", "--data-path", "--project-name")


def joined(tokens: list[Any]) -> Params:
    """The parameters with which this machine takes part: those of the sweep, with a folder of its own.

    Args:
        tokens: what follows the verb.

    Raises:
        ParamError: the words are wrong, or there is no such sweep. RunError: the storage cannot be opened, or the
            sweep was made by another version. DataError: its data is not here.
    """
    own, rest = take(tokens, valued=_VALUED)
    if len(rest) != 1 or "://" not in str(rest[0]):
        raise ParamError(f"sweep-worker needs the URL of a storage: sweep-worker {USAGE}")
    url = str(rest[0])
    check_url(url)
    name, about = known(url, own.get("--study"))
    if about.get("nbtrain") != __version__ or "room" not in about:
        made = about.get("nbtrain", "something else than nbtrain")
        what = f"the sweep {name} in {shown(url)} was made by {made}; this is {__version__}"
        raise RunError(what, fix="use the same version on all machines")
    values = json.loads(about["params"])
    data = own.get("--data-path") or values.get("data_path")
    if isinstance(data, str) and os.path.isabs(data) and not os.path.exists(data):
        what = f"the data of the sweep {name} is not on this machine: {data}"
        raise DataError(what, fix="copy it there, or say where it is here: --data-path PATH")
    place = own.get("--project-name") or os.path.join("runs", f"{name}-{platform.node() or 'worker'}")
    values |= {"sweep_storage": url, "sweep_study": name, "project_name": place}
    values |= {"data_path": data} if data is not None else {}
    values |= {"sweep_workers": own["--workers"]} if "--workers" in own else {}
    return trainers.load(about["room"]).Params.read(values)[0]
