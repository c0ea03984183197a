"""The native loop with a model, rows and batches of the caller's, as a run like any other."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from nbtrain import native
from nbtrain.errors import TrainingError
from nbtrain.models import load


class Bigram(torch.nn.Module):
    """The next of ten tokens from the last one."""

    def __init__(self):
        super().__init__()
        self.scores = torch.nn.Embedding(10, 10)

    def forward(self, input_ids, labels, **rest):
        scores = self.scores(input_ids[:, :-1]).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(scores, labels[:, 1:].flatten(), ignore_index=-100)
        return SimpleNamespace(loss=loss)


ORDERED = [[(start + at) % 10 for at in range(12)] for start in range(10)]
ROWS = [{"input_ids": ids, "labels": ids} for ids in ORDERED]


def fitted(*, model=None, **given):
    torch.manual_seed(0)
    model = model or Bigram()
    run = native.fit(model, None, ROWS, **{"lr": 0.5, "batch_size": 4, "epochs": 10, "logging_steps": 1, **given})
    return model, run


def test_a_module_of_ones_own_learns_and_its_weights_are_saved(workdir):
    heard = []
    model, run = fitted(valid=ROWS[:2], callbacks=[heard.append], project_name="mine")
    assert run.status == "finished" and run.path == workdir / "mine"
    losses = run.history["loss"]
    assert losses.iloc[-1] < 0.5 < 2 < losses.iloc[0]
    assert run.metrics["loss"] < 0.5
    assert (model.scores.weight.argmax(-1) == (torch.arange(10) + 1) % 10).all()
    assert torch.equal(load_file(run.folder.model / "model.safetensors")["scores.weight"], model.scores.weight)
    assert [event.kind for event in heard][:3] == ["warned", "started", "logged"]
    assert heard[-1].kind == "finished"
    assert run.params.backend == "native" and run.params.data_path == "(10 rows of the caller)"


def test_rows_are_collated_as_the_caller_says(workdir):
    seen = []

    def collate(rows):
        seen.append(len(rows))
        ids = torch.tensor([row["input_ids"] for row in rows])
        return {"input_ids": ids, "labels": ids}

    fitted(collate=collate, epochs=1, batch_size=4)
    assert seen == [4, 4, 2]


def test_a_callback_can_stop_the_run(workdir):
    from nbtrain.run import Run

    def stop(event):
        if event.kind == "logged" and event.step == 2:
            Run("mine").stop()

    _, run = fitted(callbacks=[stop], project_name="mine")
    assert run.status == "stopped" and run.record.step == 3


def test_a_model_of_transformers_is_saved_with_its_tokenizer(workdir):
    model, words = load.saved_model("tiny").float(), load.saved_tokenizer("tiny")
    _, run = fitted(model=model, epochs=1, lr=1e-3)
    run2 = native.fit(model, words, ROWS, epochs=1, lr=1e-3, batch_size=4)
    assert load.verify(run2.folder.model).startswith("The saved model opens")
    assert run.status == run2.status == "finished"


def test_a_failure_is_raised_and_in_the_record(workdir):
    class Broken(Bigram):
        def forward(self, **given):
            return SimpleNamespace(loss=super().forward(**given).loss * float("nan"))

    with pytest.raises(TrainingError, match="not a number at step 1"):
        fitted(model=Broken(), project_name="mine")
    from nbtrain.run import Run

    assert Run("mine").status == "failed"
