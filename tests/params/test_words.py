"""The grammar of the line, the cell and the command."""

import ast
import json
import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from nbtrain.errors import ParamError
from nbtrain.params import Params, option
from nbtrain.params.words import (
    read_body,
    read_line,
    split,
    take,
    write_body,
    write_line,
    write_tokens,
)


class Everything(Params):
    """One field of each kind that a room may declare."""

    trainer: Literal["sft", "dpo"] = option("sft", "method", group="A")
    data_path: Any = option("demo", "rows", group="A", aliases=("df", "data"))
    model: str = option("tiny", "model", group="A")
    valid_split: str | None = option("valid", "split", group="A")
    lr: float = option(3e-5, "rate", group="A")
    max_steps: int = option(-1, "steps", group="A")
    eval_steps: int | None = option(7, "steps", group="A")
    peft: bool = option(False, "adapter", group="A")
    merge: bool = option(True, "merge", group="A")
    packing: bool | None = option(True, "pack", group="A")
    mapping: dict[str, str] | None = option(None, "roles", group="A")
    prompts: str | list[str] | None = option(None, "prompts", group="A")
    block: int | list[int] = option(1024, "block", group="A")
    token: str | None = option(None, "secret", group="A", secret=True)


FRAME = [{"text": "a"}]
NAMES = {"train_df": FRAME, "text": "two words", "n": 3, "cfg": {"lr": 0.5}, "evil": "--peft", "path": "a/b"}


def rows(names):
    return {"train_df": "1 row: text"}


def line(text, names=NAMES):
    return read_line(split(text, names).tokens, Everything, names, rows=rows)


def body(text, names=NAMES):
    return read_body(text, Everything, names, rows=rows)


# what is read


def test_both_spellings_and_an_equals_sign_name_the_same_field():
    assert line("--max-steps 5") == line("--max_steps 5") == line("--max-steps=5") == {"max_steps": "5"}


def test_a_switch_is_turned_on_and_off_in_each_way():
    assert line("--peft --no-merge") == {"peft": True, "merge": False}
    for word, meant in {"true": True, "False": False, "on": True, "0": False}.items():
        assert Everything.read(line(f"--peft {word} --lr 1"))[0].peft is meant
        assert Everything.read(line(f"--peft={word}"))[0].peft is meant


def test_a_negative_number_is_a_value():
    assert Everything.read(line("--max-steps -1 --lr -2.5e-3"))[0].lr == -0.0025


def test_no_takes_a_value_away_where_there_may_be_none():
    assert line("--no-valid-split --no-eval-steps --packing none") == {
        "valid_split": None,
        "eval_steps": None,
        "packing": None,
    }
    with pytest.raises(ParamError, match="--lr cannot be left without a value"):
        line("--no-lr")


def test_json_stands_on_a_line_without_quotes_and_with_them():
    for text in ('{"text": "a b", "x": "$n"}', '\'{"text": "a b", "x": "$n"}\'', "{'text': 'a b', 'x': '$n'}"):
        assert line(f"--mapping {text}") == {"mapping": {"text": "a b", "x": "$n"}}
    assert line('--prompts ["a b", "{n}"] --block [8]') == {"prompts": ["a b", "{n}"], "block": [8]}


def test_a_backslash_at_a_lines_end_continues_and_a_hash_begins_a_comment():
    assert line("--lr 1 \\\n --peft # --merge 3") == {"lr": "1", "peft": True}
    assert line("--model a#b") == {"model": "a#b"}


def test_a_variable_with_spaces_stays_one_token_and_a_frame_stays_a_frame():
    assert line("--prompts $text") == {"prompts": "two words"}
    assert line("--df {train_df}")["data_path"] is FRAME
    assert line("--data-path={train_df}")["data_path"] is FRAME
    assert line('--lr {cfg["lr"]} --max-steps {n + 1}') == {"lr": 0.5, "max_steps": 4}
    assert line("--model runs/{path}-$n.x") == {"model": "runs/a/b-3.x"}


def test_what_has_no_value_and_what_stands_in_single_quotes_stays_as_it_is():
    assert line("--model {missing}/$nothing.x") == {"model": "{missing}/$nothing.x"}
    assert line("--prompts '$text {n}'") == {"prompts": "$text {n}"}
    assert line('--prompts "{{ n }} {% if n %}"') == {"prompts": "{{ n }} {% if n %}"}
    assert line("--prompts $5") == {"prompts": "$5"}
    with pytest.raises(ParamError, match=r"no variable txt\. Did you mean text\?"):
        line("--prompts $txt")


def test_text_of_a_variable_is_never_a_flag():
    with pytest.raises(ParamError, match="'--peft' belongs to no flag"):
        line("$evil")
    with pytest.raises(ParamError, match="'--peft' belongs to no flag"):
        line('"$evil"')
    assert line("--prompts $evil") == {"prompts": "--peft"}
    assert take(["--help"], switches=("--help",)) == ({"--help": True}, [])
    assert take(split("{'--help'}", {}).tokens, switches=("--help",))[0] == {}


def test_what_looks_like_a_shell_is_only_text(tmp_path):
    target = tmp_path / "made"
    text = f'--model "`touch {target}` $(touch {target}) | ! > {target} && touch {target}"'
    assert line(text)["model"].startswith("`touch")
    assert not target.exists()


def test_a_variable_of_the_notebook_is_data_by_name():
    assert line("--df train_df")["data_path"] is FRAME
    assert line("--data train_df")["data_path"] is FRAME
    assert line("--data text") == {"data_path": "text"}  # a variable, but no rows
    assert line("--data-path other.csv") == {"data_path": "other.csv"}


