"""The journal of a run: one event, one line, one write. What was appended survives the death of its writer."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from nbtrain.errors import TrainingError
from nbtrain.events import Event, Failed, Finished, Started, Stopped, decode, encode, replay

SYNC_SECONDS = 2.0  # an fsync costs a millisecond: by time, not by event
_AT_ONCE = (Started, Finished, Stopped, Failed)
_END = 1 << 16  # bytes in which the last event is looked for


class Journal:
    """The writing end. A line goes to the system in one write, and to the disk within `SYNC_SECONDS`.

    Raises (also on append):
        TrainingError: the disk is full, or the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
            self._torn = _is_torn(self._file)
        except OSError as error:
            raise self._fault(error) from None

    def append(self, event: Event) -> None:
        """Write one event."""
        line = f"{encode(event)}\n".encode()
        with self._lock:
            try:
                # a torn line (its writer was killed, or the disk was full) would take this one along
                data = b"\n" + line if self._torn else line
                self._torn = True
                while data:
                    data = data[os.write(self._file, data) :]
                self._torn = False
                if isinstance(event, _AT_ONCE):
                    os.fsync(self._file)
            except OSError as error:
                raise self._fault(error) from None
            if self._timer is None:
                self._timer = threading.Timer(SYNC_SECONDS, self._sync)
                self._timer.daemon = True
                self._timer.start()

    def _sync(self) -> None:
        with self._lock:
            self._timer = None
            if self._file >= 0:
                os.fsync(self._file)

    def close(self) -> None:
        """Have everything on the disk and let go of the file."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if self._file >= 0:
                os.fsync(self._file)
                os.close(self._file)
            self._file = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def _fault(self, error: OSError) -> TrainingError:
        return TrainingError(
            "The journal cannot be written",
            where=str(self.path),
            why=error.strerror or str(error),
            fix="Make room on the disk, then resume the run.",
        )


class Tail:
    """The reading end: what is new since the last look. A last line that is still being written waits for the next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read(self) -> list[Event]:
        """The events written since the last call, in order; none where the journal does not exist yet."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return list(replay(whole.decode("utf-8", "replace").split("\n")))


def story(path: Path) -> list[Event]:
    """All events of a journal, in order."""
    return Tail(path).read()


def last(path: Path) -> Event | None:
    """The last event of a journal, read from its end; None where there is none, or it is very long."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _END))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            return decode(line)
        except ValueError:
            continue
    return None


def _is_torn(file: int) -> bool:
    size = os.fstat(file).st_size
    if size == 0:
        return False
    os.lseek(file, size - 1, os.SEEK_SET)
    return os.read(file, 1) != b"\n"
