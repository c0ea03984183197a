"""Reward models: the numbers of a plain TRL script, any base, scores for whatever is given, and no text."""

import json
import os

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

from nbtrain import fit, trainers
from nbtrain.errors import ModelError, ParamError, RunError
from nbtrain.models import load
from nbtrain.run import Run
from nbtrain.runs.journal import story
from nbtrain.trainers.llm import reward

SHORT = {"trainer": "reward", "batch_size": 2, "max_steps": 20, "valid_fraction": 0, "save_strategy": "no"}
CALM = [{"role": "user", "content": "What is rain?"}, {"role": "assistant", "content": "Water that falls from clouds."}]
HELLO = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello! How can I help?"}]
LOUD = [CALM[0], {"role": "assistant", "content": "WATER THAT FALLS FROM CLOUDS."}]


@pytest.fixture(scope="module")
def rows(table, calm_and_loud):
    return table(calm_and_loud(40))


@pytest.fixture(scope="module")
def learnt(whole, table, calm_and_loud):
    return whole(trainer="reward", data_path=table(calm_and_loud(100)), valid_fraction=0.3, batch_size=8, lr=1e-3)


@pytest.fixture(scope="module")
def opened(learnt):
    return reward.opened(learnt.params, str(learnt.folder.model))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, calm_and_loud):
    """A BERT with random weights, as it would be published: no chat template."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("encoder")
    letters = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    texts = [text for row in calm_and_loud(100) for text in row.values()]
    letters.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    letters.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters,
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip
    tokenizer.save_pretrained(place)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes)).save_pretrained(place)
    return str(place)


def test_the_losses_are_those_of_a_plain_trl_script(whole, rows, plain, calm_and_loud):
    from trl import RewardConfig, RewardTrainer

    set_seed(42)
    model = AutoModelForSequenceClassification.from_pretrained(load.TINY, num_labels=1, dtype=torch.float32)
    trainer = RewardTrainer(
        model,
        args=RewardConfig(**plain.settings),
        train_dataset=Dataset.from_list([plain.messages(row) for row in calm_and_loud(40)]),
        processing_class=AutoTokenizer.from_pretrained(load.TINY),
    )
    ours = whole(**SHORT, data_path=rows)
    assert [values["loss"] for values in ours.logged] == pytest.approx(plain.losses(trainer), abs=1e-5)


def test_held_out_answers_are_told_apart(learnt):
    assert learnt.evaluations[-1]["accuracy"] >= 0.9
    assert learnt.evaluations[-1]["margin"] > 0
    assert {"loss", "accuracy", "margin"} <= learnt.logged[0].keys()
    assert learnt.evaluations[-1]["loss"] < 0.5


def test_samples_are_scores_of_both_answers(learnt):
    sample = learnt.samples[-1][0]
    assert list(sample) == ["prompt", "chosen", "score of chosen", "rejected", "score of rejected"]
    assert sample["rejected"] == sample["chosen"].upper()
    assert float(sample["score of chosen"]) > float(sample["score of rejected"])


def test_chats_texts_and_pairs_have_scores(learnt, opened):
    model, tokenizer = opened
    pair = {"prompt": CALM[0]["content"], "response": CALM[1]["content"]}
    calm, loud, again, text = reward.predict(learnt.params, model, tokenizer, [CALM, LOUD, pair, "Water."])
    assert calm > loud
    assert again == pytest.approx(calm, abs=1e-5)
    assert isinstance(text, float)
    assert reward.predict(learnt.params, model, tokenizer, []) == []
    # alone or among others
    assert reward.predict(learnt.params, model, tokenizer, [CALM] * 9)[8] == pytest.approx(calm, abs=1e-5)
    with pytest.raises(ParamError, match="a row to score is a text"):
        reward.predict(learnt.params, model, tokenizer, [3])
    with pytest.raises(ParamError, match="no setting temperature"):
        reward.predict(learnt.params, model, tokenizer, [CALM], temperature=1)


def test_the_card_shows_code_that_runs(learnt, monkeypatch, capsys):
    library, code = reward.usage(learnt.params, learnt.folder.model)
    monkeypatch.chdir(learnt.folder.path)
    exec(code, {})
    assert library == "transformers"
    assert isinstance(float(capsys.readouterr().out), float)


def test_a_scorer_says_that_it_cannot_write(rows, tmp_path):
    room = trainers.load("llm")
    folder = fit.prepare(room.Params(**{**SHORT, "max_steps": 1}, data_path=rows), root=tmp_path)
    assert fit.fit(folder) == "finished"
    run = Run(folder)
    with pytest.raises(RunError, match="a reward model gives a score to an answer; it writes none"):
        run.generate("Hello")
    with pytest.raises(RunError, match="cannot write"):
        run.chat("Hello")
    assert isinstance(run.predict(CALM), float)
    assert "AutoModelForSequenceClassification" in folder.card.read_text()


def test_a_bert_becomes_a_scorer(whole, table, encoder, calm_and_loud):
    run = whole(
        trainer="reward", model=encoder, data_path=table(calm_and_loud(100)), valid_fraction=0.3, epochs=4, lr=3e-3
    )
    assert run.evaluations[-1]["accuracy"] >= 0.9
    model, tokenizer = reward.opened(run.params, str(run.folder.model))
    assert type(model).__name__ == "BertForSequenceClassification"
    ids = reward._row_in_tokens(run.params, tokenizer, CALM)
    assert tokenizer.decode(ids).startswith("[CLS] ")
    assert tokenizer.decode(ids).count("[SEP]") == 2


def test_several_heads_learn_each_and_are_their_mean(whole, rows):
    run = whole(**{**SHORT, "max_steps": 4}, data_path=rows, num_labels=3)
    config = json.loads((run.folder.model / "config.json").read_text())
    assert list(config["id2label"].values()) == ["reward 1", "reward 2", "reward 3"]
    model, tokenizer = reward.opened(run.params, str(run.folder.model))
    ids = torch.tensor([reward._row_in_tokens(run.params, tokenizer, CALM)])
    found = reward.predict(run.params, model, tokenizer, [CALM])[0]
    assert model(ids).logits.shape == (1, 3)
    assert found == pytest.approx(model(ids).logits.mean().item(), abs=1e-5)


def test_smoothing_counts_a_share_of_the_pairs_the_other_way_round():
    from types import SimpleNamespace

    logits = torch.tensor([[2.0], [0.5], [-1.0], [1.5]])  # two chosen, two rejected: margins 3 and -1
    loss = reward._Loss(0.1)(SimpleNamespace(logits=logits), None)
    sigmoid = torch.sigmoid(torch.tensor([3.0, -1.0]))
    expected = -(0.9 * sigmoid.log() + 0.1 * (1 - sigmoid).log()).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize(
    "extra", [{}, {"merge_adapter": False}, {"quantization": "int4"}], ids=["merged", "apart", "int4"]
)
def test_an_adapter_and_its_head_open_again(rows, tmp_path, extra, monkeypatch, capsys):
    changes = {"max_steps": 4, "lr": 1e-2, "valid_fraction": 0.2, "peft": True, **extra}
    params = trainers.load("llm").Params(**{**SHORT, **changes}, data_path=rows)
    folder = fit.prepare(params, root=tmp_path)
    assert fit.fit(folder) == "finished"
    last = [event for event in story(folder.events) if event.kind == "sampled"][-1].samples[0]
    found = Run(folder).predict({"prompt": last["prompt"], "response": last["chosen"]})
    assert found == pytest.approx(float(last["score of chosen"]), abs=0.2 if "quantization" in extra else 2e-3)
    library, code = reward.usage(params, folder.model)
    monkeypatch.chdir(folder.path)
    exec(code, {})
    assert library == ("peft" if "merge_adapter" in extra else "transformers")
    assert float(capsys.readouterr().out.split()[-1]) == pytest.approx(Run(folder).predict(HELLO), abs=1e-5)


def test_an_adapter_cannot_be_the_base(whole, rows, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": os.fspath(load.TINY), "peft_type": "LORA"})
    )
    with pytest.raises(ModelError, match="is an adapter of"):
        whole(**SHORT, data_path=rows, model=str(adapter))


def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_weights(whole, rows):
    settings = {"trainer": "reward", "data_path": rows, "max_steps": 6}
    straight, stopped = whole(**settings), whole(**settings, stop=2)
    resumed = whole(**settings, resume=stopped.folder)
    assert all(torch.equal(straight.weights[name], resumed.weights[name]) for name in straight.weights)
