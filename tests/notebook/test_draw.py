"""What is drawn is what the journal says: the figure's data, its numbers, its size, and text that stays text."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nbtrain import events
from nbtrain.notebook import draw
from nbtrain.notebook.chart import thin, ticks
from nbtrain.notebook.curve import BUCKETS, Curves
from nbtrain.notebook.theme import _DARK, _LIGHT
from nbtrain.runs.journal import story
from nbtrain.runs.record import Record
from nbtrain.runs.status import Status

JOURNALS = Path(__file__).parent / "journals"
BEGIN = 1_795_000_000.0


class Page(HTMLParser):
    """The tags of a page with their attributes' names, its text, and what stands in each table."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.tables, self._path = [], "", [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, *sorted(name for name, _ in attributes)))
        self._path.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self._path.pop() == tag, "tags are closed in order"

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self._path.pop()

    def handle_data(self, data):
        if "style" not in self._path:
            self.text += data + "\n"
        if {"td", "th"} & set(self._path):
            self.tables[-1][-1][-1] += data

    def handle_comment(self, data):
        raise AssertionError("a frame has no comments")

    handle_decl = handle_pi = unknown_decl = handle_comment


def stored(name):
    return Record.of(story(JOURNALS / f"{name}.jsonl"))


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


def start(text):
    """The first letters of a sample, without the white space that the view leaves out and the signs it writes out."""
    return "".join(text.split("\\")[0].split())[:12]


def a_run(steps, every=10, values=lambda step: 2 + math.exp(-step / 40)):
    yield events.Started(time=BEGIN, room="llm", method="sft", name="a-run", total_steps=steps, facts={"device": "cpu"})
    for step in range(1, steps + 1):
        time = BEGIN + step
        logged = {"loss": values(step), "learning_rate": 1e-3 * (1 - step / steps), "tokens_per_second": 4800.0}
        yield events.Logged(time=time, step=step, epoch=step / 50, values=logged)
        if step % every == 0:
            yield events.Evaluated(time=time, step=step, values={"loss": 2.2 + math.exp(-step / 40), "perplexity": 9.0})
            sample = {"prompt": "Name a colour.", "output": "Red.", "expected": "Blue."}
            yield events.Sampled(time=time, step=step, samples=(sample, sample))


# the figure's data


def test_the_raw_line_is_the_journals_loss():
    record = stored("finished")
    (drawn,) = curve("raw", draw.frame(record))
    logged = record.series["loss"]
    assert len(drawn) == len(logged) > 50
    spread = max(value for _, value in logged) - min(value for _, value in logged)
    for (x, y), (step, loss) in zip(drawn, logged, strict=True):
        assert x == pytest.approx(step, abs=record.step / 640)
        assert y == pytest.approx(loss, abs=spread / 150)


def test_the_validation_line_and_its_marks_are_the_journals_evaluations():
    record = stored("finished")
    html = draw.frame(record)
    (drawn,) = curve("valid", html)
    rows = [(row["step"], row["loss"]) for row in record.evaluations]
    assert drawn[0] == pytest.approx(rows[0], abs=0.02) and drawn[-1] == pytest.approx(rows[-1], abs=0.02)
    marks = re.findall(r"<title>step (\d+): ([\d.]+)</title>", html)
    assert [(int(step), float(loss)) for step, loss in marks] == [
        (step, pytest.approx(loss, rel=1e-3)) for step, loss in rows
    ]


def test_the_smooth_line_is_the_weighted_mean_of_what_came_before():
    record = stored("finished")
    logged = record.series["loss"]
    memory = 0.04 * (logged[-1][0] - logged[0][0])
    weights = [math.exp((step - logged[-1][0]) / memory) for step, _ in logged]
    mean = sum(weight * loss for weight, (_, loss) in zip(weights, logged, strict=True)) / sum(weights)
    (stroke,) = Curves().update(record).loss.smooth()
    assert stroke[-1] == (logged[-1][0], pytest.approx(mean))
    assert stroke[0] == logged[0]


