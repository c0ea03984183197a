"""Flat rows are the padded batch: the same loss, the same gradient, step by step what TRL computes."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from nbtrain.errors import ParamError
from nbtrain.trainers.llm import _flat

SMALL = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WINDOW = {"sliding_window": 4}  # shorter than the documents


def small(kind, **changes):
    """A model of this kind with random weights, large enough that a leak between documents shows."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SMALL, **changes}))
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.15)
    return model


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("qwen3", {}),
        ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4}),
        ("granite", {"logits_scaling": 4.0}),
        ("cohere", {"logit_scale": 0.5}),
        ("mistral", WINDOW),
        ("gemma3_text", WINDOW),
    ],
)
def test_flat_rows_give_the_padded_batch(kind, changes):
    model = small(kind, **changes)
    _flat.enable(model)
    assert _flat.difference(model) < 1e-5


@pytest.mark.parametrize(
    ("kind", "changes"), [("gemma2", WINDOW), ("stablelm", {}), ("bloom", {"n_layer": 2, "n_head": 4})]
)
def test_a_model_whose_attention_is_not_here_says_so(kind, changes):
    model = small(kind, **changes)
    with pytest.raises(_flat.CannotBeFlat):
        _flat.enable(model)
        _flat.difference(model)


def test_a_leak_between_documents_is_seen(monkeypatch):
    model = small("llama")
    _flat.enable(model)
    attend = _flat._attend
    # without the bounds, each document attends to all before it
    monkeypatch.setattr(_flat, "zip", lambda starts, ends, strict: [(0, ends[-1])], raising=False)
    assert _flat.difference(model) > 0.05
    monkeypatch.undo()
    assert _flat._attend is attend
    assert _flat.difference(model) < 1e-5


def test_the_gradient_is_that_of_the_padded_batch():
    model, documents = small("llama"), [list(range(5, 5 + length)) for length in (3, 9, 6)]
    examples = [{"input_ids": ids, "labels": [-100, *ids[1:]]} for ids in documents]

    def gradient(batch):
        model.zero_grad()
        model(**{name: value for name, value in batch.items() if name != "tokens"}, use_cache=False).loss.backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters()])

    padded = gradient(_flat.padded(examples, pad=0))
    _flat.enable(model)
    flat = gradient(_flat.rows(examples))
    assert ((flat - padded).norm() / padded.norm()).item() < 1e-5


def test_a_flat_row_by_hand():
    batch = _flat.rows(
        [{"input_ids": [11, 12, 13], "labels": [11, -100, 13]}, {"input_ids": [21, 22], "labels": [21, 22]}]
    )
    assert batch["input_ids"].tolist() == [[11, 12, 13, 21, 22]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["bounds"] == [0, 3, 5]
    # 12 foresees 13, and 21 foresees 22; nobody foresees the first of a document
    assert batch["logits_to_keep"].tolist() == [1, 3]
    assert batch["labels"].tolist() == [[13, 22]]
    assert batch["tokens"] == 5


def test_several_documents_of_one_example_stay_apart():
    ids = [11, 12, 13, 21, 22]
    joined = _flat.rows([{"input_ids": ids, "labels": ids, "seq_lengths": [3, 2]}])
    apart = _flat.rows([{"input_ids": ids[:3], "labels": ids[:3]}, {"input_ids": ids[3:], "labels": ids[3:]}])
    assert joined["bounds"] == apart["bounds"]
    assert joined["logits_to_keep"].tolist() == apart["logits_to_keep"].tolist() == [0, 1, 3]


def test_padding_stands_on_the_side_asked_for():
    examples = [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    left = _flat.padded(examples, pad=9, side="left")
    assert left["input_ids"].tolist() == [[5, 6, 7], [9, 9, 8]]
    assert left["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert left["labels"].tolist() == [[5, 6, 7], [-100, -100, 8]]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_every_step_has_the_loss_of_trl_and_of_transformers(trained, accumulation):
    steps = {"epochs": 2, "gradient_accumulation": accumulation}
    ours = trained(**steps)
    assert ours.events[0].facts["path"].startswith("flat rows")
    for backend in ("trl", "hf"):
        theirs = trained(backend=backend, **steps)
        assert len(theirs.losses) == len(ours.losses) == (20 if accumulation == 1 else 8)
        assert ours.losses == pytest.approx(theirs.losses, rel=1e-5)
        assert ours.values["loss"] == pytest.approx(theirs.values["loss"], rel=1e-5)


def test_a_model_that_cannot_be_flat_is_trained_in_padded_batches_and_told(trained, tmp_path):
    from nbtrain.models import load

    small("stablelm", vocab_size=4096).save_pretrained(tmp_path / "other")
    load.tokenizer(type("P", (), {"model": "tiny", "token": None, "trust_remote_code": False})).save_pretrained(
        tmp_path / "other"
    )
    run = trained(model=str(tmp_path / "other"), epochs=2)
    started = next(event for event in run.events if event.kind == "started")
    assert started.facts["path"] == "padded batches, grouped by length"
    assert "does not take flat rows" in next(event.message for event in run.events if event.kind == "warned")
    assert sum(run.losses[-4:]) < sum(run.losses[:4])


def test_an_attention_that_was_named_is_used(trained):
    run = trained(attn_implementation="eager")
    assert "eager was asked for" in next(event.message for event in run.events if event.kind == "warned")


def test_packed_chats_need_flat_rows(trained):
    with pytest.raises(ParamError, match="--packing with sft needs flat rows"):
        trained(packing=True, backend="trl")


def examples_of(*lengths, prompt=2):
    chance = torch.Generator().manual_seed(1)
    documents = [torch.randint(3, 300, (length,), generator=chance).tolist() for length in lengths]
    return [{"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]} for ids in documents]


@pytest.mark.parametrize(("most", "count"), [(1000, 1), (30, 3), (12, 5), (1, 5)])
def test_the_pieces_of_a_row_have_its_gradient(most, count):
    model = small("llama")
    _flat.enable(model)
    row = _flat.rows(examples_of(9, 12, 5, 20, 11))
    trained = row["labels"].numel()

    def gradient(batches):
        model.zero_grad()
        total = 0.0
        for batch in batches:
            loss = model(**{**batch, "tokens": None}, num_items_in_batch=trained).loss
            loss.backward()
            total += loss.item()
        return total, torch.cat([weight.grad.flatten() for weight in model.parameters()])

    pieces = _flat.pieces(row, most)
    assert len(pieces) == count
    assert sum(piece["input_ids"].shape[1] for piece in pieces) == 57
    (loss, whole), (parts, slope) = gradient([row]), gradient(pieces)
    assert parts == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(slope, whole, rtol=1e-4, atol=1e-6)


def test_a_piece_without_a_trained_token_is_left_out():
    row = _flat.rows([*examples_of(6, 6), *examples_of(6, prompt=6)])
    assert [piece["input_ids"].shape[1] for piece in _flat.pieces(row, 6)] == [6, 6]


def test_a_row_with_more_than_documents_stays_whole():
    row = {**_flat.rows(examples_of(6, 6)), "teacher_logits": torch.zeros(1)}
    assert _flat.pieces(row, 6) == [row]


def test_a_row_in_which_nothing_is_trained_stays_whole():
    row = _flat.rows(examples_of(6, 6, prompt=6))
    assert _flat.pieces(row, 6) == [row]
