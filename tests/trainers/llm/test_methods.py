"""The methods from a file to a model: what is trained, what is shown, what the model then says."""

import json

import pytest

from nbtrain import trainers
from nbtrain.errors import ParamError
from nbtrain.models import load
from nbtrain.params.help import help_text
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal, story
from nbtrain.trainers.llm import _language, default, sft

CHATS = [
    [
        {"role": "user", "content": f"What comes after {number}?"},
        {"role": "assistant", "content": f"After {number} comes {number + 1}."},
    ]
    for number in range(30)
]
TEXT = "\n\n".join(
    f"The number {number} stands before the number {number + 1}, and everybody knows it." for number in range(60)
)


@pytest.fixture
def chats(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in CHATS))
    return str(path)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": part}) + "\n" for part in TEXT.split("\n\n")))
    return str(path)


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.data.mkdir(parents=True)
    with Journal(folder.events) as journal:
        yield ActiveRun(folder, journal)


def llm(**given):
    room = trainers.load("llm")
    return room.Params(**{"lr": 2e-3, "batch_size": 8, "sample_max_new_tokens": 4, **given})


def evaluations(run):
    return [event.values["loss"] for event in story(run.folder.events) if event.kind == "evaluated"]


@pytest.mark.parametrize(
    "extra", [{}, {"peft": True, "lr": 1e-2}, {"peft": True, "lr": 1e-2, "quantization": "int4"}], ids=str
)
def test_sft_learns_chats_and_answers(run, chats, extra):
    params = llm(trainer="sft", data_path=chats, epochs=4, **extra)
    values = trainers.load("llm").train(params, run)
    found = evaluations(run)
    assert values["loss"] == found[-1] < found[0] - 0.3
    model, tokenizer = load.saved_model(str(run.folder.model)), load.saved_tokenizer(str(run.folder.model))
    answers = trainers.load("llm").predict(
        params, model, tokenizer, ["What comes after 7?", CHATS[8][:1]], max_new_tokens=3, temperature=0
    )
    assert [type(answer) for answer in answers] == [str, str]


def test_default_learns_text(run, text):
    trainers.load("llm").train(llm(data_path=text, epochs=4), run)
    found = evaluations(run)
    assert found[-1] < found[0] - 0.5


def prepared(method, run, **given):
    params = llm(**given)
    tokens, tokenizer = _language.tokenised(params, run, method.prepare)
    return tokens, tokenizer


def test_only_answers_are_trained_unless_all_is_asked_for(run, chats):
    answers, tokenizer = prepared(sft, run, trainer="sft", data_path=chats)
    row = answers.train[0]
    trained = tokenizer.decode([label for label in row["labels"] if label != -100])
    assert "comes" in trained
    assert "What" not in trained
    everything, _ = prepared(sft, run, trainer="sft", data_path=chats, response_only_loss=False)
    assert everything.train[0]["labels"] == everything.train[0]["input_ids"]


def test_the_prompts_are_held_out_questions_with_their_answers(run, chats):
    tokens, tokenizer = prepared(sft, run, trainer="sft", data_path=chats)
    known = {chat[0]["content"]: chat[1]["content"] for chat in CHATS}
    assert len(tokens.prompts) == 3
    assert all(known[prompt.text] == prompt.expected for prompt in tokens.prompts)
    assert tokens.prompts[0].text in tokenizer.decode(tokens.prompts[0].ids)


def test_own_prompts_are_asked_instead(run, chats):
    tokens, _ = prepared(sft, run, trainer="sft", data_path=chats, sample_prompts=["One?", "Two?"])
    assert [(prompt.text, prompt.expected) for prompt in tokens.prompts] == [("One?", ""), ("Two?", "")]


def test_packed_chats_share_rows_and_lose_no_token(run, chats):
    apart, _ = prepared(sft, run, trainer="sft", data_path=chats, max_seq_length=128)
    packed, _ = prepared(sft, run, trainer="sft", data_path=chats, max_seq_length=128, packing=True)
    assert len(packed.train) < len(apart.train)
    assert sum(map(len, packed.train["input_ids"])) == sum(map(len, apart.train["input_ids"]))
    assert all(sum(row["seq_lengths"]) == len(row["input_ids"]) <= 128 for row in packed.train)


def test_packed_chats_train(run, chats):
    trainers.load("llm").train(
        llm(trainer="sft", data_path=chats, epochs=4, packing=True, max_seq_length=128, batch_size=1), run
    )
    found = evaluations(run)
    assert found[-1] < found[0] - 0.3


