"""Runs on the built-in model, small enough that each takes a second."""

import json
import random
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.models import load
from nbtrain.runs import checkpoints, control
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal, story
from nbtrain.trainers._samples import Prompt
from nbtrain.trainers.llm import _language

SHORT = {"trainer": "sft", "lr": 1e-3, "batch_size": 4, "logging_steps": 1, "sample_max_new_tokens": 3}


@pytest.fixture(autouse=True)
def one_thread():
    """The order of a sum must not depend on how busy the machine is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def documents(count, seed=0):
    """Rows of a rule that can be learnt: each token is decided by the one before it; the first four are not trained."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        ids = [chance.randrange(4, 404)]
        while len(ids) < chance.randint(8, 50):
            ids.append((ids[-1] * 7 + 3) % 400 + 4)
        rows.append({"input_ids": ids, "labels": [-100] * 4 + ids[4:], "length": len(ids)})
    return Dataset.from_list(rows)


@pytest.fixture
def tokens():
    held_out = documents(6, seed=1)
    return _language.Tokens(
        documents(40), held_out, (Prompt("a prompt", tuple(held_out[0]["input_ids"][:5]), "an answer"),)
    )


@pytest.fixture
def params():
    """Parameters of a short run, with changes."""
    room = trainers.load("llm")
    return lambda **changes: room.Params(**{**SHORT, **changes})


@pytest.fixture
def trained(tmp_path, params, tokens):
    """Train; what came of it: folder, events, values, weights, and losses by step.

    asked: step to what is asked once that step is logged.
    """
    runs = iter(range(100))

    def go(*, on=None, resume=None, asked=None, **changes):
        folder = resume or RunFolder(tmp_path / f"run-{next(runs)}")
        folder.path.mkdir(exist_ok=True)
        chosen = params(**changes)
        with Journal(folder.events) as journal:
            run = ActiveRun(folder, journal, resume_from=checkpoints.newest(folder) if resume else None)
            _listen(run, asked or {})
            values = _language.fit(chosen, run, on or tokens, load.tokenizer(chosen))
        events = list(story(folder.events))
        return SimpleNamespace(
            folder=folder,
            events=events,
            values=values,
            stopped=run.stopped,
            weights=load_file(folder.model / "model.safetensors"),
            losses=[event.values["loss"] for event in events if event.kind == "logged"],
        )

    return go


@pytest.fixture(scope="session")
def in_room(tmp_path_factory):
    """Train in any room; what came of it: params, folder, events, evaluations, values, weights, and losses by step."""

    def go(room, *, resume=None, asked=None, **given):
        torch.set_num_threads(1)
        folder = resume or RunFolder(tmp_path_factory.mktemp(room) / "run")
        folder.data.mkdir(parents=True, exist_ok=True)
        chosen = trainers.load(room).Params(**given)
        with Journal(folder.events) as journal:
            run = ActiveRun(folder, journal, resume_from=checkpoints.newest(folder) if resume else None)
            _listen(run, asked or {})
            values = trainers.load(room).train(chosen, run)
        events = list(story(folder.events))
        stored = folder.model / "model.safetensors"
        return SimpleNamespace(
            params=chosen,
            folder=folder,
            events=events,
            report=run.report,
            values=values,
            evaluations=[event.values for event in events if event.kind == "evaluated"],
            weights=load_file(stored) if stored.exists() else {},
            losses=[event.values["loss"] for event in events if event.kind == "logged"],
        )

    return go


@pytest.fixture
def table(tmp_path):
    """Write rows to a file of JSON lines; its path."""

    def write(rows, name="rows"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def _listen(run, asked):
    """Ask `run` for things when its steps are logged, or a value of it is made what `asked` names: (name, value) asks
    for a change.
    """
    emit, requests, waiting = run.emit, run.requests, set()

    def told(event):
        emit(event)
        wish = asked.get(event.step if event.kind == "logged" else getattr(event, "new", None))
        if isinstance(wish, tuple):
            control.change(run.folder, *wish)
        elif wish:
            waiting.add(wish)

    def answer():
        found = requests() | waiting
        if "stop" in waiting:
            run.stopped = "asked to stop"
        waiting.clear()
        return found | ({"stop"} if run.stopped else set())

    run.emit, run.requests = told, answer


@pytest.fixture
def same():
    """Whether two runs ended with the same weights, to the bit."""
    return lambda one, other: (
        one.weights.keys() == other.weights.keys()
        and all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    )
