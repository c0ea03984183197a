"""The panel in a real page: filled by keyboard alone, mended, trained, asked for things, and its script run."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.browser

FEW = "--max-samples 40 --max-seq-length 64 --sample-max-new-tokens 8 --epochs 100 --max-steps 900"
OFTEN = "--batch-size 4 --eval-strategy steps --eval-steps 300 --save-strategy steps --save-steps 300"
FOCUSED = """const found = document.activeElement;
return found.getAttribute('aria-label') ?? found.labels?.[0]?.innerText ?? found.innerText ?? '';"""


def tab_to(lab, name):
    """Press Tab until the control with this accessible name has the focus."""
    for _ in range(60):
        if lab.evaluate(FOCUSED).strip() == name:
            return
        lab.page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reaches {name!r}")


def fill(lab, name, text):
    """Go to a field by keyboard and write into it, in place of what stands there."""
    tab_to(lab, name)
    lab.page.keyboard.press("Control+a")
    lab.page.keyboard.type(text)


def begin(lab):
    """Set the focus on the first control of the panel; from there the keyboard goes on."""
    lab.page.get_by_label("begin with").focus()


def panel(lab):
    return lab.page.locator(".nbtrain-panel").first


def press(lab, name):
    """Press a button by keyboard, as soon as it can be pressed."""
    lab.until(lambda: panel(lab).get_by_role("button", name=name, exact=True).is_enabled(), 60)
    begin(lab)
    tab_to(lab, name)
    lab.page.keyboard.press("Space")


def test_a_run_is_filled_in_mended_trained_changed_and_stopped_by_keyboard_and_its_script_runs(lab):
    lab.open(
        f"panel = %autotrain panel llm {FEW} {OFTEN}\npanel",
        "panel.run.wait(60).status",
        "%autotrain export mine again.py",
    )
    lab.run(1)
    lab.until(lambda: panel(lab).count())
    begin(lab)
    tab_to(lab, "trainer")
    lab.page.keyboard.press("s")
    fill(lab, "project name", "mine")
    fill(lab, "lr", "fast")
    lab.until(lambda: "--lr should be a valid number" in panel(lab).inner_text())
    lab.until(lambda: panel(lab).get_by_role("button", name="Train", exact=True).is_disabled(), 5)
    assert "Train is off: see lr." in panel(lab).inner_text()
    lab.picture("panel-fault")
    lab.page.keyboard.press("Control+a")
    lab.page.keyboard.type("1e-3")
    lab.until(lambda: "Ready to train." in panel(lab).inner_text())
    lab.until(
        lambda: all(each in panel(lab).inner_text() for each in ("--trainer sft", "--project-name mine", "--lr 0.001"))
    )
    press(lab, "Copy: As a line")
    lab.until(lambda: "copied" in panel(lab).inner_text())
    press(lab, "Train")
    lab.until(lambda: "Samples at the start" in lab.text(1), 90)
    press(lab, "Sample now")
    lab.until(lambda: "earlier samples" in lab.text(1), 30)
    begin(lab)
    fill(lab, "learning rate", "1e-5")
    press(lab, "Change rate")
    lab.until(lambda: "lr is 1.00e-5, was 0.001000" in lab.text(1), 30)
    press(lab, "Pause")
    lab.until(lambda: "mine is paused" in panel(lab).inner_text(), 30)
    assert lab.cell(1).locator("path.change").count() == 1
    lab.picture("panel-paused")
    lab.save()
    lab.show()  # a reload in the middle
    lab.until(lambda: panel(lab).count() and "mine is paused" in panel(lab).inner_text(), 60)
    press(lab, "Go on")
    lab.until(lambda: "mine is running" in panel(lab).inner_text(), 30)
    press(lab, "Stop")
    lab.until(lambda: "mine: stopped" in panel(lab).inner_text(), 60)
    lab.run(2)
    assert "'stopped'" in lab.text(2)
    assert "lr was 1e-05, not 0.001" in panel(lab).inner_text(), "the script tells of the change"
    lab.run(3)
    script = lab.folder / "again.py"
    assert "max_steps=900," in script.read_text()
    script.write_text(script.read_text().replace("max_steps=900,", "max_steps=3,"))
    done = subprocess.run([sys.executable, script], cwd=lab.folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "finished, step 3" in done.stdout, done.stderr[-2000:]


def test_a_panel_of_a_run_is_opened_again_after_the_kernel_was_restarted(lab):
    lab.open(
        f"panel = %autotrain panel llm --trainer sft --project-name mine {FEW} {OFTEN}\npanel",
        "%load_ext nbtrain",
        "again = %autotrain panel mine\nagain",
    )
    lab.run(1)
    press(lab, "Train")
    lab.until(lambda: "step\t" in lab.text(1) or "of 900" in lab.text(1), 90)
    lab.restart()
    assert "of 900" in lab.text(1), "what was drawn stays"
    lab.run(2)
    lab.run(3)
    opened = lab.cell(3).locator(".nbtrain-panel")
    lab.until(lambda: "mine is running" in opened.inner_text(), 30)
    opened.get_by_role("button", name="Stop", exact=True).click()
    lab.until(lambda: "mine: stopped" in opened.inner_text() and "stopped" in lab.text(3), 60)


def test_rows_of_the_notebook_are_offered_and_the_panel_can_be_read_in_the_dark(lab, audit):
    lab.open(
        "panel = %autotrain panel text-classification\npanel",
        "import pandas as pd\nrows_df = pd.DataFrame({'review': ['a'], 'stars': [1]})",
    )
    lab.run(1)
    lab.run(2)
    offers = "return [...document.querySelectorAll('.nbtrain-panel datalist option')].map(each => each.value);"
    lab.until(lambda: "rows_df" in lab.evaluate(offers))
    begin(lab)
    fill(lab, "data path", "rows_df")
    lab.until(lambda: "pandas.DataFrame: 1 row; columns review, stars" in panel(lab).inner_text())
    fill(lab, "find a field", "text column")
    lab.page.get_by_label("text column", exact=True).wait_for()
    lab.until(lambda: "review" in lab.evaluate(offers))
    fill(lab, "text column", "rewiev")
    lab.until(lambda: "Did you mean review?" in panel(lab).inner_text())
    for theme in ("Dark", "Light"):
        lab.command("apputils:change-theme", f"{{theme: 'JupyterLab {theme}'}}")
        lab.page.wait_for_timeout(1500)
        lab.picture(f"panel-{theme.lower()}")
        ratio, text = lab.weakest_contrast(1, ".nbtrain-panel")
        assert ratio >= 4.5, f"{text!r} has a contrast of {ratio:.2f} in the {theme} theme"
        assert audit(lab.page, ".nbtrain-panel") == []
