"""Several processes train as one does with all their rows; they are stopped, resumed and ended together."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from nbtrain import export, fit, trainers
from nbtrain.errors import WorkerDied
from nbtrain.run import Run, start
from nbtrain.runs.journal import story

HERE = Path(__file__).parent
SHORT = {"logging_steps": 1, "max_samples": 19, "valid_fraction": 0.2, "seed": 7}
LLM = {**SHORT, "lr": 1e-3, "sample_max_new_tokens": 2}
ROOMS = {
    "sft": ("llm", {**LLM, "trainer": "sft", "epochs": 2}),
    "sft, accumulated": (
        "llm",
        {**LLM, "trainer": "sft", "gradient_accumulation": 2, "peft": True, "eval_metrics": "chrf"},
    ),
    "default": ("llm", {**LLM, "block_size": 64, "max_steps": 5}),
    "dpo": ("llm", {**LLM, "trainer": "dpo"}),
    "text-classification": ("text-classification", {**SHORT, "epochs": 1}),
    "token-classification": ("token-classification", {**SHORT, "epochs": 1}),
    "sft, each a part of the model": ("llm", {**LLM, "trainer": "sft", "best_model": True}),
}


MORE = {"sft, each a part of the model": {"distributed_backend": "fsdp"}}
"""What two processes are told, and one is not."""


def environment(**changes):
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **changes}


def processes(folders, count, place):
    """Train in `count` processes, each of which trains all the runs, one after the other."""
    command = [sys.executable, str(HERE / "rank_rooms.py"), *map(str, folders)]
    told = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "NBTRAIN_MEETING": str(place / "meeting")}
    each = [{"RANK": str(rank), "LOCAL_RANK": str(rank), **told} for rank in range(count)] if count > 1 else [{}]
    return [subprocess.Popen(command, env=environment(**one), cwd=place) for one in each]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """By room: (a run of one process, the same of two that have half of its rows each)."""
    place, made = tmp_path_factory.mktemp("rooms"), {}
    for name, (room, given) in ROOMS.items():
        kind = trainers.load(room).Params
        made[name] = tuple(
            fit.prepare(kind(**given, batch_size=4 // count, **several), root=place)
            for count, several in ((1, {}), (2, {"num_processes": 2, **MORE.get(name, {})}))
        )
    sides = ([each[at].path for each in made.values()] for at in (0, 1))
    started = [one for count, side in enumerate(sides, 1) for one in processes(side, count, place)]
    try:
        assert [each.wait(250) for each in started] == [0, 0, 0]
    finally:
        for each in started:
            each.kill()
    return {name: tuple(map(Run, each)) for name, each in made.items()}


@pytest.mark.parametrize("room", ROOMS)
def test_two_processes_have_the_losses_of_one_with_twice_the_batch(pairs, room):
    one, two = pairs[room]
    assert (one.status, two.status) == ("finished", "finished"), (one.error, two.error)
    alone, together = one.record.rows(), two.record.rows()
    assert together.keys() == alone.keys()
    for step, values in alone.items():
        for name in values.keys() & {"loss", "grad_norm", "learning_rate", "eval_loss"}:
            # torch adds up the norm of parts in another order
            rel = 1e-4 if name == "grad_norm" and room in MORE else 1e-5
            assert together[step][name] == pytest.approx(values[name], rel=rel, abs=1e-7), (step, name)
    assert two.record.end.values.keys() == one.record.end.values.keys()
    kept, others = weights(one), weights(two)
    assert all(torch.allclose(weight, others[name], atol=1e-4) for name, weight in kept.items())
    assert two.record.facts()["processes"] == 2


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Start a run of two processes, and wait until it trains; what is left of it is ended."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    runs = []

    def go(**changes):
        room, given = ROOMS["sft"]
        params = trainers.load(room).Params(**{**given, "batch_size": 2, "num_processes": 2, **changes})
        runs.append(start(params, root=tmp_path))
        await_training(runs[-1])
        return runs[-1]

    yield go
    for run in runs:
        run.worker.kill()


def await_training(run):
    await_that(run, lambda: run.status == "running")


def await_that(run, true):
    until = time.monotonic() + 120
    while run.worker.poll() is None and time.monotonic() < until and not true():
        time.sleep(0.02)
    assert true(), run.error


def ranks_of(run):
    return sorted(psutil.Process(run.worker.pid).children(), key=lambda each: each.environ()["RANK"])


def weights(run):
    return load_file(run.folder.model / "model.safetensors")


def test_a_run_that_was_stopped_leaves_a_model_and_resumes_to_the_same_weights(pairs, started):
    whole, run = pairs["sft"][1], started()
    run.stop()  # before the first step, so at its end
    assert run.worker.wait(60) == 3
    assert (run.status, run.record.step) == ("stopped", 1)
    assert len(weights(run)) == len(weights(whole))
    run.resume()
    assert run.worker.wait(120) == 0
    assert run.record.rows().keys() == whole.record.rows().keys()
    assert all(torch.equal(weight, weights(run)[name]) for name, weight in weights(whole).items())


def test_what_is_asked_is_done_by_all_and_a_process_that_is_killed_ends_the_run_which_says_so(started):
    run = started(epochs=500)
    run.set(lr=1e-4)
    run.pause()
    await_that(run, lambda: run.status == "paused")
    run.save()
    run.sample()
    run.go()
    step = run.record.step
    await_that(run, lambda: run.record.step > step)
    assert [(change.name, change.new) for change in run.record.by_hand] == [("lr", 1e-4)]
    first, second = ranks_of(run)
    second.kill()
    assert run.worker.wait(30) == 1
    assert isinstance(run.error, WorkerDied)
    assert run.error.what == f"process 1 of 2 (from 0) that trained {run.name} died"
    assert run.error.why.startswith("killed by SIGKILL")
    assert not first.is_running()


def test_what_a_process_raises_is_told_once_and_as_it_was(started, tmp_path):
    (tmp_path / "measures.py").write_text(
        "import os\ndef broken(predictions, labels):\n    if os.environ['RANK'] == '1':\n"
        "        raise ZeroDivisionError('only the second')\n    return {'fine': 1.0}\n"
    )
    run = started(custom_metrics=f"{tmp_path / 'measures.py'}:broken")
    assert run.worker.wait(60) == 1
    assert run.error.what == "ZeroDivisionError: only the second"
    assert "process 1 of 2" in run.error.where
    assert [event.kind for event in story(run.folder.events)].count("failed") == 1
    assert "broken" in run.folder.error.read_text()


def test_a_process_whose_supervisor_is_gone_ends(tmp_path):
    command = [sys.executable, "-P", "-m", "nbtrain.worker", "--rank"]
    rank = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(WORLD_SIZE="2", RANK="0", NBTRAIN_MEETING=str(tmp_path / "meeting")),
    )
    run = fit.prepare(trainers.load("llm").Params(num_processes=2), root=tmp_path)
    task = {"folder": str(run.path), "secrets": {}, "resume": False, "cwd": str(tmp_path)}
    rank.stdin.write(json.dumps(task).encode() + b"\n")
    rank.stdin.close()
    assert rank.wait(60) == 1


HOSTS = (("nbtrain-a", "10.77.0.1"), ("nbtrain-b", "10.77.0.2"))


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True)


@pytest.fixture
def hosts():
    """Two hosts, as namespaces that a cable joins: by each, what starts a command there."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("ip"):
        pytest.skip("only the root of a Linux can make hosts")
    names = [name for name, _ in HOSTS]
    made = [ip("netns", "add", name) for name in names]
    cable = ["link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1]]
    made.append(ip(*cable))
    for name, address in HOSTS:
        made.append(ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0"))
        made += [ip("-n", name, "link", "set", device, "up") for device in ("lo", "eth0")]
    try:
        if any(each.returncode for each in made):
            pytest.skip(f"no hosts can be made: {next(each.stderr for each in made if each.returncode)}")
        yield [["ip", "netns", "exec", name] for name in names]
    finally:
        for name in names:
            ip("netns", "delete", name)


def test_two_hosts_train_by_the_exported_script_as_one_process_does(pairs, hosts, tmp_path):
    room, given = ROOMS["sft"]
    params = trainers.load(room).Params(**given, batch_size=2, project_name="shared")
    (tmp_path / "train.py").write_text(export.script(params))
    where = ["--master-addr", HOSTS[0][1], "--master-port", "29400"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *where]
    each = [
        subprocess.Popen(
            [*there, *command, "--node-rank", str(rank), "train.py"],
            cwd=tmp_path,
            env=environment(GLOO_SOCKET_IFNAME="eth0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, there in enumerate(hosts)
    ]
    said = [one.communicate(timeout=200)[0] for one in each]
    assert [one.returncode for one in each] == [0, 0], said
    alone, run = pairs["sft"][0], Run(tmp_path / "shared")
    assert run.status == "finished" and sorted(path.name for path in tmp_path.iterdir()) == ["shared", "train.py"]
    assert run.record.rows().keys() == alone.record.rows().keys()
    for step, values in alone.record.rows().items():
        assert run.record.rows()[step].get("loss") == pytest.approx(values.get("loss"), rel=1e-5), step
