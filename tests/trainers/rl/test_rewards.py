"""Rewards by name, by place and by hand: what they give, and what they say to what cannot be."""

import json
import math

import pytest

from nbtrain.errors import DataError, ParamError, TrainingError
from nbtrain.trainers.rl import rewards
from nbtrain.trainers.rl.answers import number
from nbtrain.trainers.rl.rewards import combined, named


def of(spec, *texts, **columns):
    return named(spec)(prompts=["a prompt"] * len(texts), completions=list(texts), **columns)


def test_each_reward_of_the_library_can_be_made_or_says_what_it_needs():
    for name in rewards.LIBRARY:
        if rewards.LIBRARY[name] == "judges":
            with pytest.raises(ParamError, match="needs a model"):
                named(name)
        else:
            assert rewards.name_of(named(name)) == name


def test_length_is_best_at_its_target():
    assert of({"name": "length", "target": 4}, "a b c d", "a b", "", "a b c d e f", "x " * 50) == [1, 0.5, 0, 0.5, -1]
    assert of({"name": "length", "target": 3, "unit": "characters"}, "abc", "abcdef") == [1, 0]
    with pytest.raises(ParamError, match="1 or more"):
        named({"name": "length", "target": 0})


def test_shape_and_letters():
    assert of({"name": "regex", "pattern": r"\d+"}, "has 3", "none") == [1, 0]
    assert of({"name": "regex", "pattern": "YES", "full": True, "ignore_case": True}, "yes", "yes.") == [1, 0]
    assert of("format", "<think>so\nso</think><answer>4</answer>", "4") == [1, 0]
    assert of({"name": "letters", "of": "e"}, "eel", "sun", "...") == [pytest.approx(2 / 3), 0, 0]
    assert of({"name": "letters", "of": "e", "sign": -1}, "E") == [-1]
    with pytest.raises(ParamError, match="cannot be read"):
        named({"name": "regex", "pattern": "("})


def test_json_fits_its_schema_or_not():
    schema = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer"}}}
    texts = ('{"age": 3}', '```json\n{"age": 3}\n```', '{"age": "3"}', "{age: 3}", "[" * 100_000)
    assert of({"name": "json", "schema": schema}, *texts) == [1, 1, 0.5, 0, 0]
    with pytest.raises(ParamError, match="is none"):
        named({"name": "json", "schema": {"type": "nonsense"}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("so it is 1,000 apples.", "1000"), (r"thus \boxed{\frac{1}{2}}", "1/2"), (r"\boxed{\text{4} + {3}}", "3"),
        ("12 * 3 = 36\n#### 36", "36"), ("The answer is 50%.", "1/2"), ("costs $5.25, not $6", "6"), ("x = -7", "-7"),
        ("3/4", "3/4"), ("v2 of gpt3", None), ("nothing", None), ("1/0", None), ("42", "42"),
    ],
)  # fmt: skip
def test_the_number_that_a_text_gives_as_its_answer(text, value):
    assert (str(number(text)) if number(text) is not None else None) == value


def test_math_holds_numbers_against_the_answer():
    texts = ("#### 0.50", r"\boxed{1/2}", "it is 0.4", "none")
    assert of("math", *texts, answer=["1/2"] * 4) == [1, 1, 0, 0]
    assert of({"name": "math", "near": 0.5}, "15", "10", answer=["10", "10"]) == [pytest.approx(0.5 / 1.5), 1]
    assert of("math", "A", "B", answer=["A", "A"]) == [1, 0]
    assert of("math", "5", answer=["#### 5"]) == [1]


def test_exact_answers_and_nearness_in_words():
    assert of("exact", "Paris. ", "paris", "Rome", answer=["paris"] * 3) == [1, 1, 0]
    assert of({"name": "exact", "ignore_case": False}, "paris", answer=["Paris"]) == [0]
    assert of("rouge", "the cat sat", "a dog", answer=["the cat sat"] * 2) == [1, 0]
    assert of("bleu", "the cat sat on the mat", "dog", answer=["the cat sat on the mat"] * 2) == [pytest.approx(1), 0]


def test_a_column_that_is_not_there_is_named_and_an_empty_cell_is_no_opinion():
    with pytest.raises(DataError, match="needs a column 'result'; the rows have other, prompt"):
        of({"name": "exact", "column": "result"}, "x", other=["y"])
    assert of("exact", "x", "y", answer=[None, "y"]) == [None, 1]


def test_completions_may_be_messages():
    said = [[{"role": "assistant", "content": "7"}]]
    assert named("math")(prompts=[[{"role": "user", "content": "3 + 4?"}]], completions=said, answer=["7"]) == [1]


def test_several_count_by_their_weights_and_are_kept_within_bounds():
    def constant(prompts, completions, **columns):
        return [10.0, None]

    def other(prompts, completions, **columns):
        return [None, None]

    found = combined([constant, other, {"name": "length", "target": 1, "clip": [0, 0.25]}], [0.1, 5, 2], high=1.2)
    parts = found.parts(["p", "p"], ["a", "a"])
    assert parts == {"constant": [10, None], "other": [None, None], "length": [0.25, 0.25]}
    assert found(["p", "p"], ["a", "a"]) == [1.2, 0.5]
    assert combined(other)(["p", "p"], ["a", "a"]) == [None, None]


def test_two_of_one_name_are_told_apart():
    assert list(combined([{"name": "length"}, {"name": "length", "target": 3}, "format"]).rewards) == [
        "length-1", "length-2", "format",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("lenght", "Did you mean length"), ({"name": "length", "size": 3}, "does not take these settings"),
        ({"target": 3}, "there is no reward None"), ("{nonsense", "cannot be read as JSON"), ([], "is empty"),
        (["length", 3], "there is no reward 3"), ("no.such.module:reward", "cannot be loaded"),
        ("math:nothing", "has no function 'nothing'"), ("math:pi", "no function but a float"),
        ({"name": "math:sqrt", "target": 3}, "takes no settings"),
    ],
)  # fmt: skip
def test_what_is_no_reward_is_told_in_words(spec, told):
    with pytest.raises(ParamError, match=told):
        combined(spec)


def test_weights_are_one_a_reward():
    with pytest.raises(ParamError, match="2 rewards and 1 weights"):
        combined(["length", "format"], [1])


@pytest.mark.parametrize(
    ("values", "told"),
    [([1.0], "gave 1 values for 2"), ([1.0, "much"], "gave 'much'"), ([1.0, math.nan], "gave nan")],
)
def test_what_a_reward_gives_is_looked_at(values, told):
    with pytest.raises(TrainingError, match=told):
        combined(lambda prompts, completions, **columns: values)(["p", "p"], ["a", "b"])


def test_what_a_reward_raises_is_told_with_its_line():
    def broken(prompts, completions, **columns):
        return [1 / 0 for _ in completions]

    with pytest.raises(TrainingError, match="the reward broken raised ZeroDivisionError") as found:
        combined(broken)(["p"], ["a"])
    assert "test_rewards.py, line" in found.value.where


def test_a_reward_may_stand_in_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "def vowels(prompts, completions, **columns):\n    return [len(set(t) & set('aeiou')) for t in completions]\n"
    )
    assert of(f"{path}:vowels", "aeon", "hmm") == [3, 0]
    assert of(json.dumps({"name": f"{path}:vowels", "clip": [0, 2]}), "aeon") == [2]
