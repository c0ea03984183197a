"""The square: once to stop with everything saved, twice to end at once. The kernel goes on either way."""

import os
import signal

import pytest

from nbtrain.runs import checkpoints, status

pytestmark = pytest.mark.browser

LONG = (
    "llm --trainer sft --lr 1e-3 --batch-size 4 --max-samples 40 --max-seq-length 64 --sample-max-new-tokens 8 "
    "--epochs 100 --max-steps 900 --eval-strategy no --save-strategy steps --save-steps 4"
)
LOADS = """
from transformers import AutoModelForCausalLM
from nbtrain.runs.checkpoints import newest
newest(run.folder).name, AutoModelForCausalLM.from_pretrained(newest(run.folder)).num_parameters() > 0
"""


def test_one_interrupt_stops_the_run_with_a_checkpoint_that_loads_and_the_kernel_goes_on(lab):
    lab.open(f"run = %autotrain {LONG} --project-name halted", "run.status, run.record.step", LOADS)
    lab.start(1)
    lab.until(lambda: lab.cell(1).locator(".nbtrain svg path.smooth").count(), 90)
    lab.command("notebook:interrupt-kernel")
    lab.wait_idle(60)
    lab.picture("stopped")
    assert len(lab.outputs(1)) == 1 and "stopped" in lab.text(1)
    lab.run(2)
    assert "('stopped', " in lab.text(2)
    lab.run(3, 90)
    assert f"('{checkpoints.newest(lab.runs()[0]).name}', True)" in lab.text(3)


def test_two_interrupts_end_the_run_at_once_and_keep_the_last_checkpoint(lab):
    lab.open(f"%%autotrain {LONG} --into run\nproject_name = 'ended'", "run.status, run.record.end.checkpoint")
    lab.start(1)
    folder = lab.until(lambda: lab.runs() and checkpoints.newest(lab.runs()[0]) and lab.runs()[0], 90)
    kept = checkpoints.newest(folder)
    worker = status.read(folder).pid
    os.kill(worker, signal.SIGSTOP)  # so that it cannot obey the first interrupt, whatever the speed of the machine
    lab.command("notebook:interrupt-kernel")
    lab.until(lambda: "interrupt again to end it at once" in lab.text(1), 30)
    assert lab.kernel_status() == "busy"
    lab.command("notebook:interrupt-kernel")
    lab.wait_idle(30)
    lab.picture("ended")
    assert "ended at once" in lab.text(1) and len(lab.outputs(1)) == 1
    lab.run(2)
    assert checkpoints.newest(folder) == kept
    assert f"('stopped', 'checkpoints/{kept.name}')" in lab.text(2)
