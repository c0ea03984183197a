"""What a data_path means to a room of pictures: class folders, a table beside pictures, pictures inside a table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.data import archives, formats, sources
from nbtrain.data.arrows import Writer
from nbtrain.data.images import ENDINGS
from nbtrain.data.read import Splits, read
from nbtrain.data.values import placed
from nbtrain.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

Rows = Iterator[dict[str, Any]]
Other = Callable[[Path, Path], "sources.Found | None"]
"""(folder or file, cache): what another layout finds there, None where it is not that layout."""
Classes = Callable[["Dataset"], Sequence[Any]]

_SPLITS = (*sources.TRAIN, *sources.VALID)
_BATCH = 1_000
_HOLDING = {"content", "value", "image", "path", "url", "image_url"}
"""Keys of messages, and of their parts, below which a picture may be named."""


def pictures(params: Any, cache: Path, *, other: Other | None = None, by: Classes | None = None) -> Splits:
    """The rows of `params.data_path`; pictures stay where they are, and rows hold their whole paths or their bytes.

    Args:
        params: as `read.read` reads them.
        other: a layout that is tried first.
        by: gives the class of each row, for what is held out.

    Raises:
        DataError: as `read.read`, or a name that stands for pictures in two folders.
    """
    source, called = placed(params.data_path, cache)
    demo = source == "demo"
    called = "demo, built in" if demo else called
    found, index = _found(str(sources.own_demo(params.room)) if demo else source, cache, params.token, other)
    splits = read(params, cache, found=replace(found, origin=called) if called else found, by=by)
    train, valid = (part and _located(part, index) for part in (splits.train, splits.valid))
    return replace(splits, train=train, valid=valid)


def written(rows: Rows, cache: Path, key: str) -> Dataset | None:
    """Rows as one Arrow file in the cache, used again while `key` is the same; None where there are none."""
    from datasets import Dataset

    target = cache / f"pictures-{hashlib.sha256(key.encode()).hexdigest()[:16]}.arrow"
    if not target.exists():
        with Writer(target) as writer:
            batch: list[dict[str, Any]] = []
            for row in rows:
                batch.append(row)
                if len(batch) == _BATCH:
                    writer.rows(batch)
                    batch = []
            if batch:
                writer.rows(batch)
    return Dataset.from_file(str(target)) if target.exists() else None


def shown(folder: Path) -> Iterator[Path]:
    """The files below a folder, sorted; nothing hidden, nothing that a Mac left in an archive."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def split_of(parts: Iterable[str]) -> str:
    """The split that names of folders speak of, train where none does."""
    named = next((part.lower() for part in parts if part.lower() in _SPLITS), "train")
    return "train" if named in sources.TRAIN else named


def _found(source: str, cache: Path, token: str | None, other: Other | None) -> tuple[sources.Found, _Index]:
    """What there is, and where its pictures are looked for."""
    path = Path(source).expanduser()
    if path.is_file() and archives.is_archive(path):
        path = archives.extract(path, cache)
    # a folder is searched as a whole; what lies below a file's folder may be all that its owner has
    index = _Index([path], below=path) if path.is_dir() else _Index([path.parent, path.parent / "images", Path.cwd()])
    if path.exists() and other and (found := other(path, cache)):
        return replace(found, origin=source), index
    if path.is_dir():
        return replace(_folder(path, cache), origin=source), index
    return sources.find(source, cache, token), index


def _folder(folder: Path, cache: Path) -> sources.Found:
    saved = (folder / "dataset_dict.json").exists() or (folder / "state.json").exists()
    if saved or any(formats.suffix(path) not in ("", ".txt") for path in shown(folder)):
        return sources.find(str(folder), cache)
    files = [path for path in shown(folder) if path.suffix.lower() in ENDINGS]
    if not files:
        raise DataError(f"{folder} has no pictures and no table.", fix=f"Pictures end in {', '.join(ENDINGS)}.")
    if all(path.parent == folder for path in files):
        what = f"{folder} has pictures and nothing that says what they show."
        fix = "Put each into a folder named as its class, or add metadata.jsonl with file_name and label."
        raise DataError(what, fix=fix)
    splits: dict[str, list[Path]] = {}
    for path in files:
        splits.setdefault(split_of(path.relative_to(folder).parts[:-1][:2]), []).append(path)
    rows = {name: written(_by_folder(paths), cache, key_of(paths)) for name, paths in splits.items()}
    return sources.Found(dict(rows), str(folder))