def test_a_spike_among_a_hundred_thousand_points_is_still_drawn():
    record = Record.of(a_run(100_000, 10_000, lambda step: 50.0 if step == 51_234 else 2.0 + (step % 7) / 10))
    (drawn,) = curve("raw", draw.frame(record))
    assert len(drawn) <= 2 * BUCKETS
    peak = max(drawn, key=lambda point: point[1])
    assert peak[0] == pytest.approx(51_234, abs=200) and peak[1] == pytest.approx(50, abs=0.5)


def test_curves_that_grew_with_the_run_draw_the_same_as_new_ones():
    record, curves = Record(), Curves()
    for event in a_run(3000, 100, lambda step: math.sin(step) + 3):
        record.add(event)
        if event.step and event.step % 97 == 0:
            curves.update(record)
    assert draw.frame(record, now=BEGIN, curves=curves) == draw.frame(record, now=BEGIN)


def test_a_loss_that_is_no_number_is_a_gap():
    record = stored("resumed")
    nan = [step for step, value in record.series["loss"] if math.isnan(value)]
    strokes = curve("raw", draw.frame(record))
    assert len(strokes) == 2
    assert strokes[0][-1][0] < nan[0] and strokes[1][0][0] > nan[-1]


def test_what_was_trained_again_after_a_resume_stands_once():
    record = stored("resumed")
    steps = [x for stroke in curve("raw", draw.frame(record)) for x, _ in stroke]
    assert steps == sorted(steps)
    assert "resumed from checkpoints/checkpoint-30" in Page(draw.frame(record)).text


def test_curves_follow_a_run_that_goes_back_to_a_checkpoint():
    lines = story(JOURNALS / "resumed.jsonl")
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


# the words and the tables


def test_without_style_and_figure_every_number_still_stands_in_a_table():
    record = stored("finished")
    bare = re.sub(r"<(svg|style|script)\b.*?</\1>", "", draw.frame(record), flags=re.DOTALL)
    page = Page(bare)
    assert "svg" not in bare
    head, *rows = page.tables[1]
    assert head[:3] == ["step", "training loss", "validation loss"]
    assert [(int(row[0]), float(row[2])) for row in rows] == [
        (each["step"], pytest.approx(each["loss"], rel=1e-3)) for each in record.evaluations
    ]
    tiles = dict(zip(*page.tables[0], strict=True))
    assert tiles["step"] == f"{record.step} of {record.total_steps}"
    assert tiles["validation loss"].startswith(f"{record.evaluations[-1]['loss']:.4g}")


def test_the_best_evaluation_says_so_and_stays_when_it_is_long_ago():
    record = Record.of(a_run(200, 10))
    record.evaluations[2]["loss"] = 0.5
    _, *rows = Page(draw.frame(record)).tables[1]
    assert len(rows) == 9
    assert rows[0][0] == "30" and rows[0][-1] == "best"
    assert [row[-1] for row in rows].count("best") == 1


def test_the_figure_says_in_a_sentence_what_the_curve_did():
    html = draw.frame(Record.of(a_run(120, 40, lambda step: 3.0 - step / 120)))
    assert 'role="img"' in html and "<title>loss over steps</title>" in html
    sentence = re.search(r"<desc>(.*?)</desc>", html)[1]
    assert (
        sentence
        == "Training loss fell from 2.992 to 2.036 over 120 steps; validation loss 2.250 at step 120, the best."
    )


def test_a_running_view_tells_how_long_it_will_take():
    record = Record.of(event for event in a_run(120, 40) if (event.step or 0) <= 70)
    tiles = dict(zip(*Page(draw.frame(record, now=BEGIN + 72)).tables[0], strict=True))
    assert tiles["step"] == "70 of 120" and tiles["time"] == "1 min 12 s"
    assert tiles["left"] == "about 48 s" and tiles["speed"] == "4,800 tokens/s"


def test_samples_stand_beside_what_the_model_wrote_before():
    record = stored("finished")
    tables = [table for table in Page(draw.frame(record)).tables if table[0][0] == "prompt"]
    base, newest = record.samples[0], record.samples[-1]
    assert base.label == "base"
    for table, before, now in zip(tables, base.samples, newest.samples, strict=True):
        rows = dict(table)
        assert start(rows["before"]) == start(before["output"]) != ""
        assert start(rows["now"]) == start(now["output"]) != ""


