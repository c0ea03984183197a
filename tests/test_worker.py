import io
import os
import platform
import subprocess
import sys

import pytest

from nbtrain import redact, worker
from nbtrain.events import Failed
from nbtrain.runs import folder, launch, status
from nbtrain.runs.journal import story

COMMAND = [sys.executable, "-P", "-m", "nbtrain.worker"]


@pytest.mark.parametrize("said", [b"", b'{"folder": "/half/a/li'])
def test_a_worker_whose_stdin_is_closed_without_a_word_is_not_wanted(said):
    ended = subprocess.run(COMMAND, input=said, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_what_a_library_says_while_a_standby_imports_it_is_not_taken_for_its_readiness(tmp_path):
    for name in worker.HEAVY:
        (tmp_path / f"{name}.py").write_text("import os; print('noise', flush=True); os.write(1, b'more')")
    places = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    ended = subprocess.run([*COMMAND, "--warm"], input=b"", capture_output=True, timeout=60, env=environment)
    assert (ended.returncode, ended.stdout) == (0, b"ready\n")


@pytest.mark.slow
def test_a_standby_has_the_heavy_imports_done_in_silence_and_ends_with_its_kernel():
    standby = subprocess.Popen(
        [*COMMAND, "--warm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert standby.stdout.readline() == b"ready\n"
    with open(f"/proc/{standby.pid}/maps") as maps:
        assert "libtorch" in maps.read()
    said, _ = standby.communicate()
    assert (standby.returncode, said) == (0, b"")


@pytest.mark.parametrize("text", ["{", '{"room": "no-such-room", "params": {}, "provenance": {}, "versions": {}}'])
def test_a_run_whose_parameters_cannot_be_read_is_failed_and_says_so(workdir, text):
    run = folder.claim("run", "llm", "sft")
    run.params.write_text(text)
    started = launch.launch(run)
    assert started.wait(60) == 1
    now, end = status.stored(run), story(run.events)[-1]
    assert now.state == "failed" and now.cause == started.cause() != ""
    assert isinstance(end, Failed) and end.error["kind"] in ("RunError", "ParamError")


@pytest.mark.parametrize("assignment", ["null", "[]", "{}", "no json"])
def test_an_assignment_that_cannot_be_read_is_no_success(assignment):
    ended = subprocess.run(COMMAND, input=assignment.encode() + b"\n", capture_output=True, timeout=60)
    assert ended.returncode == 1 and b"Error" in ended.stderr


def test_a_masked_stream_lets_no_secret_through_and_is_else_the_stream(monkeypatch):
    monkeypatch.setattr(redact, "_known", {"canary-1234"})
    plain = io.StringIO()
    stream = worker.Masked(plain)
    print("a canary-1234", "b", file=stream)
    stream.writelines(["canary-1234\n", "c\n"])
    assert plain.getvalue() == "a [secret] b\n[secret]\nc\n"
    assert stream.write("canary-1234") == len("canary-1234")
    stream.flush()
    assert not stream.isatty() and stream.closed is False


MEMORY = """
import ctypes, sys
from nbtrain.runs.process import make_ready
if sys.argv[1] == "kept":
    make_ready()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
place = c.malloc(200 << 20)
ctypes.memset(place, 1, 200 << 20)
c.free(place)
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * 4096 >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
@pytest.mark.parametrize(("mode", "kept"), [("kept", True), ("given back", False)])
def test_memory_that_was_freed_is_kept_only_where_asked(mode, kept):
    said = subprocess.run([sys.executable, "-c", MEMORY, mode], capture_output=True, text=True, check=True).stdout
    assert (int(said) >= 200) is kept
