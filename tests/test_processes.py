"""Several processes train as one does with all their rows; they are stopped, resumed and ended together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbtrain import fit, trainers
from nbtrain.run import Run

HERE = Path(__file__).parent
SHORT = {"logging_steps": 1, "max_samples": 15, "valid_fraction": 0.2, "seed": 7}
LLM = {**SHORT, "lr": 1e-3, "sample_max_new_tokens": 2}
ROOMS = {
    "sft": ("llm", {**LLM, "trainer": "sft", "epochs": 2}),
    "sft, accumulated": ("llm", {**LLM, "trainer": "sft", "gradient_accumulation": 2, "peft": True}),
    "sft, padded": ("llm", {**LLM, "trainer": "sft", "backend": "hf"}),
    "default": ("llm", {**LLM, "block_size": 32}),
    "dpo": ("llm", {**LLM, "trainer": "dpo"}),
    "orpo": ("llm", {**LLM, "trainer": "orpo"}),
    "reward": ("llm", {**LLM, "trainer": "reward"}),
    "text-classification": ("text-classification", {**SHORT, "epochs": 1}),
    "token-classification": ("token-classification", {**SHORT, "epochs": 1}),
    "seq2seq": ("seq2seq", {**SHORT, "epochs": 1}),
}


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
            fit.prepare(kind(**given, batch_size=4 // count, num_processes=count), root=place) for count in (1, 2)
        )
    for at, count in enumerate((1, 2)):
        started = processes([each[at].path for each in made.values()], count, place)
        try:
            assert [each.wait(300) for each in started] == [0] * count
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
            assert together[step][name] == pytest.approx(values[name], rel=1e-5, abs=1e-7), (step, name)
    assert two.record.facts()["processes"] == 2
