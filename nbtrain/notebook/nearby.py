"""What lies at hand and may be meant: models in the hub's cache, runs in variables, files, the columns of a file."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_HEAD = 1 << 20  # bytes that are read of a file for its columns
_MOST = 200  # files of a folder


def models(names: Mapping[str, Any] | Iterable[str] = ()) -> list[str]:
    """The variables among `names` that hold a run, as `{name}`, and the models in the hub's cache."""
    run = getattr(sys.modules.get("nbtrain.run"), "Run", None)
    variables = names.items() if run and isinstance(names, Mapping) else ()
    held = [f"{{{name}}}" for name, value in variables if isinstance(value, run) and not name.startswith("_")]
    home = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface"), "hub")
    cached: list[str] = []
    with suppress(OSError):
        folders = [each for each in os.listdir(Path(home).expanduser()) if each.startswith("models--")]
        cached = sorted(each.removeprefix("models--").replace("--", "/") for each in folders)
    return [*held, *cached]


def files(fragment: str) -> list[str]:
    """The files and folders whose path begins with `fragment`."""
    place, name = os.path.split(fragment)
    with suppress(OSError), os.scandir(os.path.expanduser(place or ".")) as entries:
        shown = [each for each in entries if each.name.startswith(name) and (name or not each.name.startswith("."))]
        return sorted(os.path.join(place, each.name) + ("/" if each.is_dir() else "") for each in shown)[:_MOST]
    return []


def columns(source: str) -> list[str]:
    """The columns of a file, from its beginning; none where they cannot be told quickly."""
    path = Path(source).expanduser()
    with suppress(OSError, ValueError, ImportError, csv.Error):
        if path.suffix == ".parquet":
            import pyarrow.parquet

            return list(pyarrow.parquet.read_schema(path).names)
        if path.suffix in (".csv", ".tsv", ".jsonl"):
            with open(path, encoding="utf-8-sig", newline="") as file:
                first = file.readline(_HEAD)
            if path.suffix == ".jsonl":
                return list(json.loads(first))
            return next(csv.reader([first], delimiter="\t" if path.suffix == ".tsv" else ","), [])
    return []