def test_joined_texts_fill_blocks_and_lose_no_token(run, text):
    apart, _ = prepared(default, run, data_path=text, block_size=32, packing=False)
    joined, tokenizer = prepared(default, run, data_path=text, block_size=32)
    assert sum(joined.train["input_ids"], []) == sum(apart.train["input_ids"], [])
    assert {len(ids) for ids in joined.train["input_ids"][:-1]} == {32}
    assert max(map(len, apart.train["input_ids"])) <= 32
    assert sum(ids.count(tokenizer.eos_token_id) for ids in joined.train["input_ids"]) == 54


def test_texts_may_end_without_the_end_token(run, text):
    joined, tokenizer = prepared(default, run, data_path=text, add_eos_token=False)
    assert not any(tokenizer.eos_token_id in ids for ids in joined.train["input_ids"])


def test_no_row_is_longer_than_any_limit(run, text):
    for limit in ({"block_size": 24}, {"block_size": [24]}, {"model_max_length": 24}):
        tokens, _ = prepared(default, run, data_path=text, **limit)
        assert max(map(len, tokens.train["input_ids"])) == 24
    tokens, _ = prepared(sft, run, trainer="sft", data_path=text, max_seq_length=12)
    assert max(map(len, tokens.train["input_ids"])) == 12


def test_the_column_of_text_can_be_named(run, tmp_path):
    path = tmp_path / "columns.jsonl"
    path.write_text("".join(json.dumps({"text": "no", "verse": f"yes {number}"}) + "\n" for number in range(10)))
    tokens, tokenizer = prepared(default, run, data_path=str(path), text_column="verse", valid_fraction=0)
    assert tokenizer.decode(tokens.train[0]["input_ids"]).startswith("yes 0")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"trainer": "kto"}, "--trainer is one of default, generic, sft"),
        ({"use_flash_attention_2": True, "attn_implementation": "eager"}, "exclude each other"),
        ({"block_size": [1024, 512]}, "--block-size"),
        ({"quantization": "int4"}, "only works with --peft"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(given, told):
    with pytest.raises(ParamError, match=told):
        llm(**given)


def test_options_of_sft_are_ignored_with_a_notice_elsewhere():
    assert llm(trainer="default", response_only_loss=False).notices == [
        "response_only_loss only applies to SFT trainer, will be ignored"
    ]


def test_generic_is_default(run, text):
    generic = _language.tokenised(
        llm(trainer="generic", data_path=text), run, trainers.load("llm").METHODS["generic"].prepare
    )[0]
    plain = _language.tokenised(llm(trainer="default", data_path=text), run, default.prepare)[0]
    assert generic.train["input_ids"][:] == plain.train["input_ids"][:]


def test_a_setting_that_predict_does_not_have_is_named():
    with pytest.raises(ParamError, match="no setting longest"):
        trainers.load("llm").predict(llm(), None, None, ["x"], longest=3)


@pytest.mark.parametrize(
    ("method", "unread"),
    [
        ("dpo", {"packing", "padding", "add_eos_token", "rl_reward_fn", "num_labels"}),
        ("ppo", {"packing", "padding", "add_eos_token", "dpo_beta", "rl_num_generations"}),
        ("grpo", {"packing", "padding", "add_eos_token", "rl_gae_lambda", "max_prompt_length"}),
        ("reward", {"packing", "sample_prompts", "sample_temperature", "teacher_model", "dpo_beta"}),
        ("default", {"chat_template", "response_only_loss", "orpo_alpha"}),
    ],
)
def test_the_help_of_a_method_leaves_out_what_it_does_not_read(method, unread):
    params_class = trainers.load("llm").Params
    shown, options = help_text(params_class, method), params_class.options()
    assert not [name for name in unread if options[name].flag.removeprefix("--") + " " in shown]
    assert all(options[name].flag.removeprefix("--") in help_text(params_class) for name in unread)


def test_training_goes_on_from_an_adapter_that_was_not_merged(run, chats, tmp_path):
    trainers.load("llm").train(llm(trainer="sft", data_path=chats, peft=True, merge_adapter=False, max_steps=2), run)
    assert (run.folder.model / "adapter_config.json").exists()
    then = RunFolder(tmp_path / "then")
    then.data.mkdir(parents=True)
    with Journal(then.events) as journal:
        params = llm(trainer="sft", data_path=chats, model=str(run.folder.path), max_steps=2)
        assert trainers.load("llm").train(params, ActiveRun(then, journal))["loss"] > 0
    assert (then.model / "model.safetensors").exists()
