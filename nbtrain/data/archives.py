"""Archives of others, opened without trust: nothing outside the target, no links, no bombs."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import IO

from nbtrain.errors import DataError

ENTRIES = 200_000
BYTES = 64 << 30
RATIO = 200  # text packs to a fifth or a tenth; only a bomb packs to a two-hundredth
_FREE = 64 << 20  # bytes that any archive may unpack to, whatever its ratio
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")


def is_archive(path: Path) -> bool:
    """Whether `extract` opens it."""
    return path.name.lower().endswith(ENDINGS)


def extract(path: Path, cache: Path) -> Path:
    """The folder below `cache` that holds what is in the archive; extracted once.

    Raises:
        DataError: damaged, encrypted, with a link or a name that leads outside, or larger than the caps.
    """
    found = path.stat()
    key = hashlib.sha256(f"{path.resolve()}|{found.st_size}|{found.st_mtime_ns}".encode()).hexdigest()[:16]
    target = cache / f"{path.name}-{key}"
    if target.exists():
        return target
    # made under another name and renamed when whole: a cut-off extraction is never taken for the archive
    making = cache / f"{target.name}.{os.getpid()}"
    try:
        making.mkdir(parents=True)
        _fill(making, path, allowed=max(_FREE, min(BYTES, RATIO * found.st_size)))
        making.rename(target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        what = f"{path.name} cannot be extracted."
        raise DataError(what, where=str(path), why=str(error), fix="Pack it again, or give the files.") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def _fill(folder: Path, archive: Path, allowed: int) -> None:
    left = allowed
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    with closing(members(archive)) as found:
        for count, (name, source) in enumerate(found, start=1):
            with source, _inside(folder, name, archive).open("xb") as file:
                if count > ENTRIES:
                    raise _refused(archive, f"it has more than {ENTRIES:,} entries")
                while piece := source.read(1 << 20):
                    left -= len(piece)
                    # counted as it is unpacked: what the archive says of its sizes may be a lie
                    if left < 0:
                        raise _refused(archive, f"it unpacks to more than {allowed:,} bytes")
                    file.write(piece)


def _inside(folder: Path, name: str, archive: Path) -> Path:
    """The path of a member, its folder made."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise _refused(archive, f"{name!r} leads outside the archive")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _zip_members(archive: Path) -> Generator[tuple[str, IO[bytes]], None, None]:
    with zipfile.ZipFile(archive) as file:
        for item in file.infolist():
            if stat.S_ISLNK(item.external_attr >> 16):
                raise _refused(archive, f"{item.filename!r} is a link")
            if not item.is_dir():
                yield item.filename, file.open(item)


def _tar_members(archive: Path) -> Generator[tuple[str, IO[bytes]], None, None]:
    with tarfile.open(archive) as file:
        for item in file:
            if item.isdir():
                continue
            # the filter refuses devices, absolute names and names that lead outside; links are refused altogether
            checked = tarfile.data_filter(item, str(archive.parent))
            content = file.extractfile(item) if checked.isfile() else None
            if content is None:
                raise _refused(archive, f"{item.name!r} is a link")
            yield checked.name, content


def _refused(archive: Path, why: str) -> DataError:
    what = f"{archive.name} is not extracted: {why}."
    return DataError(what, where=str(archive), fix="Unpack it yourself if you trust it, and give the folder.")
