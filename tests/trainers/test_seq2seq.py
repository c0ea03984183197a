"""Text to text: what is read, what is written, and that it is what plain transformers would do."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.errors import DataError, ModelError, ParamError
from nbtrain.models import load
from nbtrain.run import all_runs, train_here
from nbtrain.trainers import seq2seq
from nbtrain.trainers.seq2seq import _tokens, _writing

ROOM = trainers.load("seq2seq")
SHORT = {"max_seq_length": 32, "max_target_length": 16, "batch_size": 16, "lr": 5e-3, "logging_steps": 1}


@pytest.fixture(scope="session")
def learnt(in_room):
    """Dates in words to dates in figures: the demo."""
    return in_room("seq2seq", epochs=8, **SHORT)


@pytest.fixture
def rows(tmp_path):
    """A file of so many rows of the demo, with changes."""

    def write(count=48, change=lambda row: row):
        path = tmp_path / "rows.jsonl"
        demo = sources.DEMO.with_name("seq2seq.jsonl").read_text(encoding="utf-8").splitlines()
        path.write_text("".join(json.dumps(change(json.loads(line))) + "\n" for line in demo[:count]))
        return str(path)

    return write


def test_it_learns_to_write_what_is_asked_for(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert last["loss"] < first["loss"] / 4
    assert last["chrf"] > first["chrf"] + 20
    assert {"rouge1", "rouge2", "rougeL", "bleu", "chrf"} <= set(last)


def test_the_values_are_those_of_the_best_evaluation(learnt):
    assert learnt.values["loss"] == min(each["loss"] for each in learnt.evaluations)


def test_the_evaluation_is_the_mean_over_all_target_tokens(learnt):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model = AutoModelForSeq2SeqLM.from_pretrained(learnt.folder.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(learnt.folder.model)
    total = count = 0.0
    for row in learnt.report["written"]:
        ids = tokenizer(row["source"], return_tensors="pt").input_ids
        labels = tokenizer(text_target=row["references"][0], return_tensors="pt").input_ids
        with torch.no_grad():
            total += model(input_ids=ids, labels=labels).loss.item() * labels.numel()
        count += labels.numel()
    assert len(learnt.report["written"]) == 40
    assert learnt.values["loss"] == pytest.approx(total / count, rel=1e-4)


def test_samples_stand_beside_what_was_written_before(learnt):
    taken = [event for event in learnt.events if event.kind == "sampled"]
    assert taken[0].label == "base"
    assert [len(event.samples) for event in taken] == [3] * len(taken)
    prompt = taken[0].samples[0]
    assert set(prompt) == {"prompt", "output", "expected"}
    assert taken[-1].samples[0]["prompt"] == prompt["prompt"]
    assert taken[-1].samples[0]["output"] != prompt["output"]


def test_the_saved_model_writes_alone_as_it_was_measured(learnt):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model = AutoModelForSeq2SeqLM.from_pretrained(learnt.folder.model)
    tokenizer = AutoTokenizer.from_pretrained(learnt.folder.model)
    row = learnt.report["written"][-1]
    written = model.generate(**tokenizer(row["source"], return_tensors="pt"))
    assert tokenizer.decode(written[0], skip_special_tokens=True).strip() == row["written"]
    assert model.generation_config.max_new_tokens == 16


def test_predict_takes_texts_and_rows_and_settings(learnt):
    model, tokenizer = ROOM.opened(learnt.params, str(learnt.folder.model))
    source = learnt.report["written"][-1]["source"]
    one, two = ROOM.predict(learnt.params, model, tokenizer, [source, {"source": source}])
    assert one == two == learnt.report["written"][-1]["written"]
    short = ROOM.predict(learnt.params, model, tokenizer, [source], max_new_tokens=3, num_beams=2)[0]
    assert 0 < len(short) < len(one)
    assert ROOM.predict(learnt.params, model, tokenizer, []) == []
    with pytest.raises(ParamError, match="no setting temperature"):
        ROOM.predict(learnt.params, model, tokenizer, [source], temperature=1)
    with pytest.raises(DataError, match="no text to read"):
        ROOM.predict(learnt.params, model, tokenizer, [{"other": "x"}])


def test_the_snippet_of_the_card_runs(learnt, monkeypatch, capsys):
    monkeypatch.chdir(learnt.folder.path)
    library, code = ROOM.usage(learnt.params, learnt.folder.model)
    exec(code, {})
    assert library == "transformers"
    assert capsys.readouterr().out.strip()


def test_a_stopped_run_goes_on_to_the_same_weights(in_room, rows):
    data = rows()
    given = {**SHORT, "data_path": data, "max_steps": 6, "save_strategy": "steps", "save_steps": 4, "generate_rows": 2}
    whole = in_room("seq2seq", **given)
    stopped = in_room("seq2seq", asked={4: "stop"}, **given)
    resumed = in_room("seq2seq", resume=stopped.folder, **given)
    assert whole.weights.keys() == resumed.weights.keys()
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


def test_the_exported_script_trains_the_same_weights(workdir, rows):
    given = {**SHORT, "data_path": rows(), "max_steps": 3, "generate_rows": 0, "num_beams": 2}
    run = train_here(ROOM.Params(**given))
    assert run.status == "finished", run.error
    runpy.run_path(str(run.folder.script), run_name="__main__")
    again = all_runs()[-1]
    assert again.name != run.name
    one, other = (load_file(each.folder.model / "model.safetensors") for each in (run, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_losses_are_those_of_a_plain_script(in_room, rows):
    from datasets import Dataset
    from transformers import (
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
        set_seed,
    )  # fmt: skip

    data = rows(96)
    ours = in_room("seq2seq", **{**SHORT, "data_path": data, "valid_fraction": 0, "max_steps": 20, "lr": 1e-3})
    place = str(seq2seq.TINY)
    tokenizer = AutoTokenizer.from_pretrained(place)
    dataset = Dataset.from_list(
        [
            {
                "input_ids": tokenizer(row["source"]).input_ids,
                "labels": tokenizer(text_target=row["target"]).input_ids,
            }
            for row in map(json.loads, Path(data).read_text().splitlines())
        ]
    )
    set_seed(42)
    model = AutoModelForSeq2SeqLM.from_pretrained(place, dtype=torch.float32)
    settings = TrainingArguments(
        output_dir=str(ours.folder.path / "plain"),
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        warmup_steps=2,
        max_steps=20,
        logging_steps=1,
        optim="adamw_torch_fused",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model, settings, DataCollatorForSeq2Seq(tokenizer), train_dataset=dataset)
    trainer.train()
    plain = [logged["loss"] for logged in trainer.state.log_history if "loss" in logged]
    assert len(plain) == 20
    assert ours.losses == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize("extra", [{}, {"quantization": "int4"}, {"merge_adapter": False}], ids=str)
def test_an_adapter_learns_and_is_saved(in_room, rows, extra):
    found = in_room("seq2seq", **{**SHORT, "data_path": rows(), "peft": True, "max_steps": 12, "lr": 2e-2, **extra})
    assert found.losses[-1] < found.losses[0] - 0.3
    model, tokenizer = ROOM.opened(found.params, str(found.folder.model))
    assert isinstance(ROOM.predict(found.params, model, tokenizer, ["The exam is on 3 May 1999."])[0], str)
    assert (found.folder.model / "adapter_config.json").exists() == (extra == {"merge_adapter": False})


def test_a_penalty_without_beams_is_refused():
    with pytest.raises(ParamError, match="Add --num-beams 4"):
        ROOM.Params(length_penalty=2.0)


def test_settings_that_beams_alone_understand_go_with_them():
    from transformers import AutoModelForSeq2SeqLM, GenerationConfig

    model = AutoModelForSeq2SeqLM.from_pretrained(seq2seq.TINY)
    model.generation_config = GenerationConfig(num_beams=4, length_penalty=2.0, early_stopping=True, min_length=30)
    _writing.settle(model, ROOM.Params(num_beams=1), None, 16)
    model.generation_config.validate(strict=True)
    found = model.generation_config
    assert (found.num_beams, found.max_new_tokens, found.min_length, bool(found.do_sample)) == (1, 16, 0, False)
    _writing.settle(model, ROOM.Params(num_beams=3, length_penalty=0.5, no_repeat_ngram_size=2), None, 8)
    assert (found.num_beams, found.length_penalty, found.no_repeat_ngram_size) == (3, 0.5, 2)


def test_what_is_cut_is_told_and_the_end_token_stays(in_room, rows):
    found = in_room("seq2seq", **{**SHORT, "data_path": rows(), "max_seq_length": 8, "max_steps": 1})
    told = [event.message for event in found.events if event.kind == "warned"]
    assert any(message.startswith("Longer than 8 tokens: the source of") for message in told)
    tokenizer = load.saved_tokenizer(str(seq2seq.TINY))
    ids, cut = _tokens.encoded(tokenizer, 8, text=["one two three four five six seven eight nine ten"])
    assert (len(ids[0]), ids[0][-1], cut) == (8, tokenizer.eos_token_id, [True])


def test_words_before_the_text_are_read_with_it(in_room, rows):
    plain = in_room("seq2seq", **{**SHORT, "data_path": rows(), "max_steps": 1})
    asked = in_room("seq2seq", **{**SHORT, "data_path": rows(), "max_steps": 1, "source_prefix": "date: "})
    assert asked.losses[0] != plain.losses[0]
    assert "date: " in ROOM.usage(asked.params, asked.folder.model)[1]


@pytest.mark.parametrize("language", ["source_language", "target_language"])
def test_a_model_without_language_codes_says_so(in_room, rows, language):
    with pytest.raises(ParamError, match="is not told languages by a code"):
        in_room("seq2seq", **{**SHORT, "data_path": rows(), language: "fra_Latn"})


def test_a_model_with_language_codes_is_set_to_them():
    class Codes:
        src_lang = tgt_lang = ""
        unk_token_id = 0

        def convert_tokens_to_ids(self, code):
            return {"fra_Latn": 7}.get(code, 0)

    assert _tokens.language_id(Codes(), "fra_Latn") == 7
    assert _tokens.language_id(Codes(), "xxx") is None


@pytest.mark.parametrize(
    ("kind", "given", "found"), [("t5", {}, "fp32"), ("bart", {}, None), ("t5", {"mixed_precision": "bf16"}, "bf16")]
)
def test_a_t5_is_not_trained_in_fp16(monkeypatch, kind, given, found):
    told = []
    monkeypatch.setattr(load, "device", lambda: load.Device("cuda", torch.float16))
    run = SimpleNamespace(warn=told.append)
    params = seq2seq._in_range(ROOM.Params(**given), SimpleNamespace(model_type=kind), run)
    assert params.mixed_precision == found
    assert len(told) == (found == "fp32")


def test_a_model_that_only_goes_on_writing_is_refused(in_room, rows):
    with pytest.raises(ModelError, match="has no encoder and decoder: it is a LlamaForCausalLM"):
        in_room("seq2seq", data_path=rows(), model=str(load.TINY))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda row: {**row, "target": ""}, "empty text"),
        (lambda row: {**row, "source": None}, "nothing there"),
        (lambda row: {**row, "target": ["a", " "]}, "empty text"),
        (lambda row: {"a": 1, "b": 2, "c": 3}, "There is no column for the source and the target; there are a, b, c"),
    ],
)
def test_rows_that_cannot_be_used_are_told_before_a_model_is_opened(in_room, rows, change, told):
    with pytest.raises(DataError) as raised:
        in_room("seq2seq", data_path=rows(4, change), model="no/such/model")
    assert told in str(raised.value)


def test_check_tells_rows_and_an_example(rows, tmp_path):
    lines = ROOM.check(ROOM.Params(data_path=rows(20)), tmp_path)
    assert any("Rows: train 18, valid 2. Read as pairs: source, target." in line for line in lines)
