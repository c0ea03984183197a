"""What stands in a terminal, and in a file that output is sent to."""

import io
import re

import pytest

from nbtrain import events
from nbtrain.sinks import terminal
from nbtrain.sinks.terminal import Terminal

BEGIN = 1_795_000_000.0


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


def started(**more):
    return events.Started(time=BEGIN, room="llm", method="sft", name="a-run", total_steps=100, **more)


def logged(step):
    values = {"loss": 2.5, "learning_rate": 0.0002, "grad_norm": 1.0, "tokens_per_second": 4850.4}
    return events.Logged(time=BEGIN + step, step=step, values=values)


def test_a_line_of_progress_is_rewritten_in_place(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    screen = Screen()
    sink = Terminal(screen)
    sink(started())
    for step in (1, 2):
        clock[0] += 1
        sink(logged(step))
    assert (
        screen.getvalue().split("\r\x1b[K")
        == [
            "a-run: llm sft\n",
            "step 1 of 100 · loss 2.500 · learning rate 2.00e-4 · 4,850 tokens/s · 1 min 39 s left",
            "step 2 of 100 · loss 2.500 · learning rate 2.00e-4 · 4,850 tokens/s · 1 min 38 s left",
        ]
        or "…" in screen.getvalue()
    )
    sink(events.Evaluated(step=2, values={"loss": 2.25, "perplexity": 9.488}))
    assert screen.getvalue().endswith("\r\x1b[Kstep 2: evaluation: loss 2.250, perplexity 9.488\n")


def test_a_line_of_progress_never_wraps(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen()
    sink = Terminal(screen)
    sink(started())
    clock[0] += 1
    sink(logged(1))
    assert len(screen.getvalue().rpartition("\x1b[K")[2]) == 39


def test_in_a_file_there_is_a_line_each_ten_seconds_and_no_control_character(clock):
    file = io.StringIO()
    sink = Terminal(file)
    sink(started())
    for step in range(1, 26):
        clock[0] += 1
        sink(logged(step))
    lines = file.getvalue().splitlines()
    assert [line.split(" · ")[0] for line in lines[1:]] == ["step 1 of 100", "step 11 of 100", "step 21 of 100"]
    assert lines[2].endswith("4,850 tokens/s · 1 min 29 s left")
    assert "\x1b" not in file.getvalue() and "\r" not in file.getvalue()


def test_each_thing_that_happens_has_its_line():
    file = io.StringIO()
    sink = Terminal(file)
    sink(events.Warned(message="No model was named: the built-in one."))
    sink(started(facts={"device": "cpu", "rows": 1200}))
    sink(events.Sampled(step=0, label="base", samples=({"prompt": "Why?", "output": "the the"},)))
    sink(events.Sampled(step=20, samples=({"prompt": "Why?", "output": "Because."},)))
    sink(events.Changed(step=21, name="lr", old=0.1, new=0.05))
    sink(events.Saved(step=22, path="checkpoints/checkpoint-22"))
    sink(
        events.Resumed(
            time=BEGIN, step=20, checkpoint="checkpoints/checkpoint-20", differences=("torch is 2.13, was 2.12",)
        )
    )
    sink(events.Stopped(step=30, reason="asked to stop", checkpoint="checkpoints/checkpoint-30"))
    sink(events.Finished(step=100, seconds=200))
    assert file.getvalue().splitlines() == [
        "notice: No model was named: the built-in one.",
        "a-run: llm sft (device cpu, rows 1,200)",
        "step 0: sample before training: Why? → the the",
        "step 20: sample: Why? → Because.",
        "step 21: lr is 0.05000, was 0.1000",
        "step 20: resumed from checkpoints/checkpoint-20",
        "torch is 2.13, was 2.12",
        "stopped at step 30: asked to stop; checkpoint checkpoints/checkpoint-30",
        "finished after 3 min 20 s, step 100",
    ]


def test_a_failure_tells_what_where_why_and_what_to_do():
    file = io.StringIO()
    error = {
        "kind": "DataError",
        "what": "no column 'text'",
        "where": "train.csv",
        "why": "",
        "fix": "--text-column body",
    }
    Terminal(file)(events.Failed(step=0, error=error))
    assert (
        file.getvalue() == "failed at step 0: no column 'text'\n  where: train.csv\n  what to do: --text-column body\n"
    )


@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;x\x07", "a\nb\rc", "\u202eabc", "\x9b31m", "\u2028"])
def test_no_text_moves_the_cursor(text):
    file = io.StringIO()
    sink = Terminal(file)
    sink(events.Started(time=BEGIN, room=text, method=text, name=text, facts={text: text}))
    sink(events.Logged(step=1, values={text: 1.0}))
    sink(events.Evaluated(step=1, values={text: 1.0}))
    sink(events.Sampled(step=1, label=text, samples=({"prompt": text, "output": text},)))
    sink(events.Changed(step=1, name=text, old=text, new=text))
    sink(events.Warned(message=text))
    sink(events.Resumed(step=1, checkpoint=text, differences=(text,)))
    sink(events.Stopped(step=1, reason=text, checkpoint=text))
    sink(events.Failed(step=1, error=dict.fromkeys(("what", "where", "why", "fix"), text)))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e]", file.getvalue())
    assert file.getvalue().count("\n") == 13
