"""The parameters of a room as text."""

from typing import Literal

import pytest

from nbtrain import trainers
from nbtrain.errors import ParamError
from nbtrain.params import Params, option
from nbtrain.params.help import WIDTH, explain, help_text, ordered


class Small(Params):
    room = "small"
    trainer: Literal["sft", "dpo"] = option("sft", "how it is trained", group="Basic", essential=True)
    lr: float = option(3e-5, "learning rate", group="Training", unit="per step", gt=0)
    peft: bool = option(False, "an adapter", group="Training")
    beta: float = option(0.1, "how far it may go", group="Training", ge=0, le=1, only=("dpo",))
    rows: int | None = option(None, "so many rows", group="Data", unit="rows", ge=1)
    token: str | None = option(None, "hub token", group="Hub", secret=True, aliases=("hub_token",))


def entry(text, flag):
    return next(line for line in text.splitlines() if line.split()[:1] == [flag])


def test_each_parameter_of_a_room_stands_once_and_no_line_is_too_long():
    params_class = trainers.load("llm").Params
    lines = help_text(params_class).splitlines()
    assert max(map(len, lines)) <= WIDTH
    flags = [line.split()[0].replace("[no-]", "") for line in lines if line.startswith("  --")]
    assert sorted(flags) == sorted(item.flag for item in params_class.options().values() if not item.refused)


def test_the_essential_ones_go_first_and_each_says_its_values_and_default():
    text = help_text(Small)
    assert text.index("Essential") < text.index("--trainer") < text.index("Training") < text.index("--lr")
    assert entry(text, "--trainer") == "  --trainer sft|dpo                 how it is trained [default: sft]"
    assert entry(text, "--lr") == "  --lr NUMBER                       learning rate [default: 3e-05]"
    assert entry(text, "--[no-]peft") == "  --[no-]peft                       an adapter [default: off]"
    assert entry(text, "--rows") == "  --rows ROWS                       so many rows"
    assert "[only dpo]" in entry(text, "--beta")


def test_the_help_of_a_method_has_only_what_it_reads():
    assert "--beta" in help_text(Small, "dpo")
    assert "only dpo" not in help_text(Small, "dpo")
    assert "--beta" not in help_text(Small, "sft")
    with pytest.raises(ParamError, match=r"no method 'dop'\. Did you mean dpo\?"):
        help_text(Small, "dop")


def test_a_parameter_is_explained_with_its_range_and_who_reads_it():
    assert explain(Small, "--beta").splitlines() == [
        "--beta   (in a cell: beta = ...)",
        "  how far it may go",
        "  value:   a number, at least 0 and at most 1",
        "  default: 0.1",
        "  read by: --trainer dpo",
        "  group:   Training",
    ]
    assert "value:   a whole number (rows), at least 1; none (--no-rows)" in explain(Small, "rows")
    assert "also:    --hub-token" in explain(Small, "token")
    assert "never: it is a secret" in explain(Small, "token")
    with pytest.raises(ParamError, match="Did you mean --beta"):
        explain(Small, "bta")


def test_blocks_keep_the_order_in_which_the_class_names_them():
    class First(Params):
        a: int = option(1, "a", group="A", ge=0)
        b: int = option(1, "b", group="A", ge=0)

    class Both(Small, First):
        z: int = option(1, "z", group="Z", ge=0)

    assert [item.name for item in ordered(Both)] == ["z", "trainer", "lr", "peft", "beta", "rows", "token", "a", "b"]
