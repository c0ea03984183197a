"""What a user sees in JupyterLab: the curve while it trains, the kernel free, the stop, the restart."""

import json
import time

import pytest

SHORT = "run = %autotrain llm --trainer sft --epochs 2 --lr 1e-3 --batch-size 8"
LONG = "%autotrain llm --trainer sft --epochs 200 --lr 1e-3 --batch-size 4 --eval-strategy steps --eval-steps 40 --save-strategy steps --save-steps 20"
VIEW = "figure svg polyline, svg polyline, svg path.loss, svg path"


def points_drawn(lab, index):
    """How much curve the cell shows: the length of all line data in its output."""
    return lab.evaluate(
        f"""const area = document.querySelectorAll('.jp-Notebook .jp-Cell')[{index}];
        const lines = [...area.querySelectorAll('.jp-OutputArea svg polyline, .jp-OutputArea svg path')];
        return lines.map(line => (line.getAttribute('points') || line.getAttribute('d') || '').length).reduce((a, b) => a + b, 0);"""
    )


def stop_all(lab):
    """End every run that a test left behind."""
    for status in lab.folder.glob("runs/*/status.json"):
        control = status.parent / "control"
        control.mkdir(exist_ok=True)
        (control / "stop").touch()


@pytest.fixture(autouse=True)
def no_run_stays(lab):
    yield
    stop_all(lab)


def test_the_curve_grows_while_the_cell_trains_and_one_output_stays(lab):
    lab.open("%load_ext nbtrain", LONG + " --max-steps 120 --project-name grows", "print('after')")
    lab.run(0)
    lab.start(1)
    lab.until(lambda: points_drawn(lab, 1) > 0, 60)
    sizes = {points_drawn(lab, 1)}
    end = time.time() + 60
    while lab.kernel_status() == "busy" and time.time() < end:
        sizes.add(points_drawn(lab, 1))
        lab.page.wait_for_timeout(200)
    assert len(sizes) >= 3, "the curve should be redrawn while it trains"
    lab.wait_idle()
    outputs = lab.outputs(1)
    assert len(outputs) == 1
    assert {"text/html", "image/png", "text/plain"} <= set(outputs[0]["data"])
    assert len(json.dumps(outputs)) < 60_000
    assert "finished" in lab.text(1)
    lab.picture("finished-light")
    lab.command("apputils:change-theme", "{theme: 'JupyterLab Dark'}")
    lab.page.wait_for_timeout(1500)
    lab.picture("finished-dark")
    lab.command("apputils:change-theme", "{theme: 'JupyterLab Light'}")


def test_another_cell_answers_within_a_second_during_a_background_run(lab):
    lab.open("%load_ext nbtrain", f"run = {LONG} --background --project-name behind", "6 * 7", "run.status", "run.stop()")
    lab.run(0)
    lab.run(1)
    lab.until(lambda: points_drawn(lab, 1) > 0, 60)
    lab.run(3)
    assert "running" in lab.text(3)
    begin = time.time()
    lab.run(2, seconds=5)
    assert "42" in lab.text(2)
    assert time.time() - begin < 1
    lab.until(lambda: "prompt" in lab.text(1).lower(), 30)
    lab.picture("background")
    lab.run(4)
    lab.until(lambda: "stopped" in lab.text(1), 30)


def test_one_interrupt_stops_the_run_with_a_checkpoint_that_loads(lab):
    lab.open(
        "%load_ext nbtrain",
        f"run = {LONG} --project-name halted",
        "print(run.status, run.record.step)",
        "from transformers import AutoModelForCausalLM\n"
        "from nbtrain.runs.checkpoints import newest\n"
        "model = AutoModelForCausalLM.from_pretrained(newest(run.folder))\nprint('loads', model.num_parameters())",
    )
    lab.run(0)
    lab.start(1)
    lab.until(lambda: points_drawn(lab, 1) > 0, 60)
    lab.command("notebook:interrupt-kernel")
    lab.wait_idle(30)
    lab.run(2)
    assert lab.text(2).split()[0] == "stopped"
    assert int(lab.text(2).split()[1]) > 0
    lab.run(3)
    assert "loads" in lab.text(3)
    lab.picture("stopped")


def test_after_a_kernel_restart_attach_shows_the_whole_curve_and_the_run_goes_on(lab):
    lab.open(
        "%load_ext nbtrain",
        f"{LONG} --background --project-name survivor",
        "%load_ext nbtrain\nrun = %autotrain attach survivor --background\nprint(run.status, run.record.step)",
        "print(run.status, run.record.step)",
    )
    lab.run(0)
    lab.run(1)
    lab.until(lambda: points_drawn(lab, 1) > 0, 60)
    lab.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart();")
    lab.page.wait_for_timeout(1000)
    lab.wait_idle(60)
    lab.run(2)
    state, step = lab.text(2).split()[:2]
    assert state == "running"
    assert points_drawn(lab, 2) > 0
    lab.page.wait_for_timeout(3000)
    lab.run(3)
    assert lab.text(3).split()[0] == "running"
    assert int(lab.text(3).split()[1]) > int(step)
    lab.picture("attached")


def test_tab_after_two_letters_of_a_flag_offers_it(lab):
    lab.open("%load_ext nbtrain", "%autotrain llm --tr")
    lab.run(0)
    lab.select(1)
    lab.command("notebook:enter-edit-mode")
    lab.page.wait_for_timeout(300)
    lab.page.keyboard.press("End")
    lab.command("completer:invoke-notebook")
    lab.until(lambda: "--trainer" in " ".join(lab.page.locator(".jp-Completer").all_inner_texts() + [source(lab, 1)]), 15)
    lab.picture("completion")


def source(lab, index):
    return lab.evaluate(f"return jupyterapp.shell.currentWidget.content.widgets[{index}].model.sharedModel.getSource();")
