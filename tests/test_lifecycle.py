"""The lifecycle that users of Oumi and AlignTune know, with a training that is real where its numbers are asked for."""

import json

import pytest
from transformers import AutoModelForCausalLM

import nbtrain
from nbtrain import hub
from nbtrain.errors import ParamError, RunError
from nbtrain.lifecycle import TrainerBase, TrainingState, create_rl_trainer, create_sft_trainer

ROWS = [{"prompt": f"What is {n}?", "response": f"It is {n + 1}."} for n in range(40)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with data in it."""
    with pytest.MonkeyPatch.context() as patch:
        here = tmp_path_factory.mktemp("lifecycle")
        patch.chdir(here)
        for name, rows in (("rows.jsonl", ROWS), ("others.jsonl", ROWS[:7])):
            (here / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        yield here


@pytest.fixture(scope="module")
def trained(place):
    """A trainer that has trained, and what it gave back."""
    trainer = create_sft_trainer(
        model_name="tiny",
        dataset_name="rows.jsonl",
        backend="trl",
        num_epochs=2,
        per_device_batch_size=6,
        learning_rate=1e-3,
        max_seq_length=64,
        output_dir="mine",
        logging_steps=1,
        sample_max_new_tokens=3,
    )
    return trainer, trainer.train()


def test_it_trains_and_gives_the_last_values_back(trained, place):
    trainer, results = trained
    assert trainer.params.changed() == {
        "trainer": "sft",
        "backend": "trl",
        "max_seq_length": 64,
        "project_name": "mine",
        "data_path": "rows.jsonl",
        "lr": 1e-3,
        "epochs": 2,
        "batch_size": 6,
        "logging_steps": 1,
        "sample_max_new_tokens": 3,
    }
    assert results["steps"] == 12 and results["loss"] < 5
    assert trainer.run.status == "finished" and trainer.run.path == place / "mine"
    told = [notice.message for notice in trainer.run.record.notices]
    assert told[0] == (
        "Read by their names here: num_epochs as epochs, per_device_batch_size as batch_size, learning_rate as lr."
    )


def test_the_state_is_that_of_the_run(trained):
    trainer, results = trained
    state = trainer.state
    assert (state.step, state.epoch, state.metric, state.direction) == (12, 2.0, "loss", "minimize")
    assert state.best_metric == results["loss"] and state.best_step == 12
    assert state.checkpoint_path.name == "checkpoint-12"
    assert 0 < state.elapsed < 600


def test_an_evaluation_of_the_saved_model_gives_what_the_run_measured(trained):
    trainer, results = trained
    again = trainer.evaluate()
    assert again == pytest.approx({name: results[name] for name in ("loss", "perplexity")}, rel=1e-5)


def test_other_data_can_be_measured(trained):
    trainer, results = trained
    found = trainer.evaluate("others.jsonl")
    assert found.keys() == {"loss", "perplexity"} and found["loss"] != results["loss"]
    rows = trainer.evaluate(ROWS[:7])
    assert rows == pytest.approx(found, rel=1e-6)


def test_it_predicts_one_or_many(trained):
    trainer, _ = trained
    assert isinstance(trainer.predict("What is 3?", max_new_tokens=3), str)
    assert len(trainer.predict(["What is 3?", "What is 4?"], max_new_tokens=3)) == 2


def test_the_model_is_where_it_says_and_can_be_copied(trained, place):
    trainer, _ = trained
    assert trainer.save_model() == place / "mine" / "model"
    copy = trainer.save_model("copy")
    assert AutoModelForCausalLM.from_pretrained(copy).num_parameters() > 0
    with pytest.raises(RunError, match="copy is there already"):
        trainer.save_model("copy")


def test_it_is_pushed_with_the_run(trained, monkeypatch):
    trainer, _ = trained
    asked = []
    monkeypatch.setattr(hub, "push", lambda folder, name, **given: asked.append((folder.name, name, given)) or "url")
    assert trainer.push_to_hub("somebody/model") == "url"
    assert asked == [("mine", "somebody/model", {"private": None, "token": None})]


def test_before_training_there_is_nothing_to_ask():
    trainer = create_sft_trainer()
    assert trainer.state == TrainingState()
    for ask in (trainer.evaluate, trainer.save_model, lambda: trainer.predict("x")):
        with pytest.raises(RunError, match="nothing has been trained yet"):
            ask()


@pytest.mark.parametrize("algorithm", ["dpo", "orpo", "ppo", "grpo", "DPO"])
def test_an_algorithm_is_a_method_of_the_room(algorithm):
    needs = {"reward_functions": "length"} if algorithm in ("ppo", "grpo") else {}
    trainer = create_rl_trainer(
        model_name="tiny", dataset_name="pairs.jsonl", algorithm=algorithm, backend="trl", **needs
    )
    assert isinstance(trainer, TrainerBase)
    backend = "auto" if algorithm == "ppo" else "trl"
    assert (trainer.params.trainer, trainer.params.backend) == (algorithm.lower(), backend)
    assert any("no PPO any more" in notice for notice in trainer.params.notices) == (algorithm == "ppo")


def test_the_public_names_are_those_of_the_package():
    assert nbtrain.create_sft_trainer is create_sft_trainer
    assert nbtrain.create_rl_trainer is create_rl_trainer


@pytest.mark.parametrize(
    ("make", "given", "told"),
    [
        (create_sft_trainer, {"epoch": 3}, "Did you mean --epochs"),
        (create_sft_trainer, {"num_epochs": 0}, "--epochs should be greater"),
        (create_sft_trainer, {"task_type": "text_clasification"}, "no task_type"),
        (create_sft_trainer, {"backend": "jax"}, "--backend is one of"),
        (create_sft_trainer, {"task_type": "text_classification", "backend": "unsloth"}, "trains language models"),
        (create_rl_trainer, {"algorithm": "kto"}, "--trainer is one of"),
        (create_sft_trainer, {"image_column": "picture"}, "--image-column is refused"),
    ],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
def test_what_cannot_be_is_told_before_training(make, given, told):
    with pytest.raises(ParamError, match=told):
        make(**given)


@pytest.mark.parametrize("task", ["text_classification", "token_classification"])
def test_a_task_with_a_room_of_its_own_is_made_there(task):
    trainer = create_sft_trainer(dataset_name="rows.csv", task_type=task, num_epochs=3)
    assert (trainer.params.room, trainer.params.epochs) == (task.replace("_", "-"), 3)