def test_a_file_of_the_same_name_goes_before_a_variable_unless_df_asks_for_it(workdir):
    (workdir / "train_df").mkdir()
    assert line("--data train_df") == {"data_path": "train_df"}
    assert line("--df train_df")["data_path"] is FRAME


def test_a_wrong_frame_is_told_with_those_there_are():
    with pytest.raises(ParamError) as caught:
        line("--df trian_df")
    assert "Did you mean train_df?" in caught.value.what
    assert "train_df (1 row: text)" in caught.value.why
    with pytest.raises(ParamError, match="there is no notebook here"):
        line("--df train_df", None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--modle x", "Did you mean --model"),
        ("--mod x", "has no parameter --mod"),
        ("--lr", "--lr needs a value"),
        ("--lr --peft", "--lr needs a value"),
        ("--lr 1 --lr 2", "--lr is given twice"),
        ("--df train_df --data-path x", "--data-path is given twice"),
        ("lr=3", "'lr=3' is no flag"),
        ("--model a b", "'b' belongs to no flag"),
        ("--mapping text", "--mapping takes JSON"),
        ("--model 'a", "the quote ' is not closed"),
        ("--no-peft=1", "--no-peft takes no value"),
    ],
)
def test_a_wrong_line_is_told_in_words(text, told):
    with pytest.raises(ParamError) as caught:
        line(text)
    assert told in str(caught.value)


def test_a_cell_holds_literals_and_names():
    text = (
        '# a comment\ntrainer = "dpo"\ndata = train_df\nlr = -2e-4\nprompts = [\n  "a",\n  "b",\n]\nvalid_split = None'
    )
    found = body(text)
    assert found.pop("data_path") is FRAME
    assert found == {"trainer": "dpo", "lr": -2e-4, "prompts": ["a", "b"], "valid_split": None}
    assert body("prompts = '$text {n}'") == {"prompts": "$text {n}"}
    assert body("") == body("\n  \n") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trainer = sft", 'for text write trainer = "sft"'),
        ("data = trian_df", "train_df (1 row: text)"),
        ("lr = 1\nmodel = a/b", "line 2: model = a/b"),
        ("lr: 3", "no `key = value`"),
        ("batch-size = 3", "with _ in the key"),
        ("learning = 3", "has no parameter --learning"),
        ("lr = 1\nlr = 2", "lr is given twice"),
        ("import os", "no `key = value`"),
        ("lr = __import__('os').getpid()", "neither a literal nor the name of a variable"),
        ("lr = (", "cannot be read"),
        ("a = b = 3", "no `key = value`"),
    ],
)
def test_a_wrong_cell_is_told_in_words(text, told):
    with pytest.raises(ParamError) as caught:
        body(text)
    assert told in str(caught.value)


# what is written

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
TRICKY = st.text(st.sampled_from("a '\"\\$\n{}[]#;=-!%?`\r\t\x00\x0b\u2028é😀"), max_size=12)
WORDS = (
    TEXT | TRICKY | st.sampled_from(["$text", "{n}", "--peft", "none", "true", "-1", '"a"', "[1]", '{"a": 1}', "'x'"])
)
NUMBER = st.floats(allow_nan=False)
FIELDS = {
    "trainer": st.sampled_from(["sft", "dpo"]),
    "data_path": WORDS,
    "model": WORDS,
    "valid_split": WORDS | st.none(),
    "lr": NUMBER,
    "max_steps": st.integers(),
    "eval_steps": st.integers() | st.none(),
    "peft": st.booleans(),
    "merge": st.booleans(),
    "packing": st.booleans() | st.none(),
    "mapping": st.dictionaries(WORDS, WORDS, max_size=3) | st.none(),
    "prompts": WORDS | st.lists(WORDS, max_size=3) | st.none(),
    "block": st.integers() | st.lists(st.integers(), max_size=2),
    "token": st.just("not-to-be-seen"),
}
PARAMS = st.fixed_dictionaries({}, optional=FIELDS).map(lambda values: Everything(**values))


def public(params):
    return params.record()


@given(PARAMS)
def test_a_line_reads_back_to_the_same_parameters(params):
    text = write_line(params)
    assert "not-to-be-seen" not in text
    assert len(text.splitlines()) <= 1
    again, _ = Everything.read(read_line(split(text, NAMES).tokens, Everything, NAMES, rows=lambda names: {}))
    assert public(again) == public(params)


@given(PARAMS)
def test_a_command_reads_back_to_the_same_parameters(params):
    again, _ = Everything.read(read_line(write_tokens(params), Everything))
    assert public(again) == public(params)


@given(PARAMS)
def test_a_cell_reads_back_to_the_same_parameters(params):
    text = write_body(params)
    assert "not-to-be-seen" not in text
    again, _ = Everything.read(read_body(text, Everything, NAMES))
    assert public(again) == public(params)


@pytest.mark.parametrize("start", ["%autotrain ", "run = %autotrain "])
@given(params=PARAMS)
def test_ipython_hands_a_written_line_to_the_magic_as_it_is(start, params):
    text = "llm " + write_line(params)
    cell = TransformerManager().transform_cell(f"x = 1\n{start}{text}\ny = 2\n")
    calls = [node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Call) and len(node.args) == 2]
    assert [call.args[1].value for call in calls] == [text.rstrip()]


def test_what_lives_in_the_notebook_only_is_not_written_as_words():
    for write in (write_line, write_body):
        with pytest.raises(ParamError, match="cannot be written as words"):
            write(Everything(data_path=object()))


def test_infinity_is_written_as_a_literal():
    assert read_body(write_body(Everything(lr=math.inf)), Everything) == {"lr": math.inf}
    assert json.loads(json.dumps(write_tokens(Everything(lr=math.inf)))) == ["--lr", "inf"]
