"""The built-in language model: small, whole, with a chat template, opened by plain transformers."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from nbtrain.models.load import TINY

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good day."}]


@pytest.fixture(scope="module")
def words():
    return AutoTokenizer.from_pretrained(TINY)


def test_it_is_within_its_budget():
    assert sum(file.stat().st_size for file in TINY.iterdir()) < 6_000_000
    assert AutoModelForCausalLM.from_pretrained(TINY).num_parameters() < 3_000_000


def test_its_folder_holds_a_card_that_names_the_licences():
    card = (TINY / "README.md").read_text(encoding="utf-8")
    assert "CC BY-SA" in card and "perplexity" in card


@pytest.mark.parametrize(
    "text", ["plain words", "naïve café — 30 °C", "数据", "  two  spaces\n\tand a tab\r\n", "1234.5", "🙂"]
)
def test_any_text_comes_back_as_it_was(words, text):
    assert words.decode(words(text).input_ids) == text


def test_end_padding_and_turns_are_tokens_of_their_own(words):
    assert (words.eos_token, words.pad_token) == ("<|im_end|>", "<|pad|>")
    assert words.eos_token_id != words.pad_token_id
    assert len(words("<|im_start|>user").input_ids) == 1 + len(words("user").input_ids)


def test_its_template_marks_what_the_assistant_wrote_and_where_it_ends(words):
    encoded = words.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    answered = [token for token, mine in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mine]
    assert words.decode(answered) == "Good day.<|im_end|>"


def test_its_prompt_is_the_beginning_of_its_whole(words):
    whole = words.apply_chat_template(CHAT, tokenize=False)
    prompt = words.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True)
    assert whole == prompt + "Good day.<|im_end|>\n"


def test_a_system_message_is_rendered_as_a_turn(words):
    system = words.apply_chat_template([{"role": "system", "content": "Be brief."}], tokenize=False)
    assert system == "<|im_start|>system\nBe brief.<|im_end|>\n"
