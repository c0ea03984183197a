"""Each trial has its share of the machine: cores divided, GPUs by turns."""

import pytest

from nbtrain.runs import process
from nbtrain.sweep import seats


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many cores and GPUs."""

    def make(cores, gpus=None, threads=None):
        monkeypatch.setattr(seats.os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
        for name, value in (("CUDA_VISIBLE_DEVICES", gpus), ("OMP_NUM_THREADS", threads)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)

    return make


@pytest.mark.parametrize(
    ("cores", "told", "count", "threads"),
    [(8, None, 2, "4"), (8, "8", 2, "4"), (8, "1", 2, "1"), (2, None, 4, "1"), (4, "many", 1, "4")],
)
def test_cores_are_divided_and_a_number_that_was_set_is_a_limit(machine, cores, told, count, threads):
    machine(cores, threads=told)
    assert [share["OMP_NUM_THREADS"] for share in seats.shares(count)] == [threads] * count


def test_gpus_are_taken_by_turns_where_there_are_several(machine, monkeypatch, tmp_path):
    machine(4, gpus="3,5")
    assert [share["CUDA_VISIBLE_DEVICES"] for share in seats.shares(3)] == ["3", "5", "3"]
    for alone in ("0", ""):
        machine(4, gpus=alone)
        assert all("CUDA_VISIBLE_DEVICES" not in share for share in seats.shares(2))
    machine(4)
    monkeypatch.setattr(process, "GPUS", tmp_path)
    for name in ("0000:01", "0000:02"):
        (tmp_path / name).mkdir()
    assert process.gpus() == ["0", "1"]
    monkeypatch.setattr(process, "GPUS", tmp_path / "none")
    assert process.gpus() == []
