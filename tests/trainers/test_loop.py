"""The loop: what it tells, what it obeys, what it survives, and that nothing of it changes the weights."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer

from nbtrain.errors import ParamError, TrainingError
from nbtrain.runs import checkpoints


def of(run, kind):
    return [event for event in run.events if event.kind == kind]


def break_loss(monkeypatch, call, break_it):
    """Let the loss of the `call`-th training batch be what `break_it` makes of it."""
    compute, calls = Trainer.compute_loss, []

    def broken(self, model, inputs, *rest, **named):
        loss = compute(self, model, inputs, *rest, **named)
        if model.training:
            calls.append(inputs)
            if len(calls) == call:
                return break_it(loss)
        return loss

    monkeypatch.setattr(Trainer, "compute_loss", broken)


def out_of_memory(loss):
    raise torch.OutOfMemoryError("no memory left")


def test_a_run_tells_its_story_in_order(trained):
    run = trained(epochs=2)
    kinds = [event.kind for event in run.events if event.kind != "logged"]
    assert kinds == ["started", "sampled", "evaluated", *["evaluated", "sampled", "saved"] * 2]
    assert [event.step for event in of(run, "evaluated")] == [1, 10, 20]
    assert [event.step for event in of(run, "logged")] == list(range(1, 21))
    assert of(run, "started")[0].total_steps == 20
    assert of(run, "started")[0].facts["rows"] == 40
    assert [event.label for event in of(run, "sampled")] == ["base", "", ""]
    assert of(run, "sampled")[0].samples[0]["expected"] == "an answer"
    assert all(event.values["tokens_per_second"] > 0 for event in of(run, "logged"))


def test_training_is_learning(trained):
    run = trained(epochs=3)
    evaluations = [event.values["loss"] for event in of(run, "evaluated")]
    assert sum(run.losses[-4:]) < sum(run.losses[:4])
    assert evaluations[-1] < evaluations[0] - 0.3


def test_the_evaluation_is_the_mean_over_all_trained_tokens(trained, tokens):
    run = trained()
    model = AutoModelForCausalLM.from_pretrained(run.folder.model, dtype=torch.float32)
    total, count = 0.0, 0
    for row in tokens.valid:
        logits = model(torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
        found = [-logits[at - 1, label].item() for at, label in enumerate(row["labels"]) if label != -100]
        total, count = total + sum(found), count + len(found)
    assert run.values["loss"] == pytest.approx(total / count, rel=1e-5)
    assert run.values["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradient_accumulation": 3},
        {"peft": True, "lora_dropout": 0.2},
        {"peft": True, "lora_dropout": 0.2, "quantization": "int4"},
        {"attn_implementation": "sdpa"},
    ],
    ids=["full", "accumulated", "adapter", "int4", "grouped by length"],
)
def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_weights(trained, same, changes):
    whole = trained(epochs=2, **changes)
    last = len(whole.losses)
    for step in (2, last // 2 - 1, last // 2 + 2):
        first = trained(epochs=2, asked={step: "stop"}, **changes)
        assert first.stopped
        assert checkpoints.newest(first.folder).name == f"checkpoint-{step + 1}"
        rest = trained(epochs=2, resume=first.folder, **changes)
        assert same(whole, rest)
        assert rest.losses == whole.losses
        assert of(rest, "resumed")[0].step == step + 1


def test_a_run_can_begin_at_the_checkpoint_of_another(trained, same):
    whole = trained(epochs=2)
    first = trained(epochs=2, asked={5: "stop"})
    begin = checkpoints.newest(first.folder)
    second = trained(epochs=2, resume_from_checkpoint=str(begin))
    assert [event.kind for event in second.events[:2]] == ["started", "resumed"]
    assert second.events[1].checkpoint == str(begin)
    assert same(whole, second)


def test_what_is_no_checkpoint_cannot_be_begun_at(trained, tmp_path):
    with pytest.raises(ParamError, match="is no checkpoint of a training"):
        trained(resume_from_checkpoint=str(tmp_path))
    damaged = checkpoints.newest(trained(asked={2: "stop"}).folder)
    (damaged / "optimizer.pt").write_bytes(b"")
    with pytest.raises(ParamError, match="damaged checkpoint"):
        trained(resume_from_checkpoint=str(damaged))


def test_samples_change_nothing(trained, same):
    changes = {"epochs": 2, "peft": True, "lora_dropout": 0.2}
    often = trained(sample_every_n_steps=2, **changes)
    assert len(of(often, "sampled")) == 11
    assert same(often, trained(**changes))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained, same):
    assert same(trained(seed=1), trained(seed=1))
    assert not same(trained(seed=1), trained(seed=2))


def test_a_checkpoint_and_a_sample_can_be_asked_for(trained):
    run = trained(asked={3: "save", 6: "sample"}, save_strategy="no", eval_strategy="no")
    assert [event.step for event in of(run, "saved")] == [4]
    assert [event.step for event in of(run, "sampled")] == [0, 7]
    assert not checkpoints.faults(run.folder.path / of(run, "saved")[0].path)


def test_only_so_many_checkpoints_are_kept(trained):
    run = trained(save_strategy="steps", save_steps=2, save_total_limit=2)
    assert [path.name for path in checkpoints.by_step(run.folder)] == ["checkpoint-10", "checkpoint-8"]


def test_a_stop_does_not_wait_for_an_evaluation(trained):
    run = trained(asked={4: "stop"})
    assert [event.step for event in of(run, "evaluated")] == [1]
    assert run.events[-1].kind == "saved"
    assert run.values["steps"] == 5


def test_training_ends_when_the_loss_no_longer_falls(trained):
    run = trained(epochs=5, lr=1e-12, eval_strategy="steps", eval_steps=2, early_stopping_patience=2)
    assert run.values["steps"] <= 12
    assert "early-stopping-patience" in of(run, "warned")[-1].message


def test_a_training_that_made_the_model_worse_says_so(trained):
    run = trained(best_model=True, lr=0.3)
    first, last = (event.values["loss"] for event in of(run, "evaluated"))
    told = f"No evaluation was better than the first: loss {first:.4g}, now {last:.4g}."
    assert last > first and [event for event in of(run, "warned") if event.message.startswith(told)]


def test_a_loss_that_is_no_number_ends_the_run_with_its_step_and_rows(trained, tokens, monkeypatch):
    break_loss(monkeypatch, 3, lambda loss: loss * math.nan)
    with pytest.raises(TrainingError, match="not a number at step 3") as caught:
        trained()
    rows = [int(word.rstrip(",")) for word in caught.value.where.partition("rows ")[2].split()]
    assert len(rows) == 4
    assert all(1 <= row <= len(tokens.train) for row in rows)


def test_a_step_whose_loss_is_no_number_can_be_left_out(trained, monkeypatch):
    break_loss(monkeypatch, 3, lambda loss: loss * math.nan)
    run = trained(on_nan="skip")
    assert "Steps left out: 1" in of(run, "warned")[-1].message
    assert run.values["steps"] == 10
    assert all(weight.isfinite().all() for weight in run.weights.values())
    assert math.isfinite(run.values["loss"])


def test_no_memory_left_is_told_with_what_helps(trained, monkeypatch):
    break_loss(monkeypatch, 2, out_of_memory)
    with pytest.raises(TrainingError, match="out of memory") as caught:
        trained()
    assert caught.value.where == "step 2"
    assert all(flag in caught.value.fix for flag in ("--batch-size", "--peft", "--max-seq-length"))
