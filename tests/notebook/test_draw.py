"""What a frame says: its words, the numbers in its tables, its size."""

import json
import math
import re

import pytest

from nbtrain import events
from nbtrain.notebook import draw
from nbtrain.runs.record import Record
from nbtrain.runs.status import Status

BEGIN = 1_795_000_000.0


def start(text):
    """The first letters of a sample, without the white space that the view leaves out and the signs it writes out."""
    return "".join(text.split("\\")[0].split())[:12]


def test_without_style_and_figure_every_number_still_stands_in_a_table(page_of, stored):
    record = stored("finished")
    bare = re.sub(r"<(svg|style|script)\b.*?</\1>", "", draw.frame(record), flags=re.DOTALL)
    page = page_of(bare)
    assert "svg" not in bare
    head, *rows = page.tables[1]
    assert head[:3] == ["step", "training loss", "validation loss"]
    assert [(int(row[0]), float(row[2])) for row in rows] == [
        (each["step"], pytest.approx(each["loss"], rel=1e-3)) for each in record.evaluations
    ]
    tiles = dict(zip(*page.tables[0], strict=True))
    assert tiles["step"] == f"{record.step} of {record.total_steps}"
    assert tiles["validation loss"].startswith(f"{record.evaluations[-1]['loss']:.4g}")


def test_the_best_evaluation_says_so_and_stays_when_it_is_long_ago(page_of, a_run):
    record = Record.of(a_run(200, 10))
    record.evaluations[2]["loss"] = 0.5
    _, *rows = page_of(draw.frame(record)).tables[1]
    assert len(rows) == 9
    assert rows[0][0] == "30" and rows[0][-1] == "best"
    assert [row[-1] for row in rows].count("best") == 1


def test_the_figure_says_in_a_sentence_what_the_curve_did(a_run):
    html = draw.frame(Record.of(a_run(120, 40, lambda step: 3.0 - step / 120)))
    assert 'role="img"' in html and "<title>loss over steps</title>" in html
    sentence = re.search(r"<desc>(.*?)</desc>", html)[1]
    assert (
        sentence
        == "Training loss fell from 2.992 to 2.036 over 120 steps; validation loss 2.250 at step 120, the best."
    )


def test_a_running_view_tells_how_long_it_will_take(page_of, a_run):
    record = Record.of(event for event in a_run(120, 40) if (event.step or 0) <= 70)
    tiles = dict(zip(*page_of(draw.frame(record, now=BEGIN + 72)).tables[0], strict=True))
    assert tiles["step"] == "70 of 120" and tiles["time"] == "1 min 12 s"
    assert tiles["left"] == "about 48 s" and tiles["speed"] == "4,800 tokens/s"


def test_samples_stand_beside_what_the_model_wrote_before(page_of, stored):
    record = stored("finished")
    tables = [table for table in page_of(draw.frame(record)).tables if table[0][0] == "prompt"]
    base, newest = record.samples[0], record.samples[-1]
    assert base.label == "base"
    for table, before, now in zip(tables, base.samples, newest.samples, strict=True):
        rows = dict(table)
        assert start(rows["before"]) == start(before["output"]) != ""
        assert start(rows["now"]) == start(now["output"]) != ""


def test_a_failed_run_tells_what_where_why_and_what_to_do(page_of, a_run):
    error = {
        "kind": "TrainingError",
        "what": "the loss is no number",
        "where": "step 3",
        "why": "too fast",
        "fix": "lower --lr",
    }
    page = page_of(draw.frame(Record.of([*a_run(20), events.Failed(time=BEGIN + 30, step=3, error=error)])))
    assert page.tables[0] == [
        ["what", "the loss is no number"],
        ["where", "step 3"],
        ["why", "too fast"],
        ["what to do", "lower --lr"],
    ]
    assert "failed" in page.text and "finished" not in page.text


