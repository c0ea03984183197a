"""Questions about pictures and captions: what is learnt, told and saved, and that it is what transformers would do."""

import base64
import io
import runpy

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.errors import DataError, ParamError
from nbtrain.run import all_runs, train_here
from nbtrain.trainers.vlm import TINY, _models, _writing
from nbtrain.trainers.vlm._labels import IGNORED, answers_in

ROOM = trainers.load("vlm")
DEMO = sources.DEMO.with_name("vlm.parquet")
SHORT = {
    "batch_size": 8, "gradient_accumulation": 1, "lr": 2e-3, "logging_steps": 1, "generate_rows": 8,
    "max_target_length": 12, "early_stopping_patience": 1000,
}  # fmt: skip
FEW = {**SHORT, "max_samples": 48, "max_steps": 4}


def demo(count):
    import pyarrow.parquet as parquet

    return parquet.read_table(DEMO).slice(0, count).to_pylist()


def picture(cell):
    return Image.open(io.BytesIO(cell["bytes"])).convert("RGB")


@pytest.fixture(scope="session")
def learnt(in_room):
    """Half of the demo, twice over."""
    return in_room(
        "vlm", **{**SHORT, "lr": 1e-3, "epochs": 2, "max_samples": 280, "generate_rows": 28, "eval_batch_size": 14}
    )


def test_it_learns_to_answer(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert last["loss"] < first["loss"] / 4
    assert learnt.values["exact_match"] > learnt.report["always_the_commonest_answer"]["exact_match"] + 0.1
    assert set(last) >= {"loss", "exact_match", "f1"}


def test_the_evaluation_is_the_mean_over_all_tokens_of_answers(learnt):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(learnt.folder.model).eval()
    processor = AutoProcessor.from_pretrained(learnt.folder.model)
    splits, form = ROOM._read(learnt.params, learnt.folder.data)
    total = count = 0.0
    for row in splits.valid:
        asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": row["question"]}]}]
        prompt = processor.apply_chat_template(asked, add_generation_prompt=True)
        text = prompt + row["answer"] + "<|im_end|>"
        batch = processor(text=[text], images=[[picture(row["image"])]], return_tensors="pt")
        read = processor(text=[prompt], images=[[picture(row["image"])]], return_tensors="pt")["input_ids"].shape[1]
        labels = batch["input_ids"].clone()
        labels[:, :read] = -100
        with torch.no_grad():
            total += model(**batch, labels=labels).loss.item() * (labels != -100).sum().item()
        count += (labels != -100).sum().item()
    assert len(splits.valid) == 28
    assert learnt.values["loss"] == pytest.approx(total / count, rel=1e-4)


def test_samples_show_the_picture_with_what_is_asked_of_it(learnt):
    last = [event for event in learnt.events if event.kind == "sampled"][-1]
    assert len(last.samples) == 3
    for sample in last.samples:
        assert list(sample) == ["prompt", "output", "expected", "picture", "alt"]
        assert Image.open(io.BytesIO(base64.b64decode(sample["picture"], validate=True))).format == "JPEG"
        assert sample["prompt"].endswith("?") and sample["alt"].startswith("the picture shapes/")


def test_the_report_tells_the_worst_answers_first_and_what_is_easy(learnt):
    rows = learnt.report["written"]
    assert len(rows) == 28 and [row["f1"] for row in rows] == sorted(row["f1"] for row in rows)
    right = sum(row["written"] == row["references"][0] for row in rows)
    assert learnt.values["exact_match"] == pytest.approx(right / 28, abs=0.04)
    assert learnt.report["always_the_commonest_answer"]["answer"] == "no"


def test_only_the_answer_is_trained():
    params = ROOM.Params()
    config, processor = _models.config_of(params, str(TINY)), _models.processor_of(str(TINY))
    manner = _models.manner_of(params, config, processor)
    rows = [{"image": row["image"], "question": row["question"]} for row in demo(3)]
    talks = [_writing.look(ROOM._asked(params, row, "")) for row in rows]
    talks[1].messages[-1]["content"] = "a longer answer"
    batch = manner.learnt(talks)
    for talk, labels in zip(talks, batch["labels"], strict=True):
        assert processor.tokenizer.decode(labels[labels != IGNORED]) == talk.answer + "<|im_end|>"
    asked = manner.asked(talks)
    for row, ids in enumerate(batch["input_ids"]):
        begin = int((batch["labels"][row] != IGNORED).int().argmax())
        assert asked["input_ids"][row][asked["attention_mask"][row] == 1].tolist() == ids[:begin].tolist()
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(TINY, dtype=torch.float32).eval()
    labels = batch.pop("labels")
    logits = model(**batch).logits.detach().requires_grad_()
    loss = _writing.loss(type("Outputs", (), {"logits": logits}), labels)
    loss.backward()
    moved = logits.grad.abs().sum(-1) > 0  # the logit before a token is that of the token
    assert torch.equal(moved[:, :-1], labels[:, 1:] != IGNORED) and not moved[:, -1].any()


def test_every_answer_of_a_chat_is_found_among_the_tokens_of_pictures():
    from nbtrain.data.encoding import Encoded

    marked = Encoded([1, 9, 2, 5, 6, 1, 9, 2, 5, 6], [0, 0, 0, 1, 1, 0, 0, 0, 1, 1])
    ids = [0, 1, 9, 9, 9, 2, 5, 6, 1, 9, 9, 9, 2, 5, 6]
    assert answers_in(ids, marked) == [-100] * 6 + [5, 6] + [-100] * 5 + [5, 6]
    with pytest.raises(DataError, match="is not found again"):
        answers_in([1, 9, 2, 6, 5], marked)


def test_predict_takes_rows_and_chats_and_is_what_was_measured(learnt):
    model, processor = ROOM.opened(learnt.params, str(learnt.folder.model))
    splits, _ = ROOM._read(learnt.params, learnt.folder.data)
    rows = [{"image": row["image"], "question": row["question"]} for row in splits.valid.select(range(3))]
    content = [{"type": "image"}, {"type": "text", "text": rows[0]["question"]}]
    chat = {"image": picture(rows[0]["image"]), "messages": [{"role": "user", "content": content}]}
    said = ROOM.predict(learnt.params, model, processor, [*rows, chat])
    known = {(row["picture"], row["question"]): row["written"] for row in learnt.report["written"]}
    assert said[:3] == [known[row["image"]["path"], row["question"]] for row in rows]
    assert said[3] == said[0]
    with pytest.raises(ParamError, match="has no setting temperature"):
        ROOM.predict(learnt.params, model, processor, rows, temperature=1)
    with pytest.raises(DataError, match="has no prompt; it has image"):
        ROOM.predict(learnt.params, model, processor, [{"image": rows[0]["image"]}])


def test_the_snippet_of_the_card_runs_without_nbtrain(learnt, tmp_path, monkeypatch, capsys):
    library, code = ROOM.usage(learnt.params, learnt.folder.model)
    (tmp_path / "model").symlink_to(learnt.folder.model)
    picture(demo(1)[0]["image"]).save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "snippet", "exec"), {})
    assert library == "transformers" and "nbtrain" not in code
    assert capsys.readouterr().out.strip()


