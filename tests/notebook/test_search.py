"""A sweep in the cell: the best so far, every trial across its parameters, what matters, and the table of them."""

import re

import pytest

from nbtrain import events
from nbtrain.notebook import draw, search, trials
from nbtrain.runs.record import Record

BEGIN = 1_795_000_000.0


def told(count=12, *, goal="minimize loss", metric="loss", running=1, failed=1, pruned=1, given=None):
    """The events of a sweep that was never made: trial n comes to 3 - n / 10, then the others."""
    yield events.Started(
        time=BEGIN, room="llm", method="sft", name="a-sweep", total_steps=20, metric=metric, facts={"goal": goal}
    )
    best = []
    for number in range(count):
        tried = given(number) if given else {"lr": 10.0 ** (-5 + number / 4), "peft": bool(number % 2), "batch_size": 4}
        value, step = 3 - number / 10, number + 1
        best.append(value)
        moment = BEGIN + 10 * step
        yield events.Tried(trial=number, state="running", given=tried, time=moment)
        yield events.Evaluated(step=step, values={metric: value, "trial": number}, time=moment)
        yield events.Tried(
            step=step, trial=number, state="complete", given=tried, value=value, seconds=9.0, time=moment
        )
        reached = min(best) if goal.startswith("min") else max(best)
        shares = {"importance lr": 0.7, "importance peft": 0.3}
        yield events.Logged(step=step, time=moment, values={"best": reached, **shares})
    for state, number in (("running", running), ("failed", failed), ("pruned", pruned)):
        for _ in range(number):
            count += 1
            cause = "" if state == "running" else "out of <memory>"
            yield events.Tried(trial=count, state=state, given={"lr": 0.1}, cause=cause, time=BEGIN + 200)


def record(*arguments, **how):
    return Record.of(told(*arguments, **how))


def test_a_frame_has_the_three_drawings_and_a_table_of_the_trials(page_of):
    made = record()
    page = page_of(draw.frame(made, now=BEGIN + 200))
    assert [tag for tag in page.tags if tag[0] == "svg"] and page.text.count("trial 11, the best") == 1
    html = str(draw.frame(made, now=BEGIN + 200))
    assert html.count('class="mark"') == 12 and html.count('class="trial"') == 12 and html.count('class="share"') == 2
    head, *rows = page.tables[-1]
    assert head == ["trial", "state", "loss", "lr", "peft", "batch_size", "time", ""]
    assert rows[0] == ["11", "complete", "1.900", "0.005623", "on", "4", "9.0 s", "best"]
    assert [row[1] for row in rows[-3:]] == ["running", "failed", "pruned"]
    assert rows[-2][-1] == "out of <memory>"


def test_the_figures_to_see_first_count_the_trials(page_of):
    names, values = page_of(draw.frame(record(), now=BEGIN + 200)).tables[0]
    assert dict(zip(names, values, strict=True)) == {
        "trials": "14 of 20", "best loss": "1.900 in trial 11", "running": "1", "pruned": "1", "failed": "1",
        "time": "3 min 20 s", "left": "about 1 min 26 s",
    }  # fmt: skip


def test_the_line_of_the_best_goes_down_in_steps_and_the_marks_stand_at_their_values():
    html = str(search.drawn(record(3, running=0, failed=0, pruned=0), ""))
    path = re.search(r'class="best" d="([^"]+)"', html)[1]
    assert path.count("H") == 3 and path.count("V") == 2
    heights = [float(y) for y in re.findall(r'class="mark" cx="[^"]+" cy="([^"]+)"', html)]
    assert heights == sorted(heights)  # y grows downward: each value is lower than the one before
    drops = [float(y) for y in re.findall(r"V([\d.]+)", path)]
    assert drops == pytest.approx(heights[1:], abs=0.1)


def test_an_axis_of_sizes_is_logarithmic_and_one_of_words_has_a_place_a_word():
    sizes = search._axis("lr", {0: 1e-5, 1: 1e-4, 2: 1e-3})
    assert sizes.places == pytest.approx({0: 0, 1: 0.5, 2: 1}) and (sizes.low, sizes.high) == ("1.00e-5", "0.001000")
    assert search._axis("share", {0: 0.0, 1: 0.5, 2: 2.0}).places == pytest.approx({0: 0, 1: 0.25, 2: 1})
    words = search._axis("kind", {0: "linear", 1: "cosine", 2: None})
    assert words.places == {1: 0.0, 0: 0.5, 2: 1.0} and (words.low, words.high) == ("cosine", "none")
    assert search._axis("size", {0: 4, 1: 4}).places == {0: 0.0, 1: 0.0}


def test_where_more_is_better_the_highest_is_the_best():
    made = record(6, goal="maximize accuracy", metric="accuracy")
    assert trials.best(made).trial == 0
    assert [row[0] for row in trials.table(made)[1]][:2] == ["0", "1"]


def test_it_says_in_one_sentence_what_came_of_it():
    assert trials.sentence(record(3, running=0, failed=0, pruned=0)) == (
        "3 of 20 trials ended; the best loss is 2.800, in trial 2: lr 3.16e-5, peft off, batch_size 4."
    )
    assert trials.sentence(record(0)) == "2 of 20 trials ended; none has a value yet."


def test_before_the_first_value_there_is_a_table_and_no_drawing(page_of):
    html = str(draw.frame(record(0), now=BEGIN + 200))
    assert "<svg" not in html and "running" in page_of(html).text


def test_a_large_sweep_stays_a_small_frame():
    many = record(3000, given=lambda number: {f"a parameter {n}": number * 1.2345 for n in range(30)})
    assert len(str(draw.frame(many, now=BEGIN + 9e4)).encode()) <= 30_000


def test_names_values_and_causes_are_only_text(page_of):
    evil = '<img src=x onerror="alert(1)"> $x$ \u202e'
    made = record(3, given=lambda number: {evil: f"{evil}{number}"})
    page = page_of(draw.frame(made, now=BEGIN + 200))
    assert not [tag for tag in page.tags if tag[0] in ("img", "script")] and "\u202e" not in page.text


def test_the_last_frame_has_a_picture_and_the_table_as_text():
    bundle = draw.bundle(record(), final=True)
    assert bundle.keys() == {"text/html", "text/plain", "image/png"}
    assert "best loss 1.900 in trial 11" in bundle["text/plain"] and "out of <memory>" in bundle["text/plain"]
