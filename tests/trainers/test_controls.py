"""What a Trainer does when it is asked for something in the middle: another rate, a pause, a sample."""

import shutil

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nbtrain.runs.record import Record
from nbtrain.trainers._rates import Rates

STEPS = {"epochs": 2, "save_strategy": "steps", "save_steps": 4, "save_total_limit": 9, "scheduler": "cosine"}


def of(run, kind):
    return [event for event in run.events if event.kind == kind]


def rates(run):
    return [event.values["learning_rate"] for event in of(run, "logged")]


def test_a_learning_rate_that_is_changed_keeps_its_schedule(trained):
    plain, run = trained(**STEPS), trained(asked={6: ("lr", 1e-4)}, **STEPS)
    assert rates(run)[:7] == rates(plain)[:7]
    assert rates(run)[7:] == pytest.approx([rate / 10 for rate in rates(plain)[7:]])
    assert [(each.step, each.name, each.old, each.new) for each in of(run, "changed")] == [(8, "lr", 1e-3, 1e-4)]


def test_a_run_that_fell_back_behind_a_change_gets_it_again_at_its_step(trained, same):
    whole = trained(asked={4: ("lr", 1e-4)}, **STEPS)
    killed = trained(asked={4: ("lr", 1e-4), 6: "stop"}, **STEPS)
    # as after a kill: nothing is left of what came after step 4, but the journal has the change
    shutil.rmtree(killed.folder.checkpoints / "checkpoint-7")
    once = trained(resume=killed.folder, asked={5: "stop"}, **STEPS)
    shutil.rmtree(once.folder.checkpoints / "checkpoint-6")
    rest = trained(resume=once.folder, **STEPS)
    assert [event.step for event in of(rest, "resumed")] == [4, 4]
    assert [event.step for event in of(rest, "changed")] == [6, 6, 6]
    assert [change.step for change in Record.of(rest.events).changes] == [6]
    assert same(rest, whole)


def test_a_rate_that_is_changed_stays_where_the_run_is_stopped_and_resumed(trained, same):
    whole = trained(asked={4: ("lr", 1e-4)}, **STEPS)
    part = trained(asked={4: ("lr", 1e-4), 9: "stop"}, **STEPS)
    assert same(trained(resume=part.folder, **STEPS), whole)


def test_a_paused_run_has_saved_and_waits_until_it_may_go_on(trained, same):
    run = trained(asked={3: "pause", "paused": "go"}, save_strategy="no")
    assert [
        (event.kind, getattr(event, "new", "")) for event in run.events if event.step == 4 and event.kind != "logged"
    ]
    assert [(event.step, event.new) for event in of(run, "changed")] == [(4, "paused"), (4, "running")]
    assert of(run, "saved")[0].step == 4
    assert same(run, trained(save_strategy="no")), "to wait changes nothing"


def test_a_paused_run_can_be_sampled_and_stopped(trained):
    run = trained(asked={3: "pause", "paused": "stop"}, save_strategy="no", eval_strategy="no")
    assert run.stopped and run.values["steps"] == 4
    assert [event.step for event in of(run, "saved")] == [4]


def test_each_group_keeps_its_share_of_the_rate():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.02}]
    optimizer = torch.optim.SGD(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / 4))
    optimizer.step()
    schedule.step()
    assert Rates(optimizer, schedule).change(0.3) == 0.1
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.225, 0.045])
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.15, 0.03])


def test_a_schedule_without_bases_goes_on_from_the_rate_that_is():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    assert Rates(optimizer, schedule).change(0.04) == pytest.approx(0.1)
    for loss in (1.0, 2.0):
        schedule.step(loss)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02)
