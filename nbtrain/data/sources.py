"""What a data_path means: which files, or which data set of the hub, and which splits they make."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.data import archives, formats
from nbtrain.errors import DataError, nearest

if TYPE_CHECKING:
    from datasets import Dataset

DEMO = Path(__file__).parent / "demo" / "sft.jsonl"
"""The built-in data of a room that has none of its own, which would be a file or folder of its name beside this one."""
TRAIN = ("train", "training")
VALID = ("validation", "valid", "val", "dev", "eval", "test", "testing")  # in the order in which they are taken
_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")
# what stands beside data and is none
_BESIDE = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "package.json"}


@dataclass(frozen=True)
class Found:
    """A source. splits: name to its files, or to a data set that is one already. origin: the source in words."""

    splits: Mapping[str, Sequence[Path] | Dataset]
    origin: str
    notices: list[str] = field(default_factory=list)

    def split(self, name: str, flag: str) -> Any:
        """What a split holds.

        Args:
            flag: by which it is named.

        Raises:
            DataError: there is no such split; those there are and the nearest are told.
        """
        if name not in self.splits:
            known = ", ".join(self.splits)
            what = f"{self.origin} has no split {name!r}; it has {known}.{nearest(name, self.splits)}"
            raise DataError(what, fix=f"Set {flag} to one of them.")
        return self.splits[name]

    def held_out(self, params: Any) -> str | None:
        """The split to evaluate on, None where there is none.

        Raises:
            DataError: it is the one that is trained on.
        """
        name: str | None = params.valid_split or next((word for word in VALID if word in self.splits), None)
        if name and name == params.train_split:
            what = f"--train-split and --valid-split are both {name!r}: the loss would be measured on rows trained on."
            raise DataError(what, fix="Name another split, or none: a part is held out then.")
        return name


def find(source: str, cache: Path, token: str | None = None, *, room: str = "", streams: bool = False) -> Found:
    """Find what `source` names: demo, a file, a folder, a glob, an archive, or a data set of the hub.

    Args:
        source: as the user gave it.
        cache: where archives are extracted.
        token: of the hub.
        room: whose demo is meant.
        streams: whether nothing may be written: a data set of the hub is then one that is read from there.

    Raises:
        DataError: there is no such thing, or nothing in it that can be read.
    """
    if source == "demo":
        return _demo(room, cache)
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, source)
    if path.is_file() and streams and archives.is_archive(path):
        what, why = f"{source} cannot be streamed.", "the files of an archive are read when it is unpacked to the disk"
        raise DataError(what, why=why, fix="Unpack it and give the folder, or leave --stream out.")
    if path.is_file():
        return _folder(archives.extract(path, cache), source) if archives.is_archive(path) else _file(path, source)
    if glob.has_magic(source):
        files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(name)]
        return Found(by_split(_readable(files, source), Path()), source)
    if _HUB.fullmatch(source) and not formats.suffix(path) and not archives.is_archive(path):
        return _hub(source, token, streams)
    beside = sorted(item.name for item in path.parent.iterdir()) if path.parent.is_dir() else []
    what = f"There is no file or folder {source}.{nearest(path.name, beside)}"
    raise DataError(what, where=f"working directory {Path.cwd()}", fix="Give --data-path a file, a folder or a hub id.")


def own_demo(room: str) -> Path | None:
    """The built-in data of this room; None where it has none of its own."""
    return next(DEMO.parent.glob(f"{room.replace('-', '_')}*"), None) if room else None


def _demo(room: str, cache: Path) -> Found:
    own = own_demo(room)
    if own is None:
        return Found({"train": [DEMO]}, "demo: short instructions and answers, built in")
    return replace(find(str(own), cache), origin=f"demo: {own.name}, built in")


def _file(path: Path, source: str) -> Found:
    if not formats.suffix(path):
        known = ", ".join([*formats.FORMATS, *archives.ENDINGS])
        raise DataError(f"{source} ends in {path.suffix or 'nothing'}; what can be read ends in {known}.")
    found = re.search(r"(?<![a-z])(train|training)(?![a-z])", path.name, re.IGNORECASE)
    if found:
        for word in VALID:
            sibling = path.with_name(path.name[: found.start()] + word + path.name[found.end() :])
            if sibling.is_file():
                return Found({"train": [path], word: [sibling]}, source, [f"{sibling.name} is the {word} split."])
    return Found({"train": [path]}, source)


def _folder(folder: Path, source: str) -> Found:
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        return _saved(folder, source)
    # links to files count: a snapshot in the hub's cache is a folder of them (archives may hold none)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    shown = [path for path in files if not any(_is_hidden(part) for part in path.relative_to(folder).parts)]
    return Found(by_split(_readable(shown, source), folder), source)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _saved(folder: Path, source: str) -> Found:
    """A folder that `save_to_disk` of datasets wrote."""
    import datasets

    try:
        content = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise DataError(f"{source} is a saved data set that cannot be opened.", why=str(error)) from None
    return Found(dict(content) if isinstance(content, dict) else {"train": content}, source)


def _readable(files: Iterable[Path], source: str) -> list[Path]:
    """The data files among them, all of one format."""
    by_format: dict[str, list[Path]] = {}
    for path in files:
        if formats.suffix(path) and path.name not in _BESIDE:
            by_format.setdefault(formats.suffix(path), []).append(path)
    if len(by_format) > 1:
        by_format.pop(".txt", None)  # README.txt, LICENSE.txt
    if not by_format:
        raise DataError(f"{source} has no file that can be read: {', '.join(formats.FORMATS)}.")
    if len(by_format) > 1:
        names = [f"{ending} ({', '.join(path.name for path in paths[:3])})" for ending, paths in by_format.items()]
        raise DataError(f"{source} holds several formats: {'; '.join(names)}.", fix="Give one file, or a glob: *.jsonl")
    return next(iter(by_format.values()))


def by_split(files: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    """Files by the first split word in their folders and name; files without one are train."""
    splits: dict[str, list[Path]] = {}
    for path in files:
        words = re.findall(r"[a-z]+", str(path.relative_to(root) if path.is_relative_to(root) else path.name).lower())
        name = next((word for word in words if word in TRAIN or word in VALID), "train")
        splits.setdefault("train" if name in TRAIN else name, []).append(path)
    return splits


def _hub(source: str, token: str | None, streams: bool) -> Found:
    import datasets

    name, _, config = source.partition(":")
    try:
        content: Any = datasets.load_dataset(name, config or None, token=token, streaming=streams)
    except Exception as error:
        offline = datasets.config.HF_HUB_OFFLINE or isinstance(error, ConnectionError)
        why = "the hub cannot be reached (offline)" if offline else str(error).strip().split("\n")[0]
        what = f"{source} is no file or folder here, and it was not found on the hub."
        fix = "Check the spelling and the network; give name:config where there are several; log in if it is gated."
        raise DataError(what, where=f"working directory {Path.cwd()}", why=why, fix=fix) from None
    return Found(dict(content), f"{source} of the hub")
