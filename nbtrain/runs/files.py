"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def atomic_write(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Put `content` at `path` in one instant: a reader sees the old file or the new one, whoever is killed when.

    Args:
        durable: it is on the disk when this returns, at the price of an fsync (about a millisecond).

    Raises:
        OSError: it cannot be written; what was at `path` is still there.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.draft")
    try:
        with open(draft, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Have the contents of a file on the disk."""
    with open(path, "rb+") as file:  # Windows flushes only what is open for writing
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk: a file that was fsynced can still lose its name in a power loss."""
    if os.name == "nt":  # a folder cannot be opened there; NTFS keeps its own journal of names
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
