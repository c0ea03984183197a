"""Environments: named, asked, played, and told in words where they do not keep to the protocol."""

import pytest

from nbtrain.errors import ParamError, TrainingError
from nbtrain.trainers.rl import environments
from nbtrain.trainers.rl.environments import Turn

GUESS = """
class Guess:
    def __init__(self, highest=10):
        self.highest = highest

    def reset(self, row):
        self.wanted = row["number"]
        return f"Guess from 1 to {self.highest}."

    def step(self, answer):
        return (1.0 if answer == str(self.wanted) else 0.0, True)
"""


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "games.py"
    path.write_text(GUESS)
    return str(path)


def test_the_only_class_is_found_and_takes_its_config(module):
    make = environments.named(module, config='{"highest": 20}')
    environment = make()
    assert make.__name__ == "Guess"
    assert environments.asked(environment, {"number": 7}, "the row's prompt") == "Guess from 1 to 20."
    assert environments.judged(environment, "7") == Turn(1.0, True, "")


def test_it_serves_as_a_reward(module):
    reward = environments.reward(environments.named(module, "Guess"))
    assert reward(prompts=["p", "p"], completions=["3", "4"], number=[3, 3]) == [1.0, 0.0]
    assert reward.__name__ == "Guess"


@pytest.mark.parametrize(("given", "turn"), [(0.5, (0.5, True, "")), ((1, False, "more"), (1.0, False, "more"))])
def test_what_step_gives_is_read_as_a_turn(given, turn):
    class Fixed:
        def step(self, answer):
            return given

    assert environments.judged(Fixed(), "x") == turn


def test_where_reset_says_nothing_the_prompt_of_the_row_is_asked():
    class Silent:
        def reset(self, row):
            return None

    assert environments.asked(Silent(), {}, "the row's prompt") == "the row's prompt"


@pytest.mark.parametrize(
    ("code", "name", "config", "told"),
    [
        ("x = 1", "", None, "has 0 classes with reset and step"), (GUESS + GUESS.replace("Guess:", "Other:"), "", None,
         "has 2 classes"), (GUESS, "Gess", None, "Did you mean Guess"), ("class Bare:\n    pass", "Bare", None,
         "no method reset and no step"), (GUESS, "", '{"lowest": 1}', "does not take its config"),
        (GUESS, "", "{", "is no JSON"), (GUESS, "", "[1]", "is an object"), ("1 / 0", "", None, "cannot be loaded"),
    ],
)  # fmt: skip
def test_what_is_no_environment_is_told(tmp_path, code, name, config, told):
    path = tmp_path / "games.py"
    path.write_text(code)
    with pytest.raises(ParamError, match=told):
        environments.named(str(path), name, config)


def test_what_it_raises_or_gives_wrongly_is_told():
    class Broken:
        def reset(self, row):
            return row["nothing"]

        def step(self, answer):
            return "much"

    with pytest.raises(TrainingError, match="Broken.reset raised KeyError"):
        environments.asked(Broken(), {}, "p")
    with pytest.raises(TrainingError, match="Broken.step gave 'much'"):
        environments.judged(Broken(), "x")
