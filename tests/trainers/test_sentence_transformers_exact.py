"""Embeddings: what is trained is what the library alone would train, stopped, exported or with an adapter too."""

import json
import runpy
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.run import all_runs, train_here
from nbtrain.trainers import _texts

ROOM = trainers.load("st")
DEMO = sources.DEMO.with_name("sentence_transformers.jsonl")
SHORT = {"max_seq_length": 32, "batch_size": 16, "lr": 1e-3, "logging_steps": 1}
SCORED, CLASSED = ("sentence1", "sentence2", "score"), ("sentence1", "sentence2", "label")
STEPS = {"save_strategy": "steps", "eval_strategy": "no", "best_model": False}


def demo(*columns, count):
    """Rows of the demo, these columns of them."""
    rows = [json.loads(line) for line in DEMO.read_text(encoding="utf-8").splitlines()[:count]]
    return [{name: row[name] for name in columns} for row in rows]


def plain(path, columns, loss):
    """The losses of 20 steps of sentence-transformers alone, on the rows in `path`; loss: a model to its loss."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from transformers import set_seed

    rows = Dataset.from_list([json.loads(line) for line in Path(path).read_text().splitlines()])
    set_seed(42)
    model = SentenceTransformer(str(_texts.TINY_TEXT), device="cpu", model_kwargs={"dtype": torch.float32})
    model.max_seq_length = 32
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(Path(path).parent / "plain"),
            per_device_train_batch_size=16,
            gradient_accumulation_steps=2,
            learning_rate=1e-3,
            warmup_steps=2,
            max_steps=20,
            logging_steps=1,
            optim="adamw_torch_fused",
            batch_sampler="batch_sampler" if columns in (SCORED, CLASSED) else "no_duplicates",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=rows.select_columns(list(columns)),
        loss=loss(model),
    )
    trainer.train()
    return [each["loss"] for each in trainer.state.log_history if "loss" in each]


@pytest.mark.parametrize(
    ("trainer", "loss", "columns", "theirs"),
    [
        ("pair", None, ("anchor", "positive"), "MultipleNegativesRankingLoss"),
        ("triplet", None, ("anchor", "positive", "negative"), "MultipleNegativesRankingLoss"),
        ("pair_score", None, SCORED, "CoSENTLoss"),
        ("pair_class", None, CLASSED, "ContrastiveLoss"),
        ("pair_class", "softmax", CLASSED, "SoftmaxLoss"),
    ],
)
def test_the_losses_are_those_of_a_plain_script(in_room, table, trainer, loss, columns, theirs):
    from sentence_transformers.sentence_transformer import losses

    given = {"trainer": trainer, "loss": loss, "data_path": table(demo(*columns, count=320)), "valid_fraction": 0}
    ours = in_room("sentence-transformers", gradient_accumulation=2, max_steps=20, **given, **SHORT)
    head = {"embedding_dimension": 96, "num_labels": 2} if loss == "softmax" else {}
    expected = plain(given["data_path"], columns, lambda model: getattr(losses, theirs)(model, **head))
    assert len(expected) == 20
    assert ours.losses == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("trainer", "more"), [("pair", {}), ("pair_score", {}), ("pair_class", {"loss": "softmax"})], ids=str
)
def test_a_run_stopped_in_its_second_epoch_goes_on_to_the_same_weights(in_room, table, same, trainer, more):
    data = table(demo("anchor", "positive", "sentence1", "sentence2", "score", "label", count=48))
    given = {**SHORT, **STEPS, **more, "trainer": trainer, "data_path": data, "epochs": 2, "save_steps": 4}
    whole = in_room("sentence-transformers", valid_fraction=0, **given)
    stopped = in_room("sentence-transformers", valid_fraction=0, asked={4: "stop"}, **given)
    resumed = in_room("sentence-transformers", valid_fraction=0, resume=stopped.folder, **given)
    assert len(whole.losses) == 6
    assert same(whole, resumed)


@pytest.mark.parametrize("merged", [True, False])
def test_an_adapter_is_trained_stopped_and_goes_on(in_room, same, merged):
    from sentence_transformers import SentenceTransformer

    given = {**SHORT, **STEPS, "peft": True, "merge_adapter": merged, "max_steps": 4, "save_steps": 2}
    whole = in_room("sentence-transformers", **given)
    stopped = in_room("sentence-transformers", asked={2: "stop"}, **given)
    resumed = in_room("sentence-transformers", resume=stopped.folder, **given)
    one, other, base = (
        SentenceTransformer(str(place), device="cpu").encode(["A man buys a car."])
        for place in (whole.folder.model, resumed.folder.model, _texts.TINY_TEXT)
    )
    assert numpy.array_equal(one, other) and not numpy.allclose(one, base, atol=1e-3)
    assert (whole.folder.model / "adapter_config.json").exists() != merged
    assert bool(whole.weights) == merged and same(whole, resumed)


def test_an_adapter_that_was_not_merged_is_trained_on(in_room):
    given = {**SHORT, "max_steps": 2, "eval_strategy": "no", "lr": 1e-9}
    first = in_room("sentence-transformers", peft=True, merge_adapter=False, **{**given, "lr": 1e-2})
    second = in_room("sentence-transformers", model=str(first.folder.model), **given)
    texts = ["A man buys a car.", "A kid."]
    one, other = (ROOM.opened(run.params, str(run.folder.model))[0].encode(texts) for run in (first, second))
    assert numpy.allclose(one, other, atol=0.03)  # the first opens in the base's own bfloat16
    assert second.weights and not (second.folder.model / "adapter_config.json").exists()


@pytest.mark.parametrize(("peft", "lr"), [(False, 4e-3), (True, 6e-3)])
def test_the_model_is_that_of_the_best_evaluation(in_room, peft, lr):
    given = {**SHORT, "lr": lr, "scheduler": "constant", "epochs": 3, "peft": peft}
    found = in_room("sentence-transformers", **given)
    scores = [each["spearman"] for each in found.evaluations]
    assert scores[0] < max(scores) > scores[-1], "neither the first nor the last must be the best"
    again = ROOM.evaluate(found.params, str(found.folder.model))
    assert again["spearman"] == pytest.approx(max(scores), abs=1e-3)


def test_the_exported_script_trains_the_same_weights(workdir):
    run = train_here(ROOM.Params(trainer="pair", max_steps=3, **SHORT))
    assert run.status == "finished", run.error
    runpy.run_path(str(run.folder.script), run_name="__main__")
    one, other = (load_file(each.folder.model / "model.safetensors") for each in (run, all_runs()[-1]))
    assert all(torch.equal(one[name], other[name]) for name in one)
