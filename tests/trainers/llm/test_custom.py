"""What a user brings along: a loss, metrics, chats joined or taken as text; and how much fits into memory."""

import json
from types import SimpleNamespace

import numpy
import pytest
import torch

from nbtrain.errors import ParamError, TrainingError
from nbtrain.models import load
from nbtrain.models.device import Precision
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal, story
from nbtrain.trainers.llm import _custom, _fitting, _language, _rows, sft

FILE = """
def doubled(outputs, labels, num_items_in_batch=None):
    from torch.nn.functional import cross_entropy

    flat = outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return 2 * cross_entropy(*flat, reduction="sum") / num_items_in_batch if num_items_in_batch is not None else (
        2 * cross_entropy(*flat))

def accuracy(predictions, labels):
    return {"accuracy": (predictions == labels).mean(), "tokens": len(labels)}

def wrong(predictions, labels):
    return 3
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(FILE)
    return lambda name: f"{path}:{name}"


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.data.mkdir(parents=True)
    with Journal(folder.events) as journal:
        yield ActiveRun(folder, journal)


def of(run, kind):
    return [event for event in run.events if event.kind == kind]


def test_a_loss_of_ones_own_is_trained_and_measured(trained, own):
    plain = trained(max_steps=3, attn_implementation="sdpa", lr=1e-9, max_grad_norm=0)
    doubled = trained(max_steps=3, custom_loss=own("doubled"), lr=1e-9, max_grad_norm=0)
    assert sum(doubled.losses) == pytest.approx(2 * sum(plain.losses), rel=0.05)  # rows stand in another order
    assert doubled.values["loss"] == pytest.approx(2 * plain.values["loss"], rel=1e-3)
    assert "perplexity" in plain.values and "perplexity" not in doubled.values


@pytest.mark.parametrize("backend", ["auto", "hf", "native"])
def test_metrics_of_ones_own_see_each_trained_token_and_the_guess_in_its_place(trained, tokens, own, backend):
    run = trained(max_steps=2, custom_metrics=own("accuracy"), backend=backend)
    model = load.saved_model(run.folder.model)
    right = []
    for row in tokens.valid:
        guess = model(torch.tensor([row["input_ids"]])).logits[0].argmax(-1)
        right += [int(guess[at - 1]) == label for at, label in enumerate(row["labels"]) if label != -100]
    assert run.values["tokens"] == len(right)
    assert run.values["accuracy"] == pytest.approx(numpy.mean(right), abs=1e-9)
    assert of(run, "evaluated")[-1].values["accuracy"] == run.values["accuracy"]


def test_metrics_that_are_no_numbers_are_told(own, params):
    with pytest.raises(TrainingError, match="--custom-metrics gave a int"):
        _custom.metrics(params(custom_metrics=own("wrong")))([1], [1])


def test_a_function_that_is_not_there_is_told(own, params):
    with pytest.raises(ParamError, match="no function 'lost'"):
        _custom.loss(params(custom_loss=own("lost")))


def chats(count, system=""):
    head = [{"role": "system", "content": system}] if system else []
    return [
        [*head, {"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": f"a{number}"}]
        for number in range(count)
    ]


def test_chats_are_joined_in_order_and_a_new_system_message_begins_a_new_row():
    found = list(_rows.joined(iter([*chats(3), *chats(3, "be short")]), 2))
    said = [[turn["content"] for turn in row] for row in found]
    assert said == [
        ["q0", "a0", "q1", "a1"],
        ["q2", "a2"],
        ["be short", "q0", "a0", "q1", "a1"],
        ["be short", "q2", "a2"],
    ]


def prepared(run, tmp_path, params, **given):
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats(20)))
    chosen = params(data_path=str(path), valid_fraction=0.2, **given)
    return _language.tokenised(chosen, run, sft.prepare)


def test_training_rows_are_joined_and_held_out_ones_are_not(run, tmp_path, params):
    tokens, tokenizer = prepared(run, tmp_path, params, conversation_extension=4)
    assert (len(tokens.train), len(tokens.valid)) == (4, 4)
    assert tokenizer.decode(tokens.train[0]["input_ids"]).count("<|im_start|>assistant") == 4
    assert any("16 chats make 4 rows" in event.message for event in story(run.folder.events))


def test_chats_can_be_trained_as_plain_text(run, tmp_path, params):
    tokens, tokenizer = prepared(run, tmp_path, params, apply_chat_template=False)
    text = tokenizer.decode(tokens.valid[0]["input_ids"])
    number = text[1 : text.index("\n")]
    assert text == f"q{number}\na{number}{tokenizer.eos_token}\n"
    trained = [label for label in tokens.valid[0]["labels"] if label != -100]
    assert tokenizer.decode(trained).startswith(f"a{number}{tokenizer.eos_token}")
    assert tokens.prompts[0].text == f"q{number}"
    assert tokenizer.decode(tokens.prompts[0].ids) == f"q{number}\n"


def test_the_rows_as_they_are_trained_can_be_kept(run, tmp_path, params):
    prepared(run, tmp_path, params)
    assert not (run.folder.data / "processed-train.jsonl").exists()
    prepared(run, tmp_path, params, save_processed_data="local")
    kept = [json.loads(line) for line in (run.folder.data / "processed-train.jsonl").read_text().splitlines()]
    assert len(kept) == 16 and kept[0]["messages"] in chats(20)
    assert (run.folder.data / "processed-valid.jsonl").exists()


def test_what_is_needless_is_told(run, tmp_path, params):
    prepared(run, tmp_path, params, auto_convert_dataset=True)
    assert any("needless" in event.message for event in story(run.folder.events))


class Hungry(torch.nn.Module):
    """A model that has memory for so many rows."""

    def __init__(self, most):
        super().__init__()
        self.weight, self.most, self.tried = torch.nn.Parameter(torch.ones(1)), most, []

    def forward(self, input_ids, **rest):
        self.tried.append(tuple(input_ids.shape))
        if len(input_ids) > self.most:
            raise torch.OutOfMemoryError("no")
        return SimpleNamespace(loss=(self.weight * input_ids).sum())


@pytest.mark.parametrize(("most", "size", "times"), [(12, 12, 2), (5, 4, 6), (1, 1, 24), (0, 1, 24)])
def test_the_largest_batch_that_fits_is_found_on_the_longest_rows(run, params, most, size, times):
    from datasets import Dataset

    from nbtrain.trainers.llm import _flat

    rows = Dataset.from_list([{"input_ids": [1] * (3 + n % 7), "labels": [1] * (3 + n % 7)} for n in range(40)])
    model, chosen = Hungry(most), params(batch_size=12, gradient_accumulation=2)
    found, facts = _fitting.fitted(chosen, run, model, rows, _flat.padded, Precision(torch.float32), {})
    assert (found.batch_size, found.gradient_accumulation, facts["batch_size"]) == (size, times, size)
    assert model.tried[0] == (12, 9)
    assert model.weight.grad is None
    warned = [event.message for event in story(run.folder.events) if event.kind == "warned"]
    assert len(warned) == (size < 12)


def test_smaller_batches_take_the_same_steps(trained, monkeypatch):
    whole = trained(attn_implementation="sdpa", backend="hf")
    monkeypatch.setattr(_fitting, "_fits", lambda model, batch, precision: len(batch["input_ids"]) <= 2)
    parts = trained(attn_implementation="sdpa", backend="hf", auto_find_batch_size=True)
    assert parts.losses == pytest.approx(whole.losses, abs=1e-5)
    assert of(parts, "started")[0].facts["batch_size"] == 2
    native = trained(attn_implementation="sdpa", backend="native", auto_find_batch_size=True)
    assert native.losses == pytest.approx(whole.losses, abs=1e-5)