def test_a_stopped_run_goes_on_to_the_same_weights(in_room, same):
    given = {**FEW, "max_steps": 8, "save_strategy": "steps", "save_steps": 100, "generate_rows": 2}
    whole = in_room("vlm", **given)
    begun = in_room("vlm", asked={4: "stop"}, **given)
    ended = in_room("vlm", resume=begun.folder, **given)
    assert len(begun.losses) < 8 and same(whole, ended)
    assert whole.losses == ended.losses


def test_the_script_of_a_run_trains_the_same_weights(workdir):
    run = train_here(ROOM.Params(**{**FEW, "max_steps": 2}))
    assert run.status == "finished", run.error
    runpy.run_path(str(run.folder.script), run_name="__main__")
    one, other = (load_file(each.folder.model / "model.safetensors") for each in all_runs())
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_plain_script_of_transformers_has_the_same_losses(in_room, accumulated):
    """Twenty steps with public names only; over several batches, each token of a step counts the same."""
    from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer, TrainingArguments, set_seed

    changed = {
        "batch_size": 2, "gradient_accumulation": accumulated, "max_steps": 20, "max_samples": 80, "generate_rows": 0,
        "valid_fraction": 0, "trainer": "captioning", "caption_prompt": "Tell.",
    }  # fmt: skip
    found = in_room("vlm", **{**SHORT, **changed})
    processor = AutoProcessor.from_pretrained(TINY)
    splits, _ = ROOM._read(found.params, found.folder.data)

    def batch(rows):
        asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Tell."}]}]
        prompt = processor.apply_chat_template(asked, add_generation_prompt=True)
        kept = [processor.tokenizer(row["caption"]).input_ids[:12] for row in rows]
        texts = [f"{prompt}{processor.tokenizer.decode(ids)}<|im_end|>\n" for ids in kept]
        images = [[picture(row["image"])] for row in rows]
        given = processor(text=texts, images=images, padding=True, padding_side="right", return_tensors="pt")
        labels = torch.full_like(given["input_ids"], -100)
        for row, ids in enumerate(kept):
            end = int(given["attention_mask"][row].sum()) - 1  # the newline behind the answer is not learnt
            labels[row, end - len(ids) - 1 : end] = given["input_ids"][row, end - len(ids) - 1 : end]
        return {**given, "labels": labels}

    set_seed(42)
    model = AutoModelForImageTextToText.from_pretrained(TINY, dtype=torch.float32)
    arguments = TrainingArguments(
        output_dir=str(found.folder.path / "plain"), max_steps=20, learning_rate=2e-3, per_device_train_batch_size=2,
        gradient_accumulation_steps=accumulated, warmup_steps=2, logging_steps=1, use_cpu=True, report_to="none",
        remove_unused_columns=False, disable_tqdm=True, save_strategy="no", seed=42, optim="adamw_torch_fused",
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=splits.train, data_collator=batch)
    trainer.train()
    plain = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(plain) == 20
    assert found.losses == pytest.approx(plain, abs=1e-5)


