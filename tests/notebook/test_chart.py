"""The figure shows what the journal says."""

import math
import re

import pytest

from nbtrain.events import Changed
from nbtrain.notebook import draw
from nbtrain.notebook.shapes import thin, ticks
from nbtrain.runs.curve import BUCKETS, Curves
from nbtrain.runs.record import Record

BEGIN = 1_795_000_000.0


def curve(kind, html):
    """The strokes of one line of the figure in the journal's own numbers, read with the help of the axes' labels."""
    shape = re.search(rf'<path class="{kind}" d="([^"]*)"', html)[1]
    strokes = [
        [tuple(map(float, place.split(","))) for place in part.split()]
        for part in shape.split("M")
        if "," in part and "h" not in part
    ]
    labels = re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(end|middle)" fill="currentColor">([-\d.,]+)</text>', html
    )
    grid = max(float(y) for _, y, anchor, text in labels if anchor == "middle" and text != "best") - 10
    ys = [(float(y) - 4, float(text)) for _, y, anchor, text in labels if anchor == "end" and float(y) < grid]
    xs = [(float(x), float(text.replace(",", ""))) for x, _, anchor, text in labels if anchor == "middle"]
    return [[(value(x, xs), value(y, ys)) for x, y in stroke] for stroke in strokes]


def value(place, labels):
    (begin, low), (end, high) = labels[0], labels[-1]
    return low + (place - begin) * (high - low) / (end - begin)


def test_the_raw_line_is_the_journals_loss(stored):
    record = stored("finished")
    (drawn,) = curve("raw", draw.frame(record))
    logged = record.series["loss"]
    assert len(drawn) == len(logged) > 50
    spread = max(value for _, value in logged) - min(value for _, value in logged)
    for (x, y), (step, loss) in zip(drawn, logged, strict=True):
        assert x == pytest.approx(step, abs=record.step / 640)
        assert y == pytest.approx(loss, abs=spread / 150)


def test_the_validation_line_and_its_marks_are_the_journals_evaluations(stored):
    record = stored("finished")
    html = draw.frame(record)
    (drawn,) = curve("valid", html)
    rows = [(row["step"], row["loss"]) for row in record.evaluations]
    assert drawn[0] == pytest.approx(rows[0], abs=0.02) and drawn[-1] == pytest.approx(rows[-1], abs=0.02)
    marks = re.findall(r"<title>step (\d+): ([\d.]+)</title>", html)
    assert [(int(step), float(loss)) for step, loss in marks] == [
        (step, pytest.approx(loss, rel=1e-3)) for step, loss in rows
    ]


def test_the_smooth_line_is_the_weighted_mean_of_what_came_before(stored):
    record = stored("finished")
    logged = record.series["loss"]
    memory = 0.04 * (logged[-1][0] - logged[0][0])
    weights = [math.exp((step - logged[-1][0]) / memory) for step, _ in logged]
    mean = sum(weight * loss for weight, (_, loss) in zip(weights, logged, strict=True)) / sum(weights)
    (stroke,) = Curves().update(record).loss.smooth()
    assert stroke[-1] == (logged[-1][0], pytest.approx(mean))
    assert stroke[0] == logged[0]


def test_a_spike_among_a_hundred_thousand_points_is_still_drawn(a_run):
    record = Record.of(a_run(100_000, 10_000, lambda step: 50.0 if step == 12_345 else 2.0 + (step % 7) / 10))
    (drawn,) = curve("raw", draw.frame(record))
    assert len(drawn) <= 2 * BUCKETS
    peak = max(drawn, key=lambda point: point[1])
    assert peak[0] == pytest.approx(12_345, abs=300) and peak[1] == pytest.approx(50, abs=0.5)


def test_curves_that_grew_with_the_run_draw_the_same_as_new_ones(a_run):
    record, curves = Record(), Curves()
    for event in a_run(3000, 100, lambda step: math.sin(step) + 3):
        record.add(event)
        if event.step and event.step % 97 == 0:
            curves.update(record)
    assert draw.frame(record, now=BEGIN, curves=curves) == draw.frame(record, now=BEGIN)


def test_a_loss_that_is_no_number_is_a_gap(stored):
    record = stored("resumed")
    nan = [step for step, value in record.series["loss"] if math.isnan(value)]
    strokes = curve("raw", draw.frame(record))
    assert len(strokes) == 2
    assert strokes[0][-1][0] < nan[0] and strokes[1][0][0] > nan[-1]


def test_a_gap_stays_in_a_long_series(a_run):
    record = Record.of(a_run(5000, 1000, lambda step: math.nan if 100 <= step < 140 else 2.0))
    strokes = curve("raw", draw.frame(record))
    assert len(strokes) == 2
    assert strokes[0][-1][0] == pytest.approx(100, abs=40) and strokes[1][0][0] == pytest.approx(140, abs=40)


def test_what_was_trained_again_after_a_resume_stands_once(page_of, stored):
    record = stored("resumed")
    steps = [x for stroke in curve("raw", draw.frame(record)) for x, _ in stroke]
    assert steps == sorted(steps)
    assert "resumed from checkpoints/checkpoint-30" in page_of(draw.frame(record)).text


def test_curves_follow_a_run_that_goes_back_to_a_checkpoint(events_of):
    lines = events_of("resumed")
    record, curves = Record(), Curves()
    for event in lines:
        record.add(event)
        curves.update(record)
    assert draw.frame(record, now=BEGIN, curves=curves) == draw.frame(record, now=BEGIN)


def test_a_line_is_thinned_only_where_it_stays_within_a_third_of_a_pixel():
    places = [(float(x), 50 + 40 * math.sin(x / 30)) for x in range(300)]
    kept = thin(places)
    assert len(kept) < 60 and kept[0] == places[0] and kept[-1] == places[-1]
    for x, y in places:
        (x0, y0), (x1, y1) = next(pair for pair in zip(kept, kept[1:], strict=False) if pair[0][0] <= x <= pair[1][0])
        assert abs(y0 + (y1 - y0) * (x - x0) / (x1 - x0) - y) <= 0.3 + 1e-6


@pytest.mark.parametrize(("low", "high"), [(2.1, 3.4), (0, 1e-4), (-5, 20_000), (0.999, 1.001), (6e5, 7e5)])
def test_ticks_are_round_numbers_inside_the_range(low, high):
    found = ticks(low, high, 5)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
    pace = found[1] - found[0]
    assert f"{pace:.1e}"[:3] in ("1.0", "2.0", "5.0")


def test_a_change_by_hand_stands_in_the_curve_at_its_step(a_run):
    record = Record.of([*a_run(100), Changed(step=50, name="lr", old=1e-3, new=1e-5)])
    html = draw.frame(record)
    (x,) = re.findall(r'class="change"[^>]* d="M([\d.]+) ', html)
    assert float(x) == pytest.approx(54 + (696 - 54) * 50 / 100, abs=0.1)
    assert "from step 50 on: lr 1.00e-5, was 0.001000" in html and ">lr 1e-05</text>" in html
    record.add(Changed(step=60, name="state", old="running", new="paused"))
    assert draw.frame(record).count('class="change"') == 1 and "‖" in draw.frame(record)
