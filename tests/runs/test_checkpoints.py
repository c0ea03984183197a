import json
import random
import shutil
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from nbtrain.errors import TrainingError
from nbtrain.runs import checkpoints, folder


@pytest.fixture
def run(workdir):
    return folder.claim("run", "llm", "sft")


def written(run, step, *, committed=True, size=1000):
    path = run.checkpoints / f"checkpoint-{step}"
    (path / "deep").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(bytes([step % 256]) * size)
    (path / "deep" / "optimizer.pt").write_bytes(b"o" * 10)
    (path / "empty").write_bytes(b"")
    if committed:
        checkpoints.commit(path)
    return path


def test_a_committed_checkpoint_is_without_fault_and_its_manifest_lists_every_file(run):
    path = written(run, 10)
    assert checkpoints.faults(path) == []
    files = json.loads((path / "manifest.json").read_text())["files"]
    assert {name: entry["size"] for name, entry in files.items()} == {
        "deep/optimizer.pt": 10,
        "empty": 0,
        "model.safetensors": 1000,
    }


def truncate(path):
    (path / "model.safetensors").write_bytes(b"\x0a" * 999)


def grow(path):
    (path / "model.safetensors").write_bytes(b"\x0a" * 1001)


def flip(path):
    data = bytearray((path / "model.safetensors").read_bytes())
    data[500] ^= 1
    (path / "model.safetensors").write_bytes(data)


def lose(path):
    (path / "deep" / "optimizer.pt").unlink()


def lose_manifest(path):
    (path / "manifest.json").unlink()


def tear_manifest(path):
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text[:-5])


def empty_manifest(path):
    (path / "manifest.json").write_text('{"files": {}}')


def strange_manifest(path):
    (path / "manifest.json").write_text('{"files": {"model.safetensors": 1}}')


def replace_by_folder(path):
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").mkdir()


DAMAGES = {
    truncate: "model.safetensors has 999 bytes, not 1000",
    grow: "model.safetensors has 1001 bytes, not 1000",
    flip: "its sha256 differs",
    lose: "optimizer.pt is missing",
    lose_manifest: "has no manifest.json",
    tear_manifest: "cannot be read",
    empty_manifest: "lists no files",
    strange_manifest: "cannot be read",
    replace_by_folder: "model.safetensors",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(run, damage):
    before, path = written(run, 9), written(run, 10)
    assert checkpoints.newest(run) == path
    damage(path)
    faults = checkpoints.faults(path)
    assert len(faults) == 1 and DAMAGES[damage] in faults[0]
    assert checkpoints.newest(run) == before


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_the_last_good_checkpoint_is_not_deleted_for_a_damaged_one(run, damage):
    old, before, path = written(run, 8), written(run, 9), written(run, 10)
    damage(path)
    assert checkpoints.rotate(run, 1) == [old]
    assert checkpoints.newest(run) == before and path.exists()


def test_any_single_byte_that_changed_is_found(run):
    path = written(run, 3, size=64)
    draw = random.Random(0)
    for _ in range(100):
        file = draw.choice([path / "model.safetensors", path / "deep" / "optimizer.pt"])
        whole = file.read_bytes()
        place = draw.randrange(len(whole))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ draw.randrange(1, 256)]) + whole[place + 1 :])
        assert checkpoints.faults(path) != []
        file.write_bytes(whole)
        assert checkpoints.faults(path) == []


def test_the_newest_is_the_one_with_the_most_steps_whatever_its_time_or_spelling(run):
    assert checkpoints.newest(run) is None
    for step in (100, 20, 3):
        time.sleep(0.002)
        written(run, step)
    (run.checkpoints / "checkpoint-best").mkdir()
    (run.checkpoints / "checkpoint-200").write_text("a file")
    assert checkpoints.newest(run).name == "checkpoint-100"


def test_rotation_keeps_as_many_as_asked_and_at_least_one(run):
    paths = [written(run, step) for step in (1, 2, 3, 4, 10)]
    assert checkpoints.rotate(run, 3) == [paths[1], paths[0]]
    assert checkpoints.rotate(run, 0) == [paths[3], paths[2]]
    assert checkpoints.by_step(run) == [paths[4]]


def test_a_torn_checkpoint_is_not_counted_among_those_kept(run):
    first, torn, last = written(run, 1), written(run, 2, committed=False), written(run, 3)
    assert checkpoints.rotate(run, 2) == [torn]
    assert checkpoints.by_step(run) == [last, first]


def test_nothing_is_deleted_where_no_checkpoint_is_good(run):
    written(run, 1, committed=False)
    written(run, 2, committed=False)
    assert checkpoints.rotate(run, 1) == []
    assert len(checkpoints.by_step(run)) == 2


def test_a_checkpoint_written_over_does_not_exist_until_it_is_committed_again(run):
    path = written(run, 5)
    (path / "model.safetensors").write_bytes(b"n" * 1000)
    assert checkpoints.newest(run) is None
    checkpoints.commit(path)
    assert checkpoints.newest(run) == path


def test_a_full_disk_at_the_commit_leaves_no_checkpoint_and_the_one_before(run, monkeypatch):
    before, path = written(run, 1), written(run, 2, committed=False)

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "atomic_write", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.commit(path)
    assert checkpoints.newest(run) == before


Usage = namedtuple("Usage", "total used free")


def test_a_save_is_refused_with_figures_where_the_disk_has_no_room(run, monkeypatch):
    checkpoints.room_for(run)
    written(run, 1, size=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 1_210_000))
    checkpoints.room_for(run)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 1_190_000))
    with pytest.raises(TrainingError, match=r"needs 1\.2 MB, 1\.2 MB are free"):
        checkpoints.room_for(run)
    checkpoints.room_for(run, 900_000)
    with pytest.raises(TrainingError, match=r"needs 12\.0 MB"):
        checkpoints.room_for(run, 10**7)


COMMITS = """
import sys
from nbtrain.runs import checkpoints
from nbtrain.runs.folder import RunFolder
run = RunFolder(sys.argv[1])
last = checkpoints.newest(run)
first = int(last.name.rpartition("-")[2]) + 1 if last else 1
print("going", flush=True)
for step in range(first, 10**9):
    path = run.checkpoints / f"checkpoint-{step}"
    path.mkdir(parents=True, exist_ok=True)
    for part in range(3):
        (path / f"part-{part}").write_bytes(bytes([step % 256]) * 50_000)
    checkpoints.commit(path)
    print(step, flush=True)
    checkpoints.rotate(run, 1)
"""


def test_after_sigkill_at_any_instant_the_newest_good_checkpoint_is_the_last_that_was_committed(run):
    draw = random.Random(1)
    for _ in range(12):
        writer = subprocess.Popen([sys.executable, "-c", COMMITS, str(run.path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "going\n"
        told = int(writer.stdout.readline())
        time.sleep(draw.random() * 0.05)
        writer.kill()
        told = max([told, *map(int, writer.communicate()[0].split())])
        found = checkpoints.newest(run)
        step = int(found.name.rpartition("-")[2])
        assert checkpoints.faults(found) == []
        # it may have been killed between its manifest and its word of it
        assert step in (told, told + 1)
        assert (found / "part-2").read_bytes() == bytes([step % 256]) * 50_000
