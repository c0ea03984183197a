"""The run of a panel: started in the background, shown in one output of the cell, obeying the buttons."""

import threading
import time

import pytest

from nbtrain.errors import ParamError, RunError
from nbtrain.runs.control import Control


def until(holds, seconds=10):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def test_train_starts_a_run_in_the_background_that_obeys_the_buttons(opened, notebook, train):
    steps = threading.Semaphore(0)
    train(lambda params, run: steps.acquire(timeout=10), steps=5)
    notebook["chats"] = [{"prompt": "a", "response": "b"}]
    panel = opened("llm --trainer sft --df chats --project-name mine")
    panel.board.buttons["train"].click()
    until(lambda: panel.conduct.state == "running")
    until(lambda: "Train is off: mine is running." in panel.board.told.value)
    assert panel.board.buttons["train"].disabled and not panel.board.buttons["stop"].disabled
    assert '"data/train.parquet"' in panel.board.code["script"], "the script reads the copy that the run keeps"
    taker = Control(panel.run.folder)
    for name in ("save", "sample", "pause"):
        panel.board.buttons[name].click()
    assert taker.take() == {"save", "sample", "pause"}
    panel.board.rate.value = "0"
    panel.board.buttons["change"].click()
    assert "--lr should be greater than 0" in panel.board.told.value
    panel.board.rate.value = "1e-5"
    panel.board.buttons["change"].click()
    taker.take()
    assert taker.values == {"lr": 1e-5} and "greater than 0" not in panel.board.told.value
    panel.board.buttons["stop"].click()
    steps.release(5)
    until(lambda: "mine: stopped. Train starts another run." in panel.board.told.value)
    assert not panel.board.buttons["train"].disabled and panel.board.buttons["stop"].disabled


def test_the_view_is_one_output_of_the_cell_that_is_saved_with_what_started_it(notebook, train):
    cell = notebook("p = %autotrain panel llm --trainer sft\np")
    view, place = cell.bundles
    assert view["text/plain"] == "The form of %autotrain llm --trainer sft"
    assert place["text/plain"] == "%autotrain llm --trainer sft"
    edited = notebook("p.form.fields['lr'].control.value = '1e-3'")
    assert edited.updates == [True] and "--lr 0.001" in edited.bundles[0]["text/plain"]
    ran = notebook("p.train()\nimport time\nwhile p.conduct.trains: time.sleep(0.02)\ntime.sleep(0.3)")
    assert ran.error is None and all(ran.updates), "only the display that the panel made is drawn into"
    html = ran.bundles[-1]["text/html"]
    assert "%autotrain llm --trainer sft --lr 0.001</pre>" in html and "finished" in html


def test_what_goes_wrong_at_the_start_is_told_in_words(opened, monkeypatch):
    def broken(folder, secrets=None, *, resume=False):
        raise RunError("no room on the disk", fix="free some")

    monkeypatch.setattr("nbtrain.runs.launch.launch", broken)
    panel = opened()
    panel.board.buttons["train"].click()
    assert "no room on the disk. what to do: free some" in panel.board.told.value


def test_a_form_that_is_not_ready_and_a_run_that_trains_are_no_start(opened, train):
    steps = threading.Semaphore(0)
    train(lambda params, run: steps.acquire(timeout=10), steps=1)
    panel = opened("llm --project-name mine")
    panel.form.fields["epochs"].control.value = "0"
    with pytest.raises(ParamError, match="not ready") as caught:
        panel.train()
    assert "--epochs should be greater than or equal to 1" in caught.value.why
    panel.form.fields["epochs"].control.value = ""
    panel.train()
    with pytest.raises(RunError, match="mine is "):
        panel.train()
    steps.release()
    until(lambda: not panel.conduct.trains)


def test_a_run_that_there_is_opens_with_its_values_and_its_view(notebook, train):
    notebook("run = %autotrain llm --trainer sft --lr 1e-3 --max-samples 9 --project-name first")
    for line in ("%autotrain panel first", "%autotrain panel {run}", "__import__('nbtrain').panel(run)"):
        cell = notebook(f"p = {line}\np")
        panel = notebook["p"]
        assert panel.params == notebook["run"].params and panel.form.fields["max_samples"].text == "9"
        assert "llm: as first was started" in panel.board.widget.children[0].value
        assert "finished" in cell.bundles[-1]["text/plain"], "its last frame stands below"
        assert "first: finished" in panel.board.told.value


def test_what_is_no_room_and_no_run_is_refused_with_the_nearest(notebook):
    assert "no run" in str(notebook("%autotrain panel lllm").error)
    assert "panel needs a run" in str(notebook("%autotrain panel").error)
    assert "--lr should be" in str(notebook("%autotrain panel llm --lr x").error)


def test_a_closed_panel_hears_of_no_cell_and_its_run_goes_on(opened, notebook):
    panel = opened()
    panel.close()
    notebook["later"] = [{"text": "a"}]
    notebook("1")
    assert "later" not in panel.form.fields["data_path"].control.options
