"""What is asked of a run while it trains: by a verb, a command or a method; refused in words where it is not done."""

import os

import pytest

from nbtrain import card, cli, export, fit, trainers, verbs
from nbtrain.errors import NbtrainError, ParamError, RunError
from nbtrain.events import Changed, Stopped
from nbtrain.run import Run
from nbtrain.runs import status
from nbtrain.runs.control import Control
from nbtrain.runs.journal import Journal


@pytest.fixture
def alive(workdir):
    """A run that this process seems to train."""

    def make(room="llm", **given):
        folder = fit.prepare(trainers.load(room).Params(project_name="mine", **given))
        status.begin(folder, os.getpid())
        status.write(folder, state="running")
        return Run(folder)

    return make


def test_each_verb_asks_the_run_and_says_what_will_happen(alive):
    run = alive()
    taker = Control(run.folder)
    for verb in ("save", "sample", "pause", "go", "stop"):
        assert verbs.answer(verb, verbs.Question(["mine"], "nbtrain")).startswith("mine ")
        assert taker.take() == {verb}


def test_set_is_understood_by_the_command_and_by_the_method(alive, capsys):
    run = alive()
    taker = Control(run.folder)
    assert cli.main(["set", "mine", "--lr", "1e-5"]) == 0
    assert "trains with lr 1e-5 from its next step on" in capsys.readouterr().out
    assert taker.take() == set() and taker.values == {"lr": 1e-5}
    run.set(lr=2e-5)
    run.set(lr=3e-5)
    taker.take()
    assert taker.values == {"lr": 3e-5}, "the last one counts"
    for ask in (run.save, run.sample, run.pause):
        ask()
    assert taker.take() == {"save", "sample", "pause"}


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["--lr", "-1"], "--lr should be greater than 0"),
        (["--lr", "fast"], "--lr should be a valid number"),
        (["--learning", "1"], "llm has no parameter --learning"),
        (["--batch-size", "4"], "--batch-size cannot be changed while a run trains"),
        ([], "set needs a value"),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_not_asked(alive, tokens, told):
    run = alive()
    with pytest.raises(ParamError) as caught:
        verbs.answer("set", verbs.Question(["mine", *tokens], "nbtrain"))
    assert told in str(caught.value)
    assert not run.folder.control.exists() or not list(run.folder.control.iterdir())


def test_a_run_that_has_ended_is_asked_nothing(alive):
    run = alive()
    status.write(run.folder, state="finished", pid=None)
    for ask in (run.sample, run.go, lambda: run.set(lr=1e-5)):
        with pytest.raises(RunError, match="it has ended: finished"):
            ask()
    assert "has ended already" in verbs.answer("stop", verbs.Question(["mine"], "nbtrain"))


def test_a_room_that_obeys_less_says_so(alive):
    run = alive("tabular")
    with pytest.raises(RunError, match="a run of tabular cannot be asked for it") as caught:
        run.sample()
    assert caught.value.fix == "it can be asked for stop"
    with pytest.raises(NbtrainError, match="lr"):
        run.set(lr=1e-5)


def test_a_change_stands_in_the_script_as_a_comment(alive):
    run = alive(lr=1e-3)
    with Journal(run.folder.events) as journal:
        journal.append(Changed(step=7, name="lr", old=1e-3, new=1e-4))
        journal.append(Changed(step=9, name="state", old="running", new="paused"))
        journal.append(Stopped(step=9, reason="asked to stop"))
    assert "From step 7 on lr was `0.0001`, by hand." in card.card(run.params, run.record, run.folder)
    script = export.script(run.params, run.folder)
    assert "    # changed by hand while it trained, and not here: from step 7 on lr was 0.0001, not 0.001\n" in script
    assert "paused" not in script and "lr=0.001," in script
    compile(script, "train.py", "exec")


def test_a_panel_is_for_notebooks(capsys):
    assert cli.main(["panel", "llm"]) == cli.WRONG_WORDS
    assert "a panel needs a notebook" in capsys.readouterr().err
