"""Rows that are streamed: each is trained on once an epoch, and a run that goes on is the same to the bit."""

import json
import random

import pytest

from nbtrain import trainers
from nbtrain.data import stream
from nbtrain.errors import DataError, ParamError

WORDS = "the a one two red blue old new house street river bridge runs stands sees finds under over".split()


def sentence(chance, count=8):
    return " ".join(chance.choice(WORDS) for _ in range(count))


def rows_of(kind, count, seed=0):
    chance, made = random.Random(seed), []
    for _ in range(count):
        text = sentence(chance)
        made.append(
            {
                "text": {"text": f"{text}. {sentence(chance, 20)}."},
                "pair": {"prompt": f"What {text}?", "response": sentence(chance)},
                "preference": {"prompt": f"What {text}?", "chosen": text, "rejected": sentence(chance, 3)},
                "class": {"text": text, "target": ("calm", "loud")["red" in text]},
                "number": {"text": text, "target": text.count("e") / 4},
                "tags": {"tokens": text.split(), "tags": ["B-N" if len(w) > 4 else "O" for w in text.split()]},
                "target": {"source": text, "target": " ".join(reversed(text.split()))},
            }[kind]
        )
    return made


WAYS = {
    "sft": ("llm", "pair", {"trainer": "sft"}),
    "packed": ("llm", "pair", {"trainer": "sft", "packing": True, "block_size": 48}),
    "default": ("llm", "text", {"trainer": "default", "block_size": 32}),
    "padded": ("llm", "pair", {"trainer": "sft", "attn_implementation": "sdpa", "gradient_accumulation": 3}),
    "dpo": ("llm", "preference", {"trainer": "dpo"}),
    "orpo": ("llm", "preference", {"trainer": "orpo"}),
    "reward": ("llm", "preference", {"trainer": "reward"}),
    "classes": ("text-classification", "class", {}),
    "numbers": ("text-regression", "number", {}),
    "tags": ("token-classification", "tags", {}),
    "targets": ("seq2seq", "target", {"generate_rows": 2}),
}
SHORT = {"batch_size": 4, "logging_steps": 1, "epochs": 2, "lr": 1e-3, "stream": True, "best_model": False}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Windows of so few rows that a short run has several."""
    monkeypatch.setattr(stream, "WINDOW", 10)


@pytest.fixture
def shards(tmp_path):
    """A folder of three files of rows; its path."""

    def write(kind, count=30):
        folder = tmp_path / f"{kind}-{count}"
        folder.mkdir(exist_ok=True)
        made = rows_of(kind, count)
        for at in range(3):
            lines = [json.dumps(row) + "\n" for row in made[at * count // 3 : (at + 1) * count // 3]]
            (folder / f"part-{at}.jsonl").write_text("".join(lines))
        return folder

    return write


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_was_stopped_in_the_middle_of_a_window_ends_with_the_same_weights(way, shards, in_room, same):
    room, kind, given = WAYS[way]
    given = {"data_path": str(shards(kind)), **SHORT, **given}
    whole = in_room(room, **given)
    part = in_room(room, asked={4: "stop"}, **given)
    assert len(part.losses) < len(whole.losses)
    rest = in_room(room, resume=part.folder, **given)
    assert same(whole, rest) and whole.weights
    assert [event for event in rest.events if event.kind == "logged"][-1].epoch == 2.0
    assert rest.losses == whole.losses and rest.evaluations[-1] == whole.evaluations[-1]
