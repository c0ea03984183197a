"""What several processes need is seen before they are started; how a run of theirs ended is told as it was."""

import os
import sys
from types import SimpleNamespace

import pytest
import yaml

from nbtrain.errors import DataError, MissingExtra, ParamError
from nbtrain.events import Failed
from nbtrain.runs import backends, folder, launch, process, ranks, status, together
from nbtrain.runs.journal import story

STAND_IN = """
import json, os, signal, sys, time
sys.path[:0] = {path!r}
from nbtrain.errors import DataError
from nbtrain.runs import ranks, status
from nbtrain.runs.folder import RunFolder
task = json.loads(sys.stdin.readline())
run, rank = RunFolder(task["folder"]), ranks.number()
{code}
time.sleep(60)
"""


@pytest.fixture
def run(workdir):
    made = folder.claim("run", "llm", "sft")
    made.params.write_text('{"room": "llm", "params": {"num_processes": 2}, "provenance": {}, "versions": {}}')
    return made


@pytest.fixture
def of_code(monkeypatch):
    """Let each process do this in the place of a worker."""

    def change(code):
        def start(arguments, *, stdout, stderr, environment):
            program = STAND_IN.format(path=sys.path, code=code)
            whole = {**os.environ, **environment}
            return together.subprocess.Popen(
                [sys.executable, "-c", program], stdin=-1, stdout=stdout, stderr=stderr, env=whole
            )

        monkeypatch.setattr(launch, "start", start)

    return change


def asked(**changes):
    return SimpleNamespace(num_processes=2, distributed_backend=None, **changes)


@pytest.mark.parametrize(
    ("code", "state", "kind", "told"),
    [
        ("rank or sys.exit(status.write(run, state='finished') or 0)\nsys.exit(0)", "finished", None, ""),
        ("rank or status.write(run, state='stopped')\nsys.exit(0 if rank else 3)", "stopped", None, ""),
        ("rank and os.kill(os.getpid(), signal.SIGKILL)", "failed", "WorkerDied", "killed by SIGKILL"),
        ("rank and os._exit(7)", "failed", "WorkerDied", "exit 7"),
        ("rank or os._exit(0)", "failed", "WorkerDied", "exit 0 in the middle"),
        (
            "ranks.report(run, DataError(f'row {rank}'), 'the trace')\nrank and sys.exit(1)",
            "failed", "DataError", "row 1",
        ),
        (  # both before anybody looked
            "while not rank and not ranks.reported(run, 1): time.sleep(0.01)\n"
            "ranks.report(run, DataError(f'row {rank}'), 'the trace')\n"
            "while rank and not ranks.reported(run, 0): time.sleep(0.01)\nsys.exit(1)",
            "failed", "DataError", "row 1",
        ),
        (  # whoever was ended without a word took the other along, whose error is only that
            "place = run.path / 'fell'\n"
            "rank and (place.touch(), os.kill(os.getpid(), signal.SIGSEGV))\n"
            "while not place.exists(): time.sleep(0.01)\n"
            "time.sleep(0.1), ranks.report(run, DataError('gone'), ''), sys.exit(1)",
            "failed", "WorkerDied", "SIGSEGV",
        ),
    ],
    ids=["finished", "stopped", "killed", "left", "left as if it were fine", "raised", "both raised", "two fell"],
)  # fmt: skip
def test_how_a_run_ended_is_told_as_it_was(run, of_code, code, state, kind, told):
    of_code(code)
    heard = []
    assert together.train(run, asked(), sinks=[heard.append]) == state
    now = status.stored(run)
    assert (now.state, now.pid) == (state, None)
    ends = [event for event in story(run.events) if isinstance(event, Failed)]
    assert [end.error["kind"] for end in ends] == ([kind] if kind else [])
    assert heard == ends
    if kind:
        assert told in f"{ends[0].error['what']} {ends[0].error['why']}"
    if kind == "WorkerDied":
        assert f"process {0 if 'as if' in told or 'middle' in told else 1} of 2" in ends[0].error["what"]
    if kind == "DataError":
        assert "process 1 of 2" in ends[0].error["where"] and run.error.read_text() == "the trace"


def test_an_interrupt_ends_all_processes(run, of_code, monkeypatch):
    of_code(f"open(run.path / str(os.getpid()), 'w').close(){chr(10)}signal.signal(signal.SIGINT, signal.SIG_IGN)")

    def interrupted(seconds):
        if len(list(run.path.glob("[0-9]*"))) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(together.time, "sleep", interrupted)
    assert together.train(run, asked()) == "stopped"
    assert not any(process.alive(int(path.name)) for path in run.path.glob("[0-9]*"))


def test_a_process_is_told_its_place_and_its_share_of_the_cores(run, monkeypatch):
    monkeypatch.setattr(process, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    told = together.environment(2, 3, run.path)
    assert (told["RANK"], told["LOCAL_RANK"], told["WORLD_SIZE"], told["OMP_NUM_THREADS"]) == ("2", "2", "3", "2")
    assert told[ranks.MEETING] == together.environment(0, 3, run.path)[ranks.MEETING]


def test_more_processes_than_gpus_are_refused_and_nothing_is_started(run, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(launch, "start", None)
    assert together.train(run, asked()) == "failed"
    assert "needs 2 GPUs, and 1 can be seen here" in story(run.events)[-1].error["what"]


def config(workdir, **content):
    path = workdir / "accelerate.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_model_in_parts_needs_gpus_and_its_library(workdir, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("fsdp", "deepspeed", config(workdir, distributed_type="FSDP")):
        with pytest.raises(ParamError, match="for GPUs only"):
            backends.possible(name)
    for name in (None, "ddp", config(workdir, distributed_type="MULTI_GPU", num_processes=4)):
        backends.possible(name)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="needs DeepSpeed"):
        backends.possible("deepspeed")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"distributed_type": "MEGATRON_LM"}, "MEGATRON_LM is not known here"),
        ({"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 3}}, "ZeRO stage 3"),
        ([1, 2], "is no config of accelerate"),
    ],
)
def test_a_config_that_does_not_work_here_is_refused_in_words(workdir, content, told):
    path = workdir / "accelerate.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ParamError, match=told):
        backends.kind(str(path))


def test_accelerate_is_told_by_its_own_variables(run, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    backends.set_up("fsdp", run, write=True)
    assert yaml.safe_load((run.path / "accelerate.yaml").read_text())["distributed_type"] == "FSDP"
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"
    assert (os.environ["FSDP_VERSION"], os.environ["FSDP_STATE_DICT_TYPE"]) == ("2", "FULL_STATE_DICT")


def test_what_fell_first_is_what_another_process_reported(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, words in (("1", "the cause"), ("0", "connection closed")):
        monkeypatch.setenv("RANK", rank)
        ranks.report(run, DataError(words), "")
    assert ranks.reported_by_another(run)["error"]["what"] == "the cause"
    monkeypatch.setenv("RANK", "1")
    assert ranks.reported_by_another(run) is None
    ranks.forget(run)
    assert ranks.reported(run, 1) is None
