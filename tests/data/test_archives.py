"""Archives that mean harm are refused, and leave nothing behind."""

import io
import tarfile
import zipfile

import pytest

from nbtrain.data import archives
from nbtrain.errors import DataError


def _tar(path, name, **fields):
    with tarfile.open(path, "w:gz") as file:
        item = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(item, field, value)
        file.addfile(item, io.BytesIO(b"x" * item.size))


def _refused(path, tmp_path, why):
    with pytest.raises(DataError) as caught:
        archives.extract(path, tmp_path / "cache")
    assert why in str(caught.value)
    assert not any((tmp_path / "cache").iterdir())
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize("name", ["../outside.txt", "a/../../outside.txt"])
def test_names_that_lead_outside_are_refused(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(name, "x")
    _refused(tmp_path / "a.zip", tmp_path, "leads outside")
    _tar(tmp_path / "a.tar.gz", name, size=1)
    _refused(tmp_path / "a.tar.gz", tmp_path, "outside")


def test_an_absolute_name_stays_inside_or_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(str(tmp_path / "outside.txt"), "x")
    _refused(tmp_path / "a.zip", tmp_path, "leads outside")


def test_links_are_refused(tmp_path):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        _tar(tmp_path / "a.tar.gz", "link", type=kind, linkname="/etc/passwd")
        _refused(tmp_path / "a.tar.gz", tmp_path, "link")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        item = zipfile.ZipInfo("link")
        item.external_attr = 0o120777 << 16
        file.writestr(item, "/etc/passwd")
    _refused(tmp_path / "a.zip", tmp_path, "link")


def test_bombs_and_crowds_are_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros.txt", bytes(archives._FREE + 1))
    _refused(tmp_path / "a.zip", tmp_path, "unpacks to more than")
    monkeypatch.setattr(archives, "ENTRIES", 3)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        for at in range(5):
            file.writestr(f"{at}.txt", "x")
    _refused(tmp_path / "b.zip", tmp_path, "more than 3 entries")


def test_damaged_and_encrypted_archives_are_told_in_words(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 and no more")
    _refused(tmp_path / "a.zip", tmp_path, "cannot be extracted")
    _tar(tmp_path / "b.tar.gz", "a.txt", size=100_000)
    (tmp_path / "b.tar.gz").write_bytes((tmp_path / "b.tar.gz").read_bytes()[:80])
    _refused(tmp_path / "b.tar.gz", tmp_path, "cannot be extracted")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as file:
        file.writestr("a.txt", "x")
    locked = bytearray((tmp_path / "c.zip").read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        locked[locked.find(mark) + offset] |= 1  # the flag that says: encrypted
    (tmp_path / "c.zip").write_bytes(locked)
    _refused(tmp_path / "c.zip", tmp_path, "cannot be extracted")


def test_an_archive_is_extracted_once(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("in/a.txt", "x")
    folder = archives.extract(tmp_path / "a.zip", tmp_path / "cache")
    assert (folder / "in" / "a.txt").read_text() == "x"
    (folder / "mark").touch()
    assert (archives.extract(tmp_path / "a.zip", tmp_path / "cache") / "mark").exists()
