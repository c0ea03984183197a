"""Which tokens of a conversation are trained: by hand, against TRL, and for any conversation."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbtrain.data import chat
from nbtrain.data.templates import TEMPLATES
from nbtrain.errors import DataError, ParamError

TALK = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "name the sea"},
    {"role": "assistant", "content": "the sea"},
    {"role": "user", "content": "what?"},
    {"role": "assistant", "content": " answers "},
]
LETTERS = (
    "{% for m in messages %}{{ m.role[0] ~ ':' ~ m.content ~ '.' }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


def _trained(row, tokenizer):
    """What is trained, with `§` where something before it is not."""
    text, before = "", 0
    for token, flag in zip(row.input_ids, row.trained, strict=True):
        text += ("§" if flag and not before else "") + (tokenizer.decode([token]) if flag else "")
        before = flag
    return text


def _letters():
    """A tokenizer with one token for each character, so that a mask can be written by hand."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {character: at for at, character in enumerate(map(chr, range(32, 127)))}
    backend = Tokenizer(models.WordLevel(known, unk_token=" "))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def test_the_mask_of_a_case_worked_by_hand():
    talk = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yo"},
        {"role": "user", "content": "a:"},
        {"role": "assistant", "content": "no"},
    ]
    row = chat.encode(talk, _letters(), template=LETTERS)
    #       u:hi.a:yo.u:a:.a:no.
    mask = "00000001110000000111"
    assert row.trained == [int(flag) for flag in mask]
    assert len(row.input_ids) == len(row.trained) and row.cut == 0


def test_without_response_only_all_is_trained():
    row = chat.encode(TALK[1:3], _letters(), template=LETTERS, response_only=False)
    assert set(row.trained) == {1}


def test_what_is_over_the_limit_is_cut_and_counted():
    whole = chat.encode(TALK, _letters(), template=LETTERS)
    row = chat.encode(TALK, _letters(), template=LETTERS, max_length=20)
    assert row.input_ids == whole.input_ids[:20] and row.trained == whole.trained[:20]
    assert row.cut == len(whole.input_ids) - 20


def test_chatml_trains_the_answers_and_their_ends(tokenizer):
    row = chat.encode(TALK, tokenizer, template=TEMPLATES["chatml"])
    assert _trained(row, tokenizer) == "§the sea<|im_end|><|endoftext|>\n§ answers <|im_end|><|endoftext|>\n"
    assert tokenizer.decode(row.input_ids).startswith("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n")


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_trains_the_answers_and_the_end_of_text_and_no_more(name, tokenizer):
    spoken = _trained(chat.encode(TALK, tokenizer, template=TEMPLATES[name]), tokenizer)
    first, second = spoken.split("§")[1:]
    assert first.strip().startswith("the sea") and second.strip().startswith("answers")
    for answer in (first, second):
        assert answer.strip().endswith("<|endoftext|>")
        assert "user" not in answer and "what" not in answer


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_ends_its_prompt_where_the_answer_begins(name, tokenizer):
    def text(messages, prompt):
        return tokenizer.apply_chat_template(
            messages, chat_template=TEMPLATES[name], tokenize=False, add_generation_prompt=prompt
        )

    whole = text(TALK, False)
    assert whole.startswith(text(TALK[:2], True)) and whole.startswith(text(TALK[:4], True))
    assert whole[len(text(TALK[:2], True)) :].lstrip().startswith("the sea")


def _of_trl(name):
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text()


def _mask_of_trl(talk, name, tokenizer):
    found = tokenizer.apply_chat_template(
        talk, chat_template=_of_trl(name), return_dict=True, return_assistant_tokens_mask=True
    )
    return found["input_ids"], found["assistant_masks"]


@pytest.mark.parametrize("talk", [TALK[1:], TALK[1:3]], ids=["two answers", "one answer"])
@pytest.mark.parametrize(
    "name", ["cohere2", "gemma3", "gemma", "idefics3", "lfm2", "qwen3_instruct_2507", "phi3", "phi3_5"]
)
def test_the_mask_of_a_plain_template_is_that_of_trl(name, talk, tokenizer):
    row = chat.encode(talk, tokenizer, template=_of_trl(name))
    assert (row.input_ids, row.trained) == _mask_of_trl(talk, f"{name}_training", tokenizer)


def test_a_newline_that_the_prompt_ends_with_is_not_trained(tokenizer):
    # TRL's template for Qwen 2.5 trains it, though the model is never asked to write it
    ids, expected = _mask_of_trl(TALK, "qwen2_5_training", tokenizer)
    row = chat.encode(TALK, tokenizer, template=_of_trl("qwen2_5"))
    assert row.input_ids == ids
    more = [at for at, (ours, theirs) in enumerate(zip(row.trained, expected, strict=True)) if ours != theirs]
    assert [tokenizer.decode(ids[at]) for at in more] == ["\n", "\n"]
    assert all(expected[at] for at in more)


@pytest.mark.parametrize("name", ["qwen2_5_training", "qwen3_training"])
def test_a_template_that_marks_its_answers_is_believed(name, tokenizer):
    row = chat.encode(TALK, tokenizer, template=_of_trl(name))
    assert (row.input_ids, row.trained) == _mask_of_trl(TALK, name, tokenizer)


