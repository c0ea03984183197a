"""A checkpoint exists when its manifest does, and is good when the manifest is true.

The manifest (sizes and sha256 of every file) is written last, so a checkpoint whose writer was killed has none.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

from nbtrain.errors import TrainingError
from nbtrain.runs.files import atomic_write, sync_file, sync_folder
from nbtrain.runs.folder import RunFolder

MANIFEST = "manifest.json"
SPARE = 1.2  # of the last checkpoint's size must be free before the next: it grows a little with its log
_NAME = re.compile(r"checkpoint-(\d+)")


def commit(path: Path) -> None:
    """Make a folder of files a checkpoint: everything on the disk first, then its manifest.

    Raises:
        OSError: it cannot be written; then it is no checkpoint.
    """
    (path / MANIFEST).unlink(missing_ok=True)
    files = {}
    for file in sorted(path.rglob("*")):
        if file.is_file():
            sync_file(file)
            files[file.relative_to(path).as_posix()] = {"size": file.stat().st_size, "sha256": _sha256(file)}
        elif file.is_dir():
            sync_folder(file)
    sync_folder(path)
    atomic_write(path / MANIFEST, json.dumps({"files": files}, indent=1))
    sync_folder(path.parent)


def faults(path: Path, *, contents: bool = True) -> list[str]:
    """What is not as its manifest says, each in words; none for a good checkpoint.

    Args:
        contents: read every byte; without it a change that keeps the size is not seen.
    """
    try:
        files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
        expected = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except FileNotFoundError:
        return [f"{path.name} has no {MANIFEST}: it was not written to its end"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"the {MANIFEST} of {path.name} cannot be read: {error!r}"]
    if not expected:
        return [f"the {MANIFEST} of {path.name} lists no files"]
    found = (_fault(path / name, size, digest if contents else None) for name, (size, digest) in expected.items())
    return [fault for fault in found if fault]


def newest(folder: RunFolder) -> Path | None:
    """The checkpoint with the most steps that is good, each byte of it read; None where there is none."""
    return next((path for path in by_step(folder) if not faults(path)), None)


def by_step(folder: RunFolder) -> list[Path]:
    """The folders named as checkpoints, most steps first, good or not."""
    named = ((_NAME.fullmatch(path.name), path) for path in folder.checkpoints.glob("checkpoint-*"))
    found = [(int(name[1]), path) for name, path in named if name]
    return [path for _, path in sorted(found, reverse=True)]


def rotate(folder: RunFolder, keep: int, *, spare: Path | None = None) -> list[Path]:
    """Delete what is older than the newest `keep` checkpoints, and give back what was deleted.

    The newest good one is read before and stays, and `spare` too. What claims more steps than it is not good, and is
    left as it is.
    """
    good = newest(folder)
    if good is None:
        return []
    paths = by_step(folder)
    older = paths[paths.index(good) + 1 :]
    kept = [path for path in older if not faults(path, contents=False)][: max(keep, 1) - 1]
    gone = [path for path in older if path not in kept and path != spare]
    for path in gone:
        # first, so that one whose deletion was cut short is not taken for a damaged one
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
    return gone


def room_for(folder: RunFolder, size: int | None = None) -> None:
    """See that the next checkpoint fits on the disk, before it is begun.

    Args:
        size: bytes of a checkpoint; None for that of the last one (nothing is checked before the first).

    Raises:
        TrainingError: it does not.
    """
    if size is None:
        size = next((_size(path) for path in by_step(folder)), 0)
    needed, free = int(SPARE * size), shutil.disk_usage(folder.path).free
    if free < needed:
        raise TrainingError(
            f"No room for a checkpoint: it needs {_megabytes(needed)}, {_megabytes(free)} are free",
            where=str(folder.checkpoints),
            fix="Make room on the disk, then resume the run; its last checkpoint is kept.",
        )


def _fault(file: Path, size: int, digest: str | None) -> str:
    try:
        found = file.stat().st_size
        if found != size:
            return f"{file.name} has {found} bytes, not {size}"
        if digest is not None and _sha256(file) != digest:
            return f"{file.name} is not what was written: its sha256 differs"
    except FileNotFoundError:
        return f"{file.name} is missing"
    except (OSError, ValueError) as error:
        return f"{file.name} cannot be read: {error}"
    return ""


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
