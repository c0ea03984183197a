"""A run as its owner holds it, after it has been trained."""

import os

import pytest

import nbtrain
from nbtrain.errors import RunError
from nbtrain.run import Run, all_runs, train_here


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run on the built-in model and data."""
    place = tmp_path_factory.mktemp("trained")
    asked = nbtrain.LLMTrainingParams(trainer="sft", lr=1e-3, batch_size=8, max_samples=48, max_steps=6)
    run = train_here(asked, root=place)
    assert run.status == "finished", run.error
    return run


def test_a_run_is_found_again_by_its_folder_with_all_that_it_said(trained):
    again = Run(trained.path)
    assert again.history.equals(trained.history)
    assert again.metrics == trained.metrics
    assert again.samples == trained.samples
    assert again.params == trained.params


def test_the_history_has_a_row_a_step_and_a_column_a_value(trained):
    history = trained.history
    assert list(history.index) == [1, 2, 3, 4, 5, 6]
    assert history["loss"].notna().all()
    assert history["eval_loss"].notna().sum() == len(trained.record.evaluations)
    assert history["eval_loss"].dropna().iloc[-1] == trained.metrics["loss"]


def test_a_run_stands_for_its_model_where_a_model_is_asked_for(trained, workdir):
    asked = nbtrain.LLMTrainingParams(trainer="sft", model=trained, max_samples=16, max_steps=1, eval_strategy="no")
    assert asked.model == os.fspath(trained)
    assert train_here(asked).status == "finished"


def test_a_trained_model_answers_and_is_let_go(trained):
    answer = trained.chat("Name a colour.", max_new_tokens=4, temperature=0)
    assert isinstance(answer, str)
    assert trained.predict(["Name a colour.", "Name a town."], max_new_tokens=4, temperature=0)[0] == answer
    assert trained.chat([{"role": "user", "content": "Name a colour."}], max_new_tokens=4, temperature=0) == answer
    first = trained.model
    trained.free()
    assert trained.model is not first


def test_the_model_of_a_run_that_has_none_is_refused(workdir):
    with pytest.raises(RunError, match="There is no run"):
        Run("nothing")
    failed = train_here(nbtrain.LLMTrainingParams(trainer="sft", data_path="nowhere.jsonl"))
    with pytest.raises(RunError, match="has no model: it is failed"):
        os.fspath(failed)
    assert [run.name for run in all_runs()] == [failed.name]
    assert "nowhere.jsonl" in str(failed.error)


def test_train_raises_what_ended_the_run(workdir):
    with pytest.raises(nbtrain.NbtrainError, match="nowhere.jsonl"):
        nbtrain.train(nbtrain.LLMTrainingParams(trainer="sft", data_path="nowhere.jsonl"))


def test_the_report_says_what_the_journal_says(trained):
    import json

    report = json.loads(trained.folder.report.read_text())
    assert report["steps"] == 6
    assert report["values"]["loss"] == trained.metrics["loss"]
    assert (report["room"], report["method"], report["model"]) == ("llm", "sft", "tiny")