def test_captions_are_measured_as_captions(in_room):
    found = in_room("vlm", trainer="captioning", **FEW)
    assert set(found.evaluations[-1]) >= {"loss", "rouge1", "rougeL", "bleu", "chrf"}
    assert "always_the_commonest_answer" not in found.report
    model, processor = ROOM.opened(found.params, str(found.folder.model))
    cell = demo(1)[0]["image"]
    said = ROOM.predict(found.params, model, processor, [cell, picture(cell), {"image": cell}], max_new_tokens=4)
    assert len(set(said)) == 1 and isinstance(said[0], str)
    assert "Describe the picture." in ROOM.usage(found.params, found.folder.model)[1]


def moved(found):
    """Parts of the model whose weights are not as they were."""
    before = load_file(TINY / "model.safetensors")
    names = {name for name, weights in found.weights.items() if not torch.equal(before[name].float(), weights.float())}
    parts = {"vision": "vision_tower", "projector": "multi_modal_projector", "language": "language_model"}
    return {part for part, named in parts.items() if any(named in name for name in names)}


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        ("auto", {"vision", "projector", "language"}),  # an eye that has seen nothing is trained, too
        ("vision", {"projector", "language"}),
        ("vision,projector", {"language"}),
        ("language", {"vision", "projector"}),
    ],
)
def test_frozen_parts_stay_as_they_are(in_room, freeze, trained):
    assert moved(in_room("vlm", **{**FEW, "max_steps": 2, "freeze": freeze, "generate_rows": 0})) == trained


def test_an_eye_that_has_seen_something_is_frozen_by_itself(tmp_path):
    assert _models.frozen_parts(ROOM.Params(), new=False) == ("vision",)
    assert _models.frozen_parts(ROOM.Params(freeze="none"), new=False) == ()
    with pytest.raises(ParamError, match="--freeze .*found 'eye'"):
        ROOM.Params(freeze="eye")
    with pytest.raises(ParamError, match="nothing in this model is called so"):
        _models.freeze(torch.nn.Linear(2, 2), ["vision"])


@pytest.mark.parametrize("extra", [{}, {"quantization": "int4"}, {"merge_adapter": False}], ids=str)
def test_an_adapter_learns_beside_a_frozen_eye_and_is_saved(in_room, extra):
    given = {**FEW, "peft": True, "max_steps": 12, "lr": 2e-2, "freeze": "vision", **extra}
    found = in_room("vlm", **given)
    assert found.losses[-1] < found.losses[0] / 2
    alone = extra == {"merge_adapter": False}
    saved = found.folder.model if alone else found.folder.path / "adapter"
    assert not [name for name in load_file(saved / "adapter_model.safetensors") if "vision_tower" in name]
    assert (found.folder.model / "adapter_config.json").exists() == alone
    model, processor = ROOM.opened(found.params, str(found.folder.model))
    assert isinstance(ROOM.predict(found.params, model, processor, demo(1))[0], str)
    assert ROOM.usage(found.params, found.folder.model)[0] == ("peft" if alone else "transformers")
