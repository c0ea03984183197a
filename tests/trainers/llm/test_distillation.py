"""A student learns from its teacher: on logits, on text, behind another prompt, and what it cost is told."""

from types import SimpleNamespace

import numpy
import pytest
import torch

from nbtrain.models import load
from nbtrain.trainers.llm import _coach, _distillation, _flat

LONG = {"epochs": 4, "lr": 2e-3}


@pytest.fixture(scope="module")
def distilled(whole, pairs, teacher):
    """Distil into the built-in model."""
    given = {"trainer": "sft", "data_path": pairs, "use_distillation": True, "teacher_model": teacher}
    return lambda **changes: whole(**(given | changes))


@pytest.fixture(scope="module")
def taught(distilled):
    return distilled(**LONG)


# the loss


def oracle(student, teacher, targets, temperature):
    """KL(teacher || student) at a temperature, times its square, and the cross entropy, in numpy."""

    def softmax(logits):
        weights = numpy.exp(logits - logits.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True)

    p, q = softmax(teacher / temperature), softmax(student / temperature)
    divergence = temperature**2 * (p * (numpy.log(p) - numpy.log(q))).sum()
    return divergence, -numpy.log(softmax(student)[numpy.arange(len(targets)), targets]).sum()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_is_hintons(monkeypatch, temperature):
    monkeypatch.setattr(_distillation._loss, "ON_CPU", 60)  # so that there are several parts
    chance = numpy.random.default_rng(0)
    student, teacher, targets = chance.normal(0, 3, (7, 20)), chance.normal(0, 3, (7, 20)), chance.integers(0, 20, 7)
    found = _distillation.sums(*map(torch.tensor, (student, teacher, targets)), temperature)
    wanted = oracle(student, teacher, targets, temperature)
    assert [part.item() for part in found] == pytest.approx(wanted, rel=1e-5)


def test_the_gradient_pulls_towards_the_teacher_by_the_temperature():
    student, teacher = torch.tensor([[2.0, 0.0, -1.0]], requires_grad=True), torch.tensor([[0.0, 1.0, 0.5]])
    divergence, _ = _distillation.sums(student, teacher, torch.tensor([0]), 3.0)
    divergence.backward()
    wanted = 3.0 * ((student / 3).softmax(-1) - (teacher / 3).softmax(-1))
    assert torch.allclose(student.grad, wanted.detach(), atol=1e-6)


def test_tokens_that_only_one_of_them_has_are_left_out():
    student, teacher = torch.randn(3, 10), torch.randn(3, 8)
    divergence, _ = _distillation.sums(student, teacher, torch.tensor([0, 1, 2]), 2.0)
    wanted, _ = _distillation.sums(student[:, :8], teacher, torch.tensor([0, 1, 2]), 2.0)
    assert divergence.item() == pytest.approx(wanted.item())


# on logits


def test_the_student_comes_closer_to_its_teacher(taught):
    divergences = [values["kl"] for values in taught.evaluations]
    assert divergences[-1] < 0.6 * divergences[0]
    assert taught.logged[-1]["divergence"] < taught.logged[0]["divergence"]
    assert taught.values["kl"] == divergences[-1]
    assert taught.started.facts["path"].startswith("flat rows")


def test_what_is_measured_is_the_oracles(taught, pairs, teacher, prepared):
    """From the models themselves, in padded batches, without any of the Trainer."""
    student, other = load.saved_model("tiny").float(), load.saved_model(teacher).float()
    tokens = prepared(data_path=pairs, teacher_model=teacher).tokens
    parts = {"divergence": 0.0, "cross_entropy": 0.0, "kl": 0.0}
    count = 0
    for row in tokens.valid:
        ids = torch.tensor([row["input_ids"]])
        at = [place for place in range(1, len(row["labels"])) if row["labels"][place] != -100]
        ours, theirs = (
            model(ids).logits[0, [place - 1 for place in at]].detach().numpy() for model in (student, other)
        )
        targets = numpy.array([row["labels"][place] for place in at])
        for name, temperature in (("divergence", 3.0), ("kl", 1.0)):
            divergence, entropy = oracle(ours.astype(float), theirs.astype(float), targets, temperature)
            parts[name] += divergence
        parts["cross_entropy"] += entropy
        count += len(at)
    coach = _coach.Coach(
        taught.params,
        SimpleNamespace(logits=lambda batch: _distillation.trained_logits(other, batch)[0], alone=False),
        _flat.padded,
    )
    batch = _flat.padded(list(tokens.valid))
    batch["teacher"] = coach.batch(list(tokens.valid))
    with torch.no_grad():
        found = coach.measure(student, batch)
    wanted = {name: total / count for name, total in parts.items()}
    assert found["kl"].item() == pytest.approx(wanted["kl"], rel=1e-4)
    assert found["cross_entropy"].item() == pytest.approx(wanted["cross_entropy"], rel=1e-4)
    assert found["loss"].item() == pytest.approx(0.7 * wanted["divergence"] + 0.3 * wanted["cross_entropy"], rel=1e-4)
    # the first step of a warm-up has the learning rate 0
    assert taught.evaluations[0]["kl"] == pytest.approx(wanted["kl"], rel=1e-4)


def test_padded_batches_have_the_loss_of_flat_rows(distilled, taught):
    wide = distilled(**LONG, backend="hf")
    assert [each["loss"] for each in wide.logged] == pytest.approx([each["loss"] for each in taught.logged], rel=1e-4)


def test_accumulated_batches_have_the_loss_of_one(distilled):
    one, parts = distilled(max_steps=3), distilled(max_steps=3, batch_size=2, gradient_accumulation=2)
    assert [each["loss"] for each in parts.logged] == pytest.approx([each["loss"] for each in one.logged], rel=1e-4)


def test_without_the_teachers_weight_it_is_sft(whole, distilled, pairs):
    plain = whole(trainer="sft", data_path=pairs, max_steps=4)
    beside = distilled(max_steps=4, distill_alpha=0)
    assert [each["loss"] for each in beside.logged] == pytest.approx([each["loss"] for each in plain.logged], rel=1e-4)
    assert "kl" in beside.values


@pytest.mark.parametrize("changes", [{}, {"peft": True, "lora_dropout": 0.2}, {"peft": True, "quantization": "int4"}])
def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_weights(distilled, changes):
    given = {"max_samples": 14, "valid_fraction": 0, **changes}
    straight, first = distilled(**given), distilled(**given, stop=1)
    rest = distilled(**given, resume=first.folder)
    assert all(torch.equal(straight.weights[name], rest.weights[name]) for name in straight.weights)


def test_what_the_teacher_cost_is_told(taught):
    assert taught.report["teacher"]["calls"] >= len(taught.logged)
    assert taught.report["teacher"]["tokens"] > 0
    assert "The teacher took" in taught.told