def test_a_failed_run_tells_what_where_why_and_what_to_do():
    error = {
        "kind": "TrainingError",
        "what": "the loss is no number",
        "where": "step 3",
        "why": "too fast",
        "fix": "lower --lr",
    }
    page = Page(draw.frame(Record.of([*a_run(20), events.Failed(time=BEGIN + 30, step=3, error=error)])))
    assert page.tables[0] == [
        ["what", "the loss is no number"],
        ["where", "step 3"],
        ["why", "too fast"],
        ["what to do", "lower --lr"],
    ]
    assert "failed" in page.text and "finished" not in page.text


def test_a_run_whose_process_died_is_failed_although_its_journal_does_not_know():
    record = Record.of(a_run(20))
    page = Page(draw.frame(record, Status(state="failed", cause="killed by SIGKILL", since=BEGIN)))
    assert ["why", "killed by SIGKILL"] in page.tables[0] and "running" not in page.text


def test_a_run_taken_up_again_is_no_longer_stopped():
    record = Record.of(
        [
            *a_run(20),
            events.Stopped(time=BEGIN + 21, step=20, reason="asked to stop", checkpoint="checkpoints/checkpoint-20"),
        ]
    )
    assert "checkpoints/checkpoint-20" in Page(draw.frame(record)).text
    page = Page(draw.frame(record, Status(state="starting", stage="resuming", since=BEGIN + 99)))
    assert "starting" in page.text and "resuming" in page.text and "stopped" not in page.text


def test_nothing_has_happened_yet():
    page = Page(draw.frame(Record(), Status(stage="loading the model"), name="a-run"))
    assert page.tables == [] and "loading the model" in page.text and "a-run" in page.text
    assert draw.text(Record(), Status(stage="loading the model")).startswith("starting · loading the model")
    assert draw.picture(Record()) is None


def test_one_point_is_drawn_as_a_dash():
    html = draw.frame(Record.of(list(a_run(5))[:2]))
    assert re.search(r'class="raw" d="M[\d.]+,[\d.]+h4"', html)
    assert [["loss", "2.975", "2.975"]] == [row for row in Page(html).tables[-1] if row[0] == "loss"]


# the size


def test_a_frame_is_as_large_at_a_hundred_thousand_events_as_at_a_hundred():
    small = len(draw.frame(Record.of(a_run(100, 10, lambda step: 2 + (step * 7919 % 13) / 10)), now=BEGIN).encode())
    large = len(
        draw.frame(Record.of(a_run(100_000, 1000, lambda step: 2 + (step * 7919 % 13) / 10)), now=BEGIN).encode()
    )
    assert large <= 30_000 and large / small <= 1.1


@pytest.mark.parametrize("letter", ["<", '"', "\x1b", "字", "\u202e", "a"])
def test_no_text_however_long_makes_a_frame_large(letter):
    long = letter * 5000
    rows = list(a_run(300, 10, lambda step: math.nan if step % 2 else 2.0 + step / 100))
    rows[0] = events.Started(
        time=BEGIN, room=long, method=long, name=long, facts={f"{long}{n}": long for n in range(50)}
    )
    sampled = tuple({"prompt": long, "output": long, "expected": long} for _ in range(20))
    many = {f"{long}{n}": 1.0 for n in range(50)}
    rows += [events.Sampled(time=BEGIN + n, step=n, samples=sampled) for n in range(9)]
    rows += [events.Warned(time=BEGIN + n, message=f"{n}{long}") for n in range(50)]
    rows += [events.Evaluated(time=BEGIN + 300, step=300, values={"loss": 1.0, **many})]
    rows += [events.Failed(time=BEGIN + 400, error=dict.fromkeys(("kind", "what", "where", "why", "fix"), long))]
    bundle = draw.bundle(Record.of(rows), final=True)
    assert len(bundle["text/html"].encode()) <= 30_000
    assert len(json.dumps(bundle, ensure_ascii=False).encode()) <= 60_000


