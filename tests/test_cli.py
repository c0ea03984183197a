"""The command: its words, its exit codes, what it prints where."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from nbtrain import cli, events
from nbtrain.errors import DataError
from nbtrain.runs import folder, status

SECRET = "hf_" + "a1b2c3d4e5" * 3


@pytest.fixture(autouse=True)
def place(workdir):
    return workdir


@pytest.fixture
def train(monkeypatch):
    """Stands in for the training of `llm`; everything around it is real."""

    def plant(body=None):
        def fake(params, run):
            run.emit(events.Started(step=0, room="llm", method=params.trainer, name=run.folder.name, total_steps=3))
            for step in (1, 2, 3):
                run.emit(events.Logged(step=step, values={"loss": 3.0 - step}))
                if body:
                    body(params, run)
                if "stop" in run.requests():
                    break
            run.folder.model.mkdir()
            return {"loss": 0.5}

        monkeypatch.setattr("nbtrain.trainers.llm.train", fake)

    plant()
    return plant


def state(name="llm-sft-1"):
    return status.read(folder.find(name)).state


def test_a_run_that_finishes_ends_with_zero(train, capsys):
    assert cli.main(["llm", "--trainer", "sft", "--lr", "1e-3"]) == 0
    assert state() == "finished"
    assert json.loads(folder.find("llm-sft-1").params.read_text())["params"]["lr"] == 1e-3
    out, err = capsys.readouterr()
    assert out == ""
    assert "finished" in err


def test_a_run_that_fails_ends_with_one_and_its_reason(train, capsys):
    def fail(params, run):
        raise DataError("no column 'text'", fix="name one")

    train(fail)
    assert cli.main(["llm", "--trainer", "sft"]) == 1
    assert state() == "failed"
    err = capsys.readouterr().err
    assert "no column 'text'" in err and "name one" in err
    assert "Traceback" not in err


def test_an_interrupt_stops_after_the_step_and_ends_with_three(train, capsys):
    train(lambda params, run: os.kill(os.getpid(), signal.SIGINT))
    assert cli.main(["llm", "--trainer", "sft"]) == 3
    assert state() == "stopped"
    assert "Stopping after this step" in capsys.readouterr().err
    steps = [line for line in folder.find("llm-sft-1").events.read_text().splitlines() if '"logged"' in line]
    assert len(steps) == 1


def test_two_interrupts_end_it_at_once_with_130(train):
    def twice(params, run):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    train(twice)
    # a shell starts what runs in its background with this signal ignored; the command is to leave it as it was
    before = signal.getsignal(signal.SIGINT)
    assert cli.main(["llm", "--trainer", "sft"]) == 130
    assert state() == "stopped"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["llm", "--modle", "x"], "Did you mean --model"),
        (["llmm"], "Did you mean llm"),
        (["llm", "--lr", "fast"], "--lr"),
        (["llm", "--trainer", "stf"], "Did you mean sft"),
        (["llm", "--df", "frame"], "there is no notebook here"),
        (["show"], "show needs a run"),
        (["llm", "--preview-trainer", "stf"], "no method 'stf'"),
    ],
)
def test_wrong_words_end_with_two_and_make_no_run(arguments, told, capsys):
    assert cli.main(arguments) == 2
    assert told in capsys.readouterr().err
    assert folder.all_runs() == []


def test_a_run_that_is_not_there_ends_with_one(capsys):
    assert cli.main(["show", "nothing"]) == 1
    assert "There is no run 'nothing'" in capsys.readouterr().err


def test_needless_words_and_parameters_of_another_method_are_told(train, capsys):
    assert cli.main(["llm", "--train", "--advanced", "--trainer", "default", "--response-only-loss"]) == 0
    assert cli.main(["llm", "--trainer", "default", "--no-response-only-loss"]) == 0
    err = capsys.readouterr().err
    assert "Warning: --advanced is needless" in err
    assert "Warning: response_only_loss only applies to SFT trainer, will be ignored" in err
    assert "response_only_loss only applies to SFT trainer" in folder.find("llm-default-2").events.read_text()


def test_a_token_of_the_command_is_in_no_file_and_no_output(train, capsys, place):
    seen = []
    train(lambda params, run: seen.append(params.token))
    assert cli.main(["llm", "--trainer", "sft", "--token", SECRET]) == 0
    assert seen[0] == SECRET
    assert SECRET not in "".join(capsys.readouterr())
    assert not [path for path in place.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_config_is_trained_and_words_behind_it_go_first(train, place):
    text = "task: llm-sft\nbase_model: tiny\nparams:\n  lr: 0.5\n  epochs: 7\ndata:\n  path: demo\n"
    (place / "run.yaml").write_text(text)
    assert cli.main(["--config", "run.yaml", "--lr", "0.25"]) == 0
    asked = json.loads(folder.find("llm-sft-1").params.read_text())["params"]
    assert (asked["trainer"], asked["lr"], asked["epochs"]) == ("sft", 0.25, 7)


def test_the_verbs_tell_of_a_run(train, capsys):
    cli.main(["llm", "--trainer", "sft", "--lr", "0.5"])
    capsys.readouterr()
    assert cli.main(["runs"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["llm-sft-1", "finished", "3/3"]
    assert cli.main(["show", "llm-sft-1"]) == 0
    assert capsys.readouterr().out.startswith("llm-sft-1: finished, step 3 of 3\nloss 0")
    assert cli.main(["attach", "1"]) == 0
    assert "finished" in capsys.readouterr().err
    assert cli.main(["stop", "1"]) == 0
    assert "has ended already: finished" in capsys.readouterr().out
    assert cli.main(["why"]) == 0
    assert "has failed" in capsys.readouterr().out
    assert cli.main(["export", "1", "--to", "command"]) == 0
    assert capsys.readouterr().out == "nbtrain llm --trainer sft --lr 0.5\n"


def test_export_writes_a_file_and_overwrites_none(train, capsys, place):
    cli.main(["llm", "--trainer", "sft"])
    assert cli.main(["export", "1", "again.py"]) == 0
    assert "LLMTrainingParams" in (place / "again.py").read_text()
    assert cli.main(["export", "1", "again.py"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["export", "1", "--to", "pdf"]) == 2


def test_why_tells_the_error_and_the_end_of_the_log(train, capsys):
    def fail(params, run):
        raise RuntimeError("the third wheel")

    train(fail)
    cli.main(["llm", "--trainer", "sft"])
    capsys.readouterr()
    assert cli.main(["why"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("llm-sft-1 failed at step 1\nRuntimeError: the third wheel")
    assert "Traceback" in out


def test_a_stopped_run_is_resumed(train, capsys):
    train(lambda params, run: os.kill(os.getpid(), signal.SIGINT))
    assert cli.main(["llm", "--trainer", "sft"]) == 3
    folder.find("1").model.rmdir()
    train()
    assert cli.main(["resume", "1"]) == 0
    assert state() == "finished"


def test_check_judges_the_rows_and_trains_nothing(capsys, place):
    (place / "rows.csv").write_text("prompt,response\nHello,Hi\nBye,\nOne,Two\n" + "a,b\n" * 9)
    assert cli.main(["check", "llm", "--data-path", "rows.csv"]) == 0
    out = capsys.readouterr().out
    assert "Rows: train" in out
    assert folder.all_runs() == []


def test_runs_stand_beside_each_other(train, capsys):
    for name, rate in (("one", "0.5"), ("two", "0.25")):
        cli.main(["llm", "--trainer", "sft", "--project-name", name, "--lr", rate])
    capsys.readouterr()
    assert cli.main(["compare", "one", "two"]) == 0
    assert "lr  0.5  0.25" in capsys.readouterr().out
    assert cli.main(["compare", "one"]) == 2
    assert cli.main(["chat", "one"]) == 2
    assert "chat needs a question" in capsys.readouterr().err


def test_a_room_without_steps_has_no_plan_and_no_rates(capsys):
    for verb in ("plan", "lr-find"):
        assert cli.main([verb, "tabular"]) == 1
        assert "--time-limit" in capsys.readouterr().err
    assert cli.main(["lr-find", "llm", "--steps", "few"]) == 2
    assert cli.main(["plan"]) == 2


def test_hidden_characters_are_shown_and_not_sent_to_the_terminal(capsys):
    assert cli.main(["llm", "--trainer", "\x1b[31mred\u202e"]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err and "\u202e" not in err
    assert "red" in err


def test_help_and_version_load_nothing_heavy():
    heavy = "{'torch', 'transformers', 'datasets', 'pandas', 'pyarrow', 'numpy', 'matplotlib', 'IPython'}"
    for arguments in (["--help"], ["--version"], ["llm", "--help"], ["help", "runs"]):
        code = f"import sys; from nbtrain.cli import main; main({arguments}); print({heavy} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "set()"


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m nbtrain llm --help | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)


def test_the_help_of_a_room_is_asked_in_each_way(capsys):
    for arguments in (["llm", "--help"], ["llm", "-h"], ["help", "llm"], ["llm", "--lr", "--help"]):
        assert cli.main(arguments) == 0
        assert "--batch-size ROWS" in capsys.readouterr().out
    assert cli.main(["llm", "--preview-trainer", "default", "--help"]) == 0
    assert "--response-only-loss" not in capsys.readouterr().out
    assert cli.main([]) == 0
    assert "export ID" in capsys.readouterr().out
    assert cli.main(["runs", "--help"]) == 0
    assert "newest last" in capsys.readouterr().out
