"""What a user sees while a run goes on: the curve grows, the kernel is free, a restart or a reload loses nothing."""

import json
import time

import pytest

pytestmark = pytest.mark.browser

TINY = "llm --trainer sft --lr 1e-3 --batch-size 4 --max-samples 40 --max-seq-length 64 --sample-max-new-tokens 8"
STEPS = "--epochs 100 --eval-strategy steps --eval-steps 10 --save-strategy steps --save-steps 10"
LONG = f"{TINY} {STEPS} --max-steps 900"


def curve(lab, index):
    """All line data in a cell's output."""
    return lab.evaluate(
        f"""const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[{index}];
        return [...cell.querySelectorAll('.jp-OutputArea svg path')].map(path => path.getAttribute('d')).join();"""
    )


def frames(lab, index):
    """How many views of a run a cell shows."""
    return lab.cell(index).locator(".jp-OutputArea .nbtrain").count()


def step_shown(lab, index):
    """The step in the view, 0 before there is one."""
    return lab.evaluate(
        f"""const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[{index}];
        const step = cell.querySelector('.jp-OutputArea .nbtrain .tiles')?.innerText.match(/([\\d,]+) of/);
        return step ? Number(step[1].replace(',', '')) : 0;"""
    )


def test_the_curve_and_the_samples_come_while_it_trains_and_one_output_is_saved(lab, audit):
    lab.open(f"run = %autotrain {TINY} {STEPS} --max-steps 40 --project-name grows", "run.status, run.record.step")
    lab.start(1)
    lab.until(lambda: "Samples at the start" in lab.text(1), 90)
    curves, sampled = set(), set()
    while lab.kernel_status() == "busy":
        curves.add(curve(lab, 1))
        sampled |= {line for line in lab.text(1).split("\n") if line.startswith("Samples at")}
        lab.page.wait_for_timeout(100)
    assert len(curves) >= 5, "the curve is redrawn while it trains"
    assert len(sampled) >= 3, f"samples appear while it trains; seen: {sampled}"
    assert frames(lab, 1) == 1
    lab.run(2)
    assert "('finished', 40)" in lab.text(2)
    (output,) = lab.save()[1]["outputs"]
    assert set(output["data"]) == {"text/html", "image/png", "text/plain"}
    assert len(json.dumps(output)) < 60_000
    assert "40 of 40" in "".join(output["data"]["text/html"])
    for theme in ("Dark", "Light"):
        lab.command("apputils:change-theme", f"{{theme: 'JupyterLab {theme}'}}")
        lab.page.wait_for_timeout(1500)
        lab.picture(f"finished-{theme.lower()}")
        ratio, text = lab.weakest_contrast(1)
        assert ratio >= 4.5, f"{text!r} has a contrast of {ratio:.2f} in the {theme} theme"
        assert audit(lab.page, ".nbtrain") == []


def test_the_kernel_is_free_during_a_background_run_and_a_reloaded_page_finds_it_again(lab):
    lab.open(
        f"run = %autotrain {LONG} --background --project-name behind",
        "6 * 7",
        "again = %autotrain attach behind --background",
        "%autotrain stop behind",
        "run.wait(60).status",
    )
    lab.run(1)
    lab.until(lambda: step_shown(lab, 1) > 3, 90)
    begin = time.monotonic()
    lab.run(2, seconds=10)
    assert time.monotonic() - begin < 1, "another cell answers within a second"
    assert "42" in lab.text(2)
    before = step_shown(lab, 1)
    lab.until(lambda: step_shown(lab, 1) > before, 30)
    assert len(lab.outputs(1)) == 1
    lab.save()
    lab.show()
    assert frames(lab, 1) == 1, "the page shows what was saved"
    lab.run(3)
    before = lab.until(lambda: step_shown(lab, 3), 30)
    lab.until(lambda: step_shown(lab, 3) > before, 30)
    lab.run(4)
    lab.until(lambda: "stopped" in lab.text(3), 60)
    lab.run(5)
    assert "'stopped'" in lab.text(5)


def test_a_run_outlives_its_kernel_and_is_attached_stopped_and_resumed_on_one_curve(lab):
    lab.open(
        f"%autotrain {LONG} --background --project-name survivor",
        "%load_ext nbtrain",
        "run = %autotrain attach survivor --background",
        "%autotrain stop survivor",
        "state, stopped_at = run.wait(60).status, run.record.step\n(state, stopped_at)",
        "run = %autotrain resume survivor --background",
        "steps = list(run.history.index)\nsteps == sorted(set(steps)), min(steps) <= 2, max(steps) > stopped_at",
        "%autotrain stop survivor",
    )
    lab.run(1)
    before = lab.until(lambda: step_shown(lab, 1) > 12 and step_shown(lab, 1), 90)
    lab.restart()
    lab.run(2)
    lab.run(3)
    attached = lab.until(lambda: step_shown(lab, 3), 30)
    assert attached >= before and "running" in lab.text(3)
    assert curve(lab, 3).count(",") > 12, "the whole curve is there, not what came after"
    lab.until(lambda: step_shown(lab, 3) > attached, 30)
    lab.picture("attached")
    lab.run(4)
    assert "asked to stop" in lab.text(4)
    lab.run(5, 90)
    assert "'stopped'" in lab.text(5)
    stopped = int(lab.text(5).split(",")[1].strip(" )"))  # the view may be a frame behind
    lab.run(6)
    lab.until(lambda: step_shown(lab, 6) > stopped, 90)
    lab.run(7)
    assert "(True, True, True)" in lab.text(7)
    assert len(lab.outputs(6)) == 1
    lab.picture("resumed")
    lab.run(8)
    lab.until(lambda: "stopped" in lab.text(6), 60)
