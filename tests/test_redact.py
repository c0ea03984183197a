import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrain import redact as module
from nbtrain.redact import MASK, redact, redact_all, remember, remember_environment

TOKENS = ["hf_" + "aB3" * 10, "sk-" + "a-_9" * 6, "ghp_" + "x1" * 18, "ghs_" + "x1" * 18]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(module, "_known", set())


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("around", ["{}", "token={}", "https://user:{}@host/x", "('{}',)", "a\n{}\nb", "Bearer {}."])
def test_a_word_of_a_tokens_shape_is_masked_without_being_known(token, around):
    assert redact(around.format(token)) == around.format(MASK)


@pytest.mark.parametrize(
    "text", ["hf_short", "ask-me-anything-you-like-about-this", "the hf_hub_download function", ""]
)
def test_an_ordinary_word_is_left_alone(text):
    assert redact(text) == text


def test_a_known_secret_is_masked_wherever_it_stands_also_twice_and_within_a_word():
    remember("canary-1234")
    assert redact("xcanary-1234y canary-1234") == f"x{MASK}y {MASK}"


def test_a_secret_that_holds_another_is_masked_whole():
    remember("canary-1234")
    remember("canary-1234-long-canary-1234")
    assert redact("canary-1234-long-canary-1234") == MASK


@pytest.mark.parametrize("secret", [None, "", "short"])
def test_what_is_too_short_would_mask_ordinary_words(secret):
    remember(secret)
    assert redact("a short story") == "a short story"


@pytest.mark.parametrize("secret", ['with"quote-1', "back\\slash-1", "new\nline-123", "grüße-1234", "tab\tand-1234"])
def test_a_secret_is_masked_also_where_it_stands_quoted(secret):
    remember(secret)
    for written in (secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False)):
        assert secret not in redact(written)
        assert MASK in redact(written)


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "MY_api_key", "APIKEY", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "X_CREDENTIALS"]
)
def test_secrets_of_the_environment_are_known_by_the_name_of_their_variable(monkeypatch, name):
    monkeypatch.setenv(name, "canary-1234")
    monkeypatch.setenv("HARMLESS", "ordinary words")
    remember_environment()
    assert redact("canary-1234 ordinary words") == f"{MASK} ordinary words"


letters = st.text("abc")


@given(letters, st.text("abc", min_size=8), letters)
def test_no_known_secret_is_left_in_any_text(before, secret, after):
    module._known.clear()
    remember(secret)
    masked = redact(f"{before}{secret}{after}{secret}")
    assert secret not in masked and MASK in masked


def test_every_text_in_a_value_is_masked_and_numbers_are_not_torn():
    remember("12345678")
    value = {"12345678": [("x 12345678", 12345678.5), None, True], "time": 12345678}
    assert redact_all(value) == {MASK: [[f"x {MASK}", 12345678.5], None, True], "time": 12345678}
