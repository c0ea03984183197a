"""DPO: the numbers of a plain TRL script, a reference that is never moved, answers that come to be preferred."""

import math
import runpy
import shutil

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from nbtrain import fit, trainers
from nbtrain.models import load
from nbtrain.run import all_runs

SHORT = {"trainer": "dpo", "batch_size": 2, "max_steps": 20, "valid_fraction": 0, "save_strategy": "no"}


@pytest.fixture(scope="module")
def rows(table, calm_and_loud):
    return table(calm_and_loud(40))


@pytest.fixture(scope="module")
def learnt(whole, table, calm_and_loud):
    return whole(trainer="dpo", data_path=table(calm_and_loud(100)), valid_fraction=0.3, batch_size=8, lr=5e-4)


@pytest.fixture(scope="module")
def adapted(whole, rows):
    """Two runs with an adapter, one of them stopped and resumed."""
    settings = {"trainer": "dpo", "data_path": rows, "peft": True, "lora_dropout": 0.2, "max_steps": 8, "lr": 1e-2}
    straight = whole(**settings)
    stopped = whole(**settings, stop=3)
    return straight, whole(**settings, resume=stopped.folder)


def test_the_losses_are_those_of_a_plain_trl_script(whole, rows, plain, calm_and_loud):
    from trl import DPOConfig, DPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(load.TINY)
    trainer = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(load.TINY, dtype=torch.float32),
        args=DPOConfig(**plain.settings, beta=0.3),
        train_dataset=Dataset.from_list([plain.messages(row) for row in calm_and_loud(40)]),
        processing_class=tokenizer,
    )
    ours = whole(**SHORT, data_path=rows, dpo_beta=0.3)
    assert [values["loss"] for values in ours.logged] == pytest.approx(plain.losses(trainer), abs=1e-5)
    assert ours.logged[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_with_wrong_labels_expected_the_loss_is_the_robust_one(whole, rows):
    exact, robust = (whole(**{**SHORT, "max_steps": 3}, data_path=rows, label_smoothing=share) for share in (0.0, 0.2))
    # where nothing is learnt yet, every share gives the same; afterwards a margin m counts (1 - e) f(m) - e f(-m)
    assert robust.logged[0]["loss"] == pytest.approx(exact.logged[0]["loss"], abs=1e-6)
    assert robust.logged[2]["loss"] < exact.logged[2]["loss"]


def test_held_out_answers_come_to_be_preferred(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert last["rewards/accuracies"] >= 0.9
    assert last["loss"] < first["loss"]
    assert last["rewards/margins"] > first["rewards/margins"]
    assert {"rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected"} <= learnt.logged[0].keys()


def test_each_held_out_pair_counts_once(learnt):
    from nbtrain.trainers.llm import _language, _preferences

    tokens, _ = _language.tokenised(learnt.params, _Quiet(learnt.folder), _preferences.prepare, _preferences.recognise)
    models = [
        AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32) for place in (learnt.folder.model, load.TINY)
    ]
    margins = []
    for row in tokens.valid:
        gained = []
        for side in ("chosen_ids", "rejected_ids"):
            policy, base = (_log_probability(model, row["prompt_ids"], row[side]) for model in models)
            gained.append(policy - base)
        margins.append(0.1 * (gained[0] - gained[1]))
    found = learnt.evaluations[-1]
    assert found["rewards/accuracies"] == pytest.approx(sum(margin > 0 for margin in margins) / len(margins))
    assert found["rewards/margins"] == pytest.approx(sum(margins) / len(margins), rel=1e-3)
    assert found["loss"] == pytest.approx(sum(math.log1p(math.exp(-m)) for m in margins) / len(margins), rel=1e-3)


class _Quiet:
    """A run that nobody listens to."""

    def __init__(self, folder):
        self.folder = folder

    def warn(self, message):
        pass

    def prepared(self):
        pass

    stage = warn


def _log_probability(model, prompt, answer):
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) + at - 1, token].item() for at, token in enumerate(answer))


def test_samples_stand_beside_what_the_reference_writes(learnt):
    before, after = learnt.samples[0], learnt.samples[-1]
    assert [sample["reference"] for sample in before] == [sample["output"] for sample in before]
    assert [sample["reference"] for sample in after] == [sample["output"] for sample in before]
    assert all(sample["expected"] for sample in after)


def test_what_was_saved_answers(learnt):
    room = trainers.load("llm")
    model, tokenizer = room.opened(learnt.params, str(learnt.folder.model))
    assert [type(said) for said in room.predict(learnt.params, model, tokenizer, ["Hello"], max_new_tokens=3)] == [str]


def test_another_model_can_be_the_reference(whole, rows, learnt):
    run = whole(**{**SHORT, "max_steps": 2}, data_path=rows, model_ref=str(learnt.folder.model))
    # the model begins away from this reference, which prefers the chosen answers
    assert run.logged[0]["loss"] > math.log(2) + 0.01
    assert [sample["reference"] for sample in run.samples[0]] != [sample["output"] for sample in run.samples[0]]


def test_the_reference_of_an_adapter_is_the_model_without_it(adapted):
    straight, _ = adapted
    assert straight.logged[0]["rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert straight.evaluations[-1]["rewards/margins"] != pytest.approx(0, abs=1e-3)
    assert [sample["reference"] for sample in straight.samples[0]] == [
        sample["output"] for sample in straight.samples[0]
    ]
    assert (straight.folder.path / "adapter" / "adapter_model.safetensors").is_file()
    assert not (straight.folder.path / "adapter" / "ref").exists()


def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_weights(adapted):
    straight, resumed = adapted
    assert all(torch.equal(straight.weights[name], resumed.weights[name]) for name in straight.weights)
    assert [values["loss"] for values in resumed.logged] == [values["loss"] for values in straight.logged]


def test_the_adapter_of_a_quantised_model_stays_in_full_precision(whole, rows, monkeypatch):
    from nbtrain.trainers.llm import _trl

    seen = []
    fed = _trl._fed
    monkeypatch.setattr(_trl, "_fed", lambda trainer, *rest: (seen.append(trainer.model), fed(trainer, *rest))[1])
    whole(**{**SHORT, "max_steps": 2}, data_path=rows, peft=True, quantization="int4")
    assert {weight.dtype for weight in seen[0].parameters() if weight.requires_grad} == {torch.float32}


def test_the_script_of_a_run_trains_the_same_weights(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    room = trainers.load("llm")
    folder = fit.prepare(
        room.Params(**{**SHORT, "max_steps": 3, "sample_max_new_tokens": 2}, data_path=rows, project_name="first")
    )
    assert fit.fit(folder) == "finished"
    shutil.copy(folder.script, tmp_path / "again.py")
    text = (tmp_path / "again.py").read_text().replace("'first'", "'second'").replace('"first"', '"second"')
    (tmp_path / "again.py").write_text(text)
    runpy.run_path(str(tmp_path / "again.py"), run_name="__main__")
    one, other = (load_file(run.folder.model / "model.safetensors") for run in all_runs())
    assert all(torch.equal(one[name], other[name]) for name in one)
