"""A loop of our own obeys the rules of every loop: on a line through points, where each step is plain."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.errors import ParamError, TrainingError
from nbtrain.models import load
from nbtrain.runs import checkpoints, control
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal, story
from nbtrain.trainers import _steps
from nbtrain.trainers._news import Told

QUICK = {"lr": 0.05, "batch_size": 4, "epochs": 2, "logging_steps": 1, "warmup_ratio": 0.0}


@pytest.fixture
def trained(tmp_path):
    """Train a line in ten steps of five an epoch; what came of it.

    spoil: the step whose loss is no number. evaluate: measure held-out rows, or the losses to be found there.
    """
    runs = iter(range(100))

    def go(*, asked=None, resume=None, spoil=None, evaluate=True, take=None, **changes):
        folder = resume or RunFolder(tmp_path / f"run-{next(runs)}")
        folder.path.mkdir(exist_ok=True)
        params = trainers.load("llm").Params(**{**QUICK, **changes})
        with Journal(folder.events) as journal:
            run = ActiveRun(folder, journal, resume_from=checkpoints.newest(folder) if resume else None)
            values, model = _train(params, run, asked or {}, spoil, evaluate, take)
        events = list(story(folder.events))
        return SimpleNamespace(folder=folder, values=values, events=events, weights=model.state_dict(), run=run)

    return go


def _train(params, run, asked, spoil, evaluate, take):
    torch.manual_seed(params.seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
    points = torch.randn(20, 3)
    truth = points.sum(1, keepdim=True)
    settings = _steps.settings(
        params,
        run,
        epoch_steps=5,
        device=load.device(),
        precision=load.precision(params, load.device()),
        evaluate=bool(evaluate),
    )
    optimizer = _steps.optimizer(settings, model)
    course = _steps.schedule(settings, optimizer, settings.max_steps)
    parts = _steps.Parts({"model": model}, {"optimizer": optimizer, "schedule": course})
    told = Told({"rows": 20}, take, metric="loss")
    fixed = iter(evaluate if isinstance(evaluate, list) else ())

    def measure():
        return {"loss": next(fixed, None) or ((model(points) - truth) ** 2).mean().item()}

    steps = _steps.Steps(params, run, settings, parts, told, epoch_steps=5, evaluate=measure if evaluate else None)
    requests = run.requests

    def ask():
        wish = asked.pop(steps.done, None)
        if isinstance(wish, tuple):
            control.change(run.folder, *wish)
        return requests() | ({wish} if isinstance(wish, str) else set())

    run.requests = ask
    with _steps.memory_told(lambda: steps.done + 1, params.batch_size):
        for step in steps:
            at = steps.epoch(step)[1] * 4
            loss = ((model(points[at : at + 4]) - truth[at : at + 4]) ** 2).mean()
            loss = loss * float("nan") if step == spoil else loss
            loss.backward()
            if steps.sound(torch.nn.utils.clip_grad_norm_(model.parameters(), params.max_grad_norm)):
                optimizer.step()
            optimizer.zero_grad()
            course.step()
            steps.log({"loss": loss, "learning_rate": optimizer.param_groups[0]["lr"]}, tokens=4)
        return steps.end(), model


def kinds(run, *wanted):
    return [(event.kind, event.step) for event in run.events if event.kind in wanted]


def rates(run):
    return [event.values["learning_rate"] for event in run.events if event.kind == "logged"]


def same(one, other):
    return all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_it_tells_evaluates_and_saves_when_a_trainer_would(trained):
    run = trained()
    assert kinds(run, "started", "evaluated", "saved") == [
        ("started", None), ("evaluated", 1), ("evaluated", 5), ("saved", 5), ("evaluated", 10), ("saved", 10),
    ]  # fmt: skip
    logged = [event for event in run.events if event.kind == "logged"]
    assert [event.step for event in logged] == list(range(1, 11)) and logged[4].epoch == 1
    assert logged[-1].values["loss"] < logged[0].values["loss"] / 2
    assert logged[0].values["tokens_per_second"] > 0
    assert run.events[0].total_steps == run.values["steps"] == 10
    assert run.values["loss"] == pytest.approx(run.events[-2].values["loss"])


def test_values_are_means_over_the_steps_since_the_last_time(trained):
    every, fifth = trained(evaluate=False), trained(evaluate=False, logging_steps=5)
    losses = [event.values["loss"] for event in every.events if event.kind == "logged"]
    rates = [event.values["learning_rate"] for event in every.events if event.kind == "logged"]
    told = [event for event in fifth.events if event.kind == "logged"]
    assert [event.step for event in told] == [1, 5, 10]
    assert told[2].values["loss"] == pytest.approx(sum(losses[5:]) / 5)
    assert told[2].values["learning_rate"] == rates[-1]


def test_a_stopped_run_resumes_to_the_same_weights(trained):
    whole = trained()
    part = trained(asked={3: "stop"}, eval_strategy="no", evaluate=False)
    assert kinds(part, "saved") == [("saved", 3)] and part.values["steps"] == 3
    rest = trained(resume=part.folder)
    assert kinds(rest, "resumed") == [("resumed", 3)] and same(rest, whole)


def test_a_run_resumed_at_its_end_trains_no_step_more(trained):
    whole = trained()
    again = trained(resume=whole.folder)
    assert same(again, whole) and again.values["steps"] == 10


def test_save_and_sample_are_done_at_the_step_where_they_are_asked(trained):
    run = trained(asked={2: "save", 3: "sample"}, take=lambda step: ({"prompt": "p", "output": str(step)},))
    assert ("saved", 2) in kinds(run, "saved")
    assert [event.samples[0]["output"] for event in run.events if event.kind == "sampled"] == ["0", "3", "5", "10"]


def test_a_learning_rate_that_is_changed_keeps_its_schedule_and_is_kept_by_a_resumed_run(trained):
    plain, whole = trained(), trained(asked={3: ("lr", 0.01)})
    part = trained(asked={3: ("lr", 0.01), 6: "stop"})
    assert rates(whole)[:3] == rates(plain)[:3]
    assert rates(whole)[3:] == pytest.approx([rate / 5 for rate in rates(plain)[3:]])
    assert [(event.step, event.old, event.new) for event in whole.events if event.kind == "changed"] == [
        (4, 0.05, 0.01)
    ]
    assert same(trained(resume=part.folder), whole) and not same(plain, whole)


def test_the_best_evaluation_is_kept(trained):
    run = trained(best_model=True, save_strategy="no", evaluate=[9.0, 1.0, 2.0])
    kept = load_file(run.folder.checkpoints / "checkpoint-5" / "model.safetensors")
    assert run.values["loss"] == 1.0
    assert all(torch.equal(run.weights[name], kept[name]) for name in kept)


def test_patience_ends_it(trained):
    run = trained(early_stopping_patience=1, evaluate=[1.0, 2.0, 0.5])
    assert run.values["steps"] == 5


def test_a_loss_that_is_no_number_ends_it_or_is_left_out(trained):
    with pytest.raises(TrainingError, match="not a number at step 4"):
        trained(spoil=3)
    run = trained(spoil=3, on_nan="skip")
    assert all(torch.isfinite(weight).all() for weight in run.weights.values())
    assert any("Steps left out: 1" in event.message for event in run.events if event.kind == "warned")


def test_a_checkpoint_of_another_trainer_is_refused(trained, tmp_path):
    other = tmp_path / "checkpoint-3"
    other.mkdir()
    (other / "trainer_state.json").write_text("{}")
    with pytest.raises(ParamError, match="of another trainer or backend"):
        trained(resume_from_checkpoint=str(other))


def test_a_weight_with_two_names_is_kept_once_and_a_frozen_one_not_at_all():
    from nbtrain.trainers import _state

    model = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    model[1].weight = model[0].weight
    model[1].bias.requires_grad_(False)
    assert [name for name, _ in _state._kept(model)] == ["0.weight", "0.bias"]
