"""The folder of a run: where what lies, who may have it, and how it is found again."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtrain import __version__
from nbtrain.errors import ParamError, RunError, nearest
from nbtrain.params.base import Params
from nbtrain.redact import redact_all
from nbtrain.runs.files import atomic_write as atomic_write

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "numpy")


class _Below:
    """A path below the run's own."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __get__(self, folder: RunFolder, kind: type | None = None) -> Path:
        return folder.path / self.place


@dataclass(frozen=True)
class RunFolder:
    """One run, as the place where everything of it lies. Making this object writes nothing."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(os.path.abspath(self.path)))

    params = _Below("params.json")
    events = _Below("events.jsonl")
    status = _Below("status.json")
    data = _Below("data")
    checkpoints = _Below("checkpoints")
    model = _Below("model")
    report = _Below("report.json")
    predictions = _Below("predictions.jsonl")
    figures = _Below("figures")
    card = _Below("README.md")
    script = _Below("train.py")
    config = _Below("config.yaml")
    log = _Below("log/worker.log")
    error = _Below("error.txt")
    control = _Below("control")
    lock_file = _Below(".lock")

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name


def claim(project_name: str | None, room: str, method: str, root: str | os.PathLike[str] = ".") -> RunFolder:
    """Make the folder of a new run. No other claim, of whatever process, gets the same; what exists is not touched.

    Args:
        project_name: a name below `root`, or a path; None for `runs/<room>-<method>-<n>`. Taken: -2, -3 ... is added.
        method: '' in a room that has one only.

    Raises:
        ParamError: the name cannot be one of a folder.
        RunError: the folder cannot be made.
    """
    if project_name is None:
        stem = "-".join(part for part in (room, method) if part)
        parent = Path(root, "runs")
        count = _highest(parent, stem) + 1
        first = parent / f"{stem}-{count}"
    else:
        first, count = Path(root, _checked(project_name)), 1
        stem = first.name
    try:
        first.parent.mkdir(parents=True, exist_ok=True)
        path = first
        while not _made(path):
            count += 1
            path = first.with_name(f"{stem}-{count}")
    except OSError as error:
        fix = "Give another place with --project-name."
        raise RunError(f"The run's folder cannot be made: {error.strerror}", where=str(first), fix=fix) from None
    return RunFolder(path)


def _checked(name: str) -> Path:
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in name):
        raise ParamError("--project-name holds characters that cannot be seen", where=ascii(name))
    path = Path(name).expanduser()
    if path.name in ("", "..") or name != name.strip():
        raise ParamError(f"--project-name is the name of a folder, or a path to one; found {name!r}")
    return path


def _made(path: Path) -> bool:
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True


def _highest(parent: Path, stem: str) -> int:
    """The highest n of the `stem-n` in a folder, 0 where there is none."""
    numbered = re.compile(re.escape(stem) + r"-([1-9]\d*)")
    names = os.listdir(parent) if parent.is_dir() else []
    return max((int(found[1]) for found in map(numbered.fullmatch, names) if found), default=0)


_held: set[int] = set()


def _let_go() -> None:
    # a forked child (a data loader's worker) that outlives its parent would hold the lock on
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def lock(folder: RunFolder) -> Iterator[None]:
    """Only one process writes a run at a time. The system lets go of the lock when its holder dies, however it dies.

    Raises:
        RunError: another holds it, or its file system has no locks.
    """
    try:
        descriptor = os.open(folder.lock_file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _no_lock(folder, error) from None
    try:
        try:
            _seize(descriptor)
        except (BlockingIOError, PermissionError):
            raise RunError(
                f"{folder.name} is being written by another process",
                where=str(folder.path),
                fix=f"Wait for it, stop it (stop {folder.name}), or start a run of its own.",
            ) from None
        except OSError as error:  # some network and FUSE mounts (NFS without lockd, a mounted Drive)
            raise _no_lock(folder, error) from None
        _held.add(descriptor)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _no_lock(folder: RunFolder, error: OSError) -> RunError:
    return RunError(
        f"{folder.name} cannot be locked, and without a lock two processes could write it at once",
        where=str(folder.path),
        why=f"the file system says: {error.strerror or error}",
        fix="Put runs on a local disk: --project-name /tmp/NAME; copy the run when it has finished.",
    )


def _seize(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def all_runs(root: str | os.PathLike[str] = ".") -> list[RunFolder]:
    """The runs in `root` and in `root/runs`, newest last. No file is opened: 10,000 are listed within a second."""
    found = []
    for parent in (os.path.abspath(root), os.path.join(os.path.abspath(root), "runs")):
        with contextlib.suppress(OSError):
            for name in os.listdir(parent):
                with contextlib.suppress(OSError):
                    born = os.stat(os.path.join(parent, name, "params.json")).st_mtime_ns
                    found.append((born, os.path.join(parent, name)))
    return [RunFolder(Path(path)) for _, path in sorted(found)]


def find(id: str | os.PathLike[str], root: str | os.PathLike[str] = ".") -> RunFolder:
    """The run that a user means by a path, its name, its number in `all_runs` (from 1), or the beginning of its name.

    Raises:
        RunError: none, or more than one.
    """
    given = os.fspath(id)
    direct = RunFolder(Path(root, given).expanduser())
    if given and direct.params.is_file():
        return direct
    runs = all_runs(root)
    named = [run for run in runs if run.name == given]
    if not named and given.isdecimal() and 0 < int(given) <= len(runs):
        return runs[int(given) - 1]
    meant = named or [run for run in runs if given and run.name.startswith(given)]
    if len(meant) == 1:
        return meant[0]
    where, newest = os.path.abspath(root), ", ".join(run.name for run in runs[-5:])
    if meant:
        paths = ", ".join(os.path.relpath(run.path, root) for run in meant[:8])
        what = f"{given!r} may be any of {len(meant)} runs: {paths}"
        raise RunError(what, where=where, fix="Give more of the name, or the path.")
    close = nearest(given, (run.name for run in runs))
    fix = f"`runs` lists them{newest and f'; the newest: {newest}'}."
    raise RunError(f"There is no run {given!r}.{close}", where=where, fix=fix)


def write_params(folder: RunFolder, params: Params) -> None:
    """Write down what was asked, who gave each value (a name that is missing there: nobody), and with which libraries.

    Secrets are left out.

    Raises:
        ParamError: a value cannot be written; a variable of the notebook has to be stored as a file before.
    """
    record = params.record()
    provenance = {name: params.provenance(name) for name in record}
    content = {
        "nbtrain": __version__,
        "room": type(params).room,
        "method": params.method,
        "params": record,
        "provenance": {name: source for name, source in provenance.items() if source != "default"},
        "versions": versions(),
        "created": time.time(),
    }
    try:
        text = json.dumps(redact_all(content), ensure_ascii=False, indent=1, default=_written)
    except TypeError as error:
        raise ParamError(f"The parameters cannot be written: {error}", fix="Give it as a file.") from None
    atomic_write(folder.params, text + "\n")


def read_params(folder: RunFolder) -> dict[str, Any]:
    """What `write_params` wrote.

    Raises:
        RunError: it is not there, or is not whole.
    """
    try:
        content = json.loads(folder.params.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{folder.name} is no run: it has no params.json", where=str(folder.path)) from None
    except (OSError, ValueError) as error:
        what = f"The parameters of {folder.name} cannot be read"
        raise RunError(what, where=str(folder.params), why=str(error)) from None
    if not isinstance(content, dict) or not isinstance(content.get("params"), dict) or "room" not in content:
        raise RunError(f"{folder.name} has a params.json without room and params", where=str(folder.params))
    return content


def versions() -> dict[str, str]:
    """The version of each library that is installed here, read without importing it."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _written(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no text, number or list")
