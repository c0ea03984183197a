import errno
import os
import subprocess
import sys

import pytest

from nbtrain.runs.files import atomic_write

REPLACES = """
import sys
from pathlib import Path
from nbtrain.runs.files import atomic_write
path = Path(sys.argv[1])
for number in range(10**9):
    atomic_write(path, f"{number % 10}" * 300_000, durable=False)
    if number == 3:
        print("going", flush=True)
"""


def test_what_is_replaced_is_never_seen_in_part_not_even_when_its_writer_is_killed(tmp_path):
    path = tmp_path / "file"
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", REPLACES, str(path)], stdout=subprocess.PIPE, text=True)
        writer.stdout.readline()
        for _ in range(300):
            text = path.read_text()
            assert len(text) == 300_000 and len(set(text)) == 1
        writer.kill()
        writer.communicate()
        text = path.read_text()
        assert len(text) == 300_000 and len(set(text)) == 1


@pytest.mark.parametrize("durable", [True, False])
def test_a_full_disk_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch, durable):
    path = tmp_path / "file"
    atomic_write(path, "old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync" if durable else "replace", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, "new", durable=durable)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    atomic_write(tmp_path / "text", "ä\r\n模")
    assert (tmp_path / "text").read_bytes() == "ä\r\n模".encode()
    atomic_write(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
