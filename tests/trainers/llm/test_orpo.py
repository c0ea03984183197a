"""ORPO: the numbers of a plain TRL script, one loss for both, and how far it goes from a model that is named."""

import os

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from nbtrain.models import load

SHORT = {"trainer": "orpo", "batch_size": 2, "max_steps": 20, "valid_fraction": 0, "save_strategy": "no"}


@pytest.fixture(scope="module")
def rows(table, calm_and_loud):
    return table(calm_and_loud(40))


@pytest.fixture(scope="module")
def learnt(whole, table, calm_and_loud):
    return whole(
        trainer="orpo",
        data_path=table(calm_and_loud(100)),
        valid_fraction=0.3,
        batch_size=8,
        epochs=2,
        lr=1e-3,
        model_ref="tiny",
    )


def test_the_losses_are_those_of_a_plain_trl_script(whole, rows, plain, calm_and_loud):
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    # TRL adds an end token to what its template writes; this template writes it itself
    written = [
        {
            "prompt": f"[INST] {row['prompt']} [/INST]",
            "chosen": f" {row['chosen']}<|im_end|>",
            "rejected": f" {row['rejected']}<|im_end|>",
        }
        for row in calm_and_loud(40)
    ]
    trainer = ORPOTrainer(
        AutoModelForCausalLM.from_pretrained(load.TINY, dtype=torch.float32),
        args=ORPOConfig(**plain.settings, remove_unused_columns=False, beta=0.5),
        train_dataset=Dataset.from_list(written),
        processing_class=AutoTokenizer.from_pretrained(load.TINY),
    )
    ours = whole(**SHORT, data_path=rows, orpo_alpha=0.5, chat_template="mistral")
    assert [values["loss"] for values in ours.logged] == pytest.approx(plain.losses(trainer), abs=1e-5)


def test_held_out_answers_come_to_be_preferred(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert last["rewards/accuracies"] >= 0.9
    assert last["loss"] < first["loss"]
    assert last["nll_loss"] < first["nll_loss"]
    assert {"rewards/accuracies", "rewards/margins", "log_odds_ratio", "nll_loss"} <= learnt.logged[0].keys()


def test_the_log_ratio_to_a_named_model_is_reported(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert abs(first["log_ratio/chosen"]) < abs(last["log_ratio/chosen"])
    assert last["log_ratio/chosen"] > last["log_ratio/rejected"]
    # a mean over tokens, as its own: the reference's is the difference, and never changes
    still = [values["logps/chosen"] - values["log_ratio/chosen"] for values in (first, last)]
    assert still[0] == pytest.approx(still[1], abs=1e-4)


def test_without_a_reference_none_is_shown(whole, rows):
    run = whole(**{**SHORT, "max_steps": 2}, data_path=rows)
    assert all("reference" not in sample for samples in run.samples for sample in samples)
    assert run.started.facts["path"] == "TRL's ORPOTrainer"


def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_weights(whole, rows):
    settings = {"trainer": "orpo", "data_path": rows, "max_steps": 6}
    straight, stopped = whole(**settings), whole(**settings, stop=2)
    resumed = whole(**settings, resume=stopped.folder)
    assert all(torch.equal(straight.weights[name], resumed.weights[name]) for name in straight.weights)
