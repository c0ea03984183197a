"""What a library or the system raised is told as what it was, also where it is wrapped in something else."""

import errno
import os

import pytest

from nbtrain import causes
from nbtrain.errors import DataError, MissingExtra, TrainingError
from nbtrain.runs import folder


@pytest.fixture
def run(workdir):
    claimed = folder.claim(None, "llm", "sft")
    claimed.params.write_text('{"room": "llm", "params": {}}')
    return claimed


def wrapped(outer, inner):
    outer.__cause__ = inner
    return outer


def test_an_error_of_ours_stays_as_it_is(run):
    error = DataError("no rows")
    assert causes.told(error, run) is error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        wrapped(RuntimeError("failed writing file data/0"), OSError(errno.ENOSPC, "full")),
    ],
)
def test_a_full_disk_is_seen_whoever_wrote(run, error):
    told = causes.told(error, run)
    assert type(told) is TrainingError
    assert told.what.startswith("the disk is full: ")
    assert told.where == str(run.path)


def test_a_file_that_is_not_there_is_no_full_disk(run):
    told = causes.told(FileNotFoundError(errno.ENOENT, "gone", "a.txt"), run)
    assert told.what == "FileNotFoundError: [Errno 2] gone: 'a.txt'"


def test_an_import_that_a_library_wrapped_names_the_package_that_is_missing(run):
    inner = ModuleNotFoundError("No module named 'nosuch.part'", name="nosuch.part")
    told = causes.told(wrapped(ImportError("Could not import module 'Trainer'."), inner), run)
    assert type(told) is MissingExtra
    assert told.what == "llm needs nosuch, which is missing"
    assert told.fix == "pip install -U nosuch"


def test_an_import_error_without_a_name_is_told_as_it_is(run):
    told = causes.told(ImportError("libcudart.so.12: cannot open shared object file"), run)
    assert told.what == "a library cannot be imported that llm needs"
    assert told.why == "libcudart.so.12: cannot open shared object file"
    assert "restart the kernel" in told.fix