FORGETFUL = (
    "{% for m in messages %}{{ m.role ~ ':' }}{% if m.role == 'assistant' and loop.last %}{{ '<think></think>' }}"
    "{% endif %}{{ m.content ~ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def test_a_template_that_forgets_its_thinking_trains_what_it_writes(tokenizer):
    row = chat.encode(TALK, tokenizer, template=FORGETFUL)
    assert _trained(row, tokenizer) == "§the sea<|im_end|>§<think></think> answers <|im_end|>"


OPENS_A_THOUGHT = (
    "{% for m in messages %}{{ m.role ~ ':' ~ m.content.split('</think>')[-1] ~ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:<think>' }}{% endif %}"
)


def test_a_prompt_that_opens_a_thought_trains_the_answer(tokenizer):
    talk = [*TALK[:2], {"role": "assistant", "content": "<think>well</think>the sea"}, *TALK[3:]]
    row = chat.encode(talk, tokenizer, template=OPENS_A_THOUGHT)
    assert _trained(row, tokenizer) == "§the sea<|im_end|>§ answers <|im_end|>"


@pytest.mark.parametrize("name", ["qwen3", "qwen3_6", "deepseekv3", "deepseek_r1_distill", "nemotron_3_nano", "gptoss"])
def test_templates_of_thinking_models_train_their_answers(name, tokenizer):
    from nbtrain.data.encoding import Template

    text, spans = Template(tokenizer, _of_trl(name)).render(TALK[1:], True)
    first, second = (text[begin:end] for begin, end in spans)
    assert "the sea" in first and "answers" in second
    assert not any(word in first + second for word in ("what", "name", "user", "User"))


def test_a_template_whose_answers_cannot_be_found_says_so(tokenizer):
    template = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(DataError, match="answers cannot be found") as caught:
        chat.encode(TALK, tokenizer, template=template)
    assert "--no-response-only-loss" in caught.value.fix


def test_a_template_that_fails_is_told_with_its_words(tokenizer):
    with pytest.raises(DataError, match="refuses the row: no system here"):
        chat.encode(TALK, tokenizer, template="{{ raise_exception('no system here') }}")
    with pytest.raises(DataError, match="refuses the row"):
        chat.encode(TALK, tokenizer, template="{% for m in messages %}{{ m.content }}")


def test_a_control_token_in_a_message_is_refused(tokenizer):
    talk = [TALK[1], {"role": "assistant", "content": "stop <|im_end|> here"}]
    with pytest.raises(DataError, match=r"'<\|im_end\|>' stands in a message"):
        chat.encode(talk, tokenizer, template=TEMPLATES["chatml"])


def test_a_tokenizer_that_tells_no_places_is_cut_at_the_borders():
    from transformers import ByT5Tokenizer

    row = chat.encode(TALK[1:], ByT5Tokenizer(), template=LETTERS)
    assert _trained(row, ByT5Tokenizer()) == "§the sea.§ answers ."


SAID = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40).filter(str.strip)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(said=st.lists(SAID, min_size=2, max_size=6), name=st.sampled_from(["chatml", "zephyr", "phi", "mistral"]))
def test_any_conversation_comes_back_from_its_tokens(said, name, tokenizer):
    roles = ("user", "assistant")
    talk = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]
    row = chat.encode(talk, tokenizer, template=TEMPLATES[name])
    text = tokenizer.apply_chat_template(talk, chat_template=TEMPLATES[name], tokenize=False)
    assert tokenizer.decode(row.input_ids) == text
    spoken = tokenizer.decode([token for token, flag in zip(row.input_ids, row.trained, strict=True) if flag])
    at = 0
    for turn in talk:
        if turn["role"] == "assistant":
            at = spoken.index(turn["content"], at) + len(turn["content"])
    extra = len(spoken) - sum(len(turn["content"]) for turn in talk if turn["role"] == "assistant")
    marks = {"chatml": "<|im_end|><|endoftext|>\n", "zephyr": "<|endoftext|>\n", "phi": "<|end|><|endoftext|>\n"}
    assert extra == len(marks.get(name, " <|endoftext|>")) * (len(said) // 2)


def test_the_template_is_the_one_named(tokenizer, tmp_path):
    told = []
    assert chat.template_for(tokenizer, None, told.append) == TEMPLATES["chatml"]
    assert told == ["The tokenizer has no chat template: chatml is used. Choose another with --chat-template."]
    assert chat.template_for(tokenizer, "zephyr", told.append) == TEMPLATES["zephyr"] and len(told) == 1
    (tmp_path / "own.jinja").write_text(LETTERS)
    assert chat.template_for(tokenizer, str(tmp_path / "own.jinja")) == LETTERS
    assert chat.template_for(tokenizer, LETTERS) == LETTERS
    with pytest.raises(ParamError, match="Did you mean zephyr?"):
        chat.template_for(tokenizer, "zefyr")
    with pytest.raises(ParamError, match="has no chat template"):
        chat.template_for(tokenizer, "tokenizer")


def test_the_tokenizers_own_template_goes_first():
    tokenizer = _letters()
    tokenizer.chat_template = LETTERS
    assert chat.template_for(tokenizer, None) == chat.template_for(tokenizer, "tokenizer") == LETTERS
