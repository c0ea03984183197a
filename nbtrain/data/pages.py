"""What was read of mapped rows is handed back: it stands in the file, and need not stand in memory, too."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

_DONT_NEED = 4  # of madvise, on Linux


def let_go(rows: Dataset) -> None:
    """Hand the pages of mapped rows back to the system; they are read from the file again when they are asked for.

    A system takes them back by itself when memory is short, but until then they count as this process's.
    """
    import pyarrow

    pyarrow.default_memory_pool().release_unused()
    files = {file["filename"] for file in rows.cache_files}
    if sys.platform != "linux" or not files:
        return
    with contextlib.suppress(OSError):
        system = ctypes.CDLL(None)
        for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
            place, *_, name = line.split(maxsplit=5)
            if name in files:  # only what is mapped from these files: other memory would be lost by this
                begin, end = (int(side, 16) for side in place.split("-"))
                system.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _DONT_NEED)
