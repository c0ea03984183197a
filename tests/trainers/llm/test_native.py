"""The native loop: the losses of transformers' Trainer, exact resume, and what it tells of its speed."""

import math

import pytest
import torch
from transformers import TrainerCallback  # noqa: F401  loaded once for all

from nbtrain.errors import ParamError, TrainingError
from nbtrain.models.device import Precision
from nbtrain.runs import checkpoints
from nbtrain.trainers.llm import _measure, _native, _work

NATIVE = {"backend": "native"}


def of(run, kind):
    return [event for event in run.events if event.kind == kind]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradient_accumulation": 3, "weight_decay": 0.1, "max_grad_norm": 0.5},
        {"peft": True, "lora_dropout": 0.0, "scheduler": "cosine"},
        {"attn_implementation": "sdpa", "batch_size": 7},
    ],
    ids=["plain", "accumulated, the last part short", "adapter", "padded"],
)
def test_its_losses_and_weights_are_those_of_the_trainer(trained, changes):
    ours = trained(epochs=2, **NATIVE, **changes)
    theirs = trained(epochs=2, **{"backend": "hf", **changes})
    assert len(ours.losses) == len(theirs.losses) > 5
    assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)
    assert ours.values["loss"] == pytest.approx(theirs.values["loss"], abs=1e-5)
    rates = [[event.values["learning_rate"] for event in of(run, "logged")] for run in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-9)
    assert [event.step for event in of(ours, "evaluated")] == [event.step for event in of(theirs, "evaluated")]


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation": 3, "peft": True, "lora_dropout": 0.2}], ids=str)
def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_weights(trained, same, changes):
    whole = trained(epochs=2, **NATIVE, **changes)
    for step in (2, len(whole.losses) // 2 + 1):
        first = trained(epochs=2, asked={step: "stop"}, **NATIVE, **changes)
        assert first.stopped and checkpoints.newest(first.folder).name == f"checkpoint-{step + 1}"
        rest = trained(epochs=2, resume=first.folder, **NATIVE, **changes)
        assert same(whole, rest)
        assert rest.losses == whole.losses


def test_a_checkpoint_of_it_opens_as_a_model(trained):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = trained(save_strategy="steps", save_steps=5, **NATIVE)
    newest = checkpoints.newest(run.folder)
    opened = AutoModelForCausalLM.from_pretrained(newest)
    assert AutoTokenizer.from_pretrained(newest).eos_token
    assert all(
        torch.equal(weight, run.weights[name]) for name, weight in opened.named_parameters() if name in run.weights
    )


def test_it_tells_tokens_a_second_and_how_much_of_the_device_it_uses(trained):
    for event in of(trained(**NATIVE), "logged"):
        assert event.values["tokens_per_second"] > 0
        assert 0 < event.values["mfu"] < 1.5


def test_the_work_of_a_step_is_counted_as_in_the_paper():
    class Model(torch.nn.Linear):
        class config:
            num_hidden_layers, hidden_size = 2, 8

    meter = _work.Meter(Model(10, 10, bias=False), Precision(torch.float32))
    meter._peak = 1e6
    batch = {"input_ids": torch.zeros(2, 5, dtype=torch.long)}
    assert meter.read([batch], 2.0)["mfu"] == pytest.approx((6 * 100 * 10 + 12 * 2 * 8 * 2 * 25) / 2.0 / 1e6)
    flat = {"input_ids": torch.zeros(1, 10, dtype=torch.long), "bounds": [0, 4, 10]}
    assert meter.read([flat], 2.0)["mfu"] == pytest.approx((6 * 100 * 10 + 12 * 2 * 8 * (16 + 36)) / 2.0 / 1e6)


def test_every_row_is_taken_once_an_epoch_and_the_last_step_takes_what_is_left(params):
    chosen = params(batch_size=4, gradient_accumulation=3)
    steps = [_native.order(26, chosen, epoch, step) for epoch in (0, 1) for step in range(3)]
    assert [len(rows) for rows in steps] == [12, 12, 2] * 2
    assert sorted(sum(steps[:3], [])) == sorted(sum(steps[3:], [])) == list(range(26))
    assert steps[:3] != steps[3:]


def test_a_loss_that_is_no_number_ends_it_with_the_rows(trained, monkeypatch):
    monkeypatch.setattr(_native, "trained", lambda batch: math.nan)
    with pytest.raises(TrainingError, match="not a number at step 1") as caught:
        trained(**NATIVE)
    assert "rows" in caught.value.where


def test_a_model_can_be_compiled(trained, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, dynamic: asked.append(dynamic) or model)
    run = trained(max_steps=2, compile=True, **NATIVE)
    assert asked == [True]
    assert of(run, "started")[0].facts["path"] == "padded batches (native)"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"trainer": "dpo"}, "--backend native: the loss of dpo is TRL's"),
        ({"custom_loss": "a:b"}, "--custom-loss does not work with --backend native"),
    ],
)
def test_what_it_cannot_do_is_refused(params, given, told):
    with pytest.raises(ParamError, match=told):
        params(**NATIVE, **given)


def test_the_means_are_over_tokens():
    rows = [
        {"labels": torch.tensor([[0, 1, 2, 3]]), "loss": 1.0},
        {"labels": torch.tensor([[0, 1, -100]]), "loss": 3.0},
    ]
    found = _measure.means(iter(rows), lambda batch: {"loss": batch["loss"], "cross_entropy": batch["loss"]})
    assert found == pytest.approx({"loss": 1.5, "perplexity": math.exp(1.5)})