def test_a_run_whose_process_died_is_failed_although_its_journal_does_not_know(page_of, a_run):
    record = Record.of(a_run(20))
    page = page_of(draw.frame(record, Status(state="failed", cause="killed by SIGKILL", since=BEGIN)))
    assert ["why", "killed by SIGKILL"] in page.tables[0] and "running" not in page.text


def test_a_run_taken_up_again_is_no_longer_stopped(page_of, a_run):
    record = Record.of(
        [
            *a_run(20),
            events.Stopped(time=BEGIN + 21, step=20, reason="asked to stop", checkpoint="checkpoints/checkpoint-20"),
        ]
    )
    assert "checkpoints/checkpoint-20" in page_of(draw.frame(record)).text
    page = page_of(draw.frame(record, Status(state="starting", stage="resuming", since=BEGIN + 99)))
    assert "starting" in page.text and "resuming" in page.text and "stopped" not in page.text


def test_nothing_has_happened_yet(page_of):
    page = page_of(draw.frame(Record(), Status(stage="loading the model"), name="a-run"))
    assert page.tables == [] and "loading the model" in page.text and "a-run" in page.text
    assert draw.text(Record(), Status(stage="loading the model")).startswith("starting · loading the model")
    assert draw.picture(Record()) is None


def test_one_point_is_drawn_as_a_dash(page_of, a_run):
    html = draw.frame(Record.of(list(a_run(5))[:2]))
    assert re.search(r'class="raw" d="M[\d.]+,[\d.]+h4"', html)
    assert [["loss", "2.975", "2.975"]] == [row for row in page_of(html).tables[-1] if row[0] == "loss"]


# the size


def test_a_frame_is_as_large_at_a_hundred_thousand_events_as_at_a_hundred(a_run):
    small = len(draw.frame(Record.of(a_run(100, 10, lambda step: 2 + (step * 7919 % 13) / 10)), now=BEGIN).encode())
    large = len(
        draw.frame(Record.of(a_run(100_000, 1000, lambda step: 2 + (step * 7919 % 13) / 10)), now=BEGIN).encode()
    )
    assert large <= 30_000 and large / small <= 1.1


@pytest.mark.parametrize("letter", ["<", '"', "\x1b", "字", "\u202e", "a"])
def test_no_text_however_long_makes_a_frame_large(letter, a_run):
    long = letter * 5000
    rows = list(a_run(300, 10, lambda step: math.nan if step % 2 else 2.0 + step / 100))
    rows[0] = events.Started(
        time=BEGIN, room=long, method=long, name=long, facts={f"{long}{n}": long for n in range(50)}
    )
    sampled = tuple({"prompt": long, "output": long, "expected": long} for _ in range(20))
    rows.insert(1, events.Sampled(time=BEGIN, step=0, samples=sampled, label="base"))
    rows += [events.Sampled(time=BEGIN + 300, step=300, samples=sampled) for _ in range(9)]
    rows += [events.Warned(time=BEGIN + n, message=f"{n}{long}") for n in range(50)]
    many = {f"{n}{long}": 1.0 for n in range(50)}
    rows += [events.Evaluated(time=BEGIN + 300, step=300 + n, values={"loss": 1.0, **many}) for n in range(9)]
    rows += [events.Logged(time=BEGIN + 301, step=301, values={f"memory {name}": 1.0 for name in many})]
    rows += [events.Failed(time=BEGIN + 400, error=dict.fromkeys(("kind", "what", "where", "why", "fix"), long))]
    bundle = draw.bundle(Record.of(rows), final=True)
    assert len(bundle["text/html"].encode()) <= 30_000
    assert len(json.dumps(bundle, ensure_ascii=False).encode()) <= 60_000


def test_the_last_bundle_of_a_run_is_small_and_has_all_three_forms(stored):
    bundle = draw.bundle(stored("finished"), final=True)
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert len(json.dumps(bundle)) <= 60_000
    assert set(draw.bundle(stored("finished"))) == {"text/html", "text/plain"}