def _by_folder(files: Sequence[Path]) -> Rows:
    return ({"image": str(path.resolve()), "label": path.parent.name} for path in files)


def key_of(files: Sequence[Path]) -> str:
    return repr([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files])


class _Index:
    """Finds pictures by the names that a table gives them.

    Args:
        roots: folders that names are relative to, the likeliest first.
        below: a folder that is searched as a whole where a name is in none of them.
    """

    def __init__(self, roots: Sequence[Path], below: Path | None = None) -> None:
        self.roots, self.below = roots, below
        self._known: dict[str, list[Path]] | None = None

    def find(self, name: str) -> str:
        """The whole path; the name as it stands where there is no such picture.

        Raises:
            DataError: two folders have a picture of that name.
        """
        if not name or "://" in name or "\0" in name:
            return name
        for root in self.roots:
            path = root / Path(name).expanduser()
            if path.is_file():
                return str(path.resolve())
        found = self._named().get(os.path.basename(name), [])
        if len(found) > 1:
            what = f"The picture {name} is in {len(found)} folders: {found[0].parent}, {found[1].parent} ..."
            raise DataError(what, fix="Write paths as seen from the folder that was given.")
        return str(found[0].resolve()) if found else name

    def _named(self) -> dict[str, list[Path]]:
        if self._known is None:
            self._known = {}
            for path in shown(self.below) if self.below else ():
                if path.suffix.lower() in ENDINGS:
                    self._known.setdefault(path.name, []).append(path)
        return self._known


def _located(rows: Dataset, index: _Index) -> Dataset:
    """The same rows with whole paths in the columns that hold names of pictures; bytes are not touched."""
    from datasets import Image, List

    for name, kind in list(rows.features.items()):
        if isinstance(kind, Image):  # stays as it is stored: decoded one by one, when it is its turn
            rows = rows.cast_column(name, Image(decode=False))
        elif isinstance(kind, List) and isinstance(kind.feature, Image):
            rows = rows.cast_column(name, List(Image(decode=False)))
        elif _names_pictures(rows, name):
            given = {"column": name, "index": index}
            rows = rows.map(_absolute, fn_kwargs=given, batched=True, features=rows.features)
    return rows


def _names_pictures(rows: Dataset, column: str) -> bool:
    first = rows[: min(len(rows), 20)][column]
    return any(not os.path.isabs(name) for cell in first for name in _names(cell))


def _names(cell: Any) -> Iterator[str]:
    """The names of pictures in a cell: itself, those of a list, those that the parts of messages hold."""
    if isinstance(cell, str):
        if cell.lower().endswith(ENDINGS):
            yield cell
    elif isinstance(cell, list):
        for each in cell:
            yield from _names(each)
    elif isinstance(cell, Mapping) and not cell.get("bytes"):
        for key in _HOLDING & cell.keys():
            yield from _names(cell[key])


def _absolute(batch: Mapping[str, list[Any]], *, column: str, index: _Index) -> dict[str, list[Any]]:
    # in a column of names some may have no ending
    return {column: [index.find(each) if isinstance(each, str) else _whole(each, index) for each in batch[column]]}


def _whole(cell: Any, index: _Index) -> Any:
    """The cell with whole paths in place of names."""
    if isinstance(cell, str):
        return index.find(cell) if cell.lower().endswith(ENDINGS) else cell
    if isinstance(cell, list):
        return [_whole(each, index) for each in cell]
    if isinstance(cell, Mapping) and not cell.get("bytes"):
        return {key: _whole(value, index) if key in _HOLDING else value for key, value in cell.items()}
    return cell
