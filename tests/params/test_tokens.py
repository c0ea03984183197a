"""Lines cut into tokens."""

import shlex

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nbtrain.errors import ParamError
from nbtrain.params.tokens import needless, quote, split, take

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
TRICKY = st.text(st.sampled_from("a '\"\\$\n{}[]#;=-!%?`\r\t\x00\x0b\u2028é😀"), max_size=12)


@pytest.mark.parametrize(
    ("text", "tokens", "silent"),
    [
        ("runs;", ["runs"], True),
        ("runs ;  # all", ["runs"], True),
        ("runs", ["runs"], False),
        ("--model 'a;'", ["--model", "a;"], False),
        ("--model 'a';", ["--model", "a"], True),
        (";", [], True),
        ("''", [""], False),
    ],
)
def test_only_a_semicolon_outside_of_quotes_at_the_end_silences(text, tokens, silent):
    assert split(text) == (tokens, silent)


def test_needless_words_are_taken_out_and_told():
    rest, notices = needless(["--train", "--lr", "1", "--advanced"])
    assert rest == ["--lr", "1"]
    assert notices == ["--advanced is needless: every parameter can be given at any time"]


def test_a_verbs_own_flags_are_taken_out_wherever_they_stand():
    found, rest = take(["--lr", "1", "--into", "run", "--help"], switches=("--help",), valued=("--into",))
    assert found == {"--into": "run", "--help": True}
    assert rest == ["--lr", "1"]
    with pytest.raises(ParamError, match="--into needs a value"):
        take(["--into"], valued=("--into",))


@given(TEXT | TRICKY)
def test_without_brackets_and_dollars_words_are_cut_as_a_shell_cuts_them(text):
    assume(not set("#[]{}$;") & set(text) and "\\\n" not in text and "\\\r" not in text)
    assume(all(letter in " \t\r\n" or not letter.isspace() for letter in text))  # a shell knows these four
    assume(not any(0x1C <= ord(letter) <= 0x1F for letter in text))
    quoted = text.replace("\\", "\\\\")
    try:
        expected = shlex.split(quoted)
    except ValueError:
        with pytest.raises(ParamError):
            split(quoted)
    else:
        assert split(quoted).tokens == expected


@given(st.lists(TEXT | TRICKY))
def test_tokens_that_are_quoted_stay_as_they_are_whatever_variables_there_are(tokens):
    line = " ".join(map(quote, tokens))
    assert len(line.splitlines()) <= 1
    assert split(line, {"a": 1, "text": "two"}) == (tokens, False)