def test_the_last_bundle_of_a_run_is_small_and_has_all_three_forms():
    bundle = draw.bundle(stored("finished"), final=True)
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert len(json.dumps(bundle)) <= 60_000
    assert set(draw.bundle(stored("finished"))) == {"text/html", "text/plain"}


# text stays text

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</td></table></div><iframe src=//x.example></iframe>",
    '" onmouseover="alert(1)" x=\'',
    "' onfocus='alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!-- -->]]><style>*{display:none}</style>",
    "[a](javascript:alert(1)) **b** `c` ![d](//x.example/e.png)",
    "\x1b[2J\x1b]0;title\x07\x1b[31mred",
    "\u202egnp.exe\u202c \u2066x\u2069 \u200b",
    "/etc/passwd",
    "https://x.example/a.html",
    "{0.__class__} %s %(name)s $name ${name} {name}",
    "$(rm -rf /) `id` ; reboot",
    "\x00\r\n\t\u2028",
]


def with_text(text):
    sample = {"prompt": text, "output": text, "expected": text}
    yield events.Warned(time=BEGIN, message=text)
    yield events.Started(
        time=BEGIN, room=text, method=text, name=text, total_steps=9, facts={text: text, "n" + text: 3}
    )
    yield events.Sampled(time=BEGIN, step=0, samples=(sample,), label="base")
    for step in (1, 2, 3):
        logged = {"loss": 2.0 / step, text: 1.0, f"{text}_per_second": 2.0, f"memory{text}": 3.0}
        yield events.Logged(time=BEGIN + step, step=step, values=logged)
        yield events.Evaluated(time=BEGIN + step, step=step, values={text: 1.0 / step, "b" + text: 1.0})
        yield events.Sampled(time=BEGIN + step, step=step, samples=(sample,), label=text)
    yield events.Changed(time=BEGIN + 4, step=3, name=text, old=text, new=text)
    yield events.Resumed(time=BEGIN + 5, step=3, checkpoint=text, differences=(text, text))


ENDS = [
    lambda text: events.Failed(time=BEGIN + 9, error=dict.fromkeys(("kind", "what", "where", "why", "fix"), text)),
    lambda text: events.Stopped(time=BEGIN + 9, reason=text, checkpoint=text),
    lambda text: events.Finished(time=BEGIN + 9, model=text),
]


@pytest.mark.parametrize("end", ENDS, ids=["failed", "stopped", "finished"])
@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_no_text_becomes_markup(payload, end):
    harmless = Page(draw.frame(Record.of([*with_text("harmless"), end("harmless")])))
    page = Page(draw.frame(Record.of([*with_text(payload), end(payload)])))
    assert page.tags == harmless.tags
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u202a-\u202e\u2066-\u2069]", page.text)


def test_a_stage_and_a_cause_stay_text():
    page = Page(draw.frame(Record(), Status(stage=PAYLOADS[0]), name=PAYLOADS[1]))
    assert PAYLOADS[0] in page.text and PAYLOADS[1] in page.text
    assert PAYLOADS[2] in Page(draw.frame(Record(), Status(state="failed", cause=PAYLOADS[2]))).text


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_no_text_moves_a_cursor_or_breaks_the_picture(payload):
    record = Record.of([*with_text(payload), ENDS[0](payload)])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", draw.text(record))
    assert draw.picture(record).startswith(b"\x89PNG")


# the picture and the colours


def test_the_picture_is_small_and_leaves_the_users_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawn = draw.picture(stored("finished"))
    assert drawn.startswith(b"\x89PNG") and len(drawn) <= 17_000
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("colours", "page"), [(_LIGHT, "#ffffff"), (_DARK, "#111111")], ids=["light", "dark"])
def test_every_colour_stands_out_from_the_page(colours, page):
    found = re.findall("#[0-9a-f]{6}", colours)
    assert len(found) == 4
    assert all(contrast(colour, page) >= 4.5 for colour in found)


def contrast(one, other):
    """As WCAG 2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
