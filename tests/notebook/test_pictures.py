"""Samples with a picture: what is drawn, what is refused, and that a frame keeps its size."""

import base64
import io
import random

import pytest
from PIL import Image

from nbtrain import events
from nbtrain.notebook import draw
from nbtrain.runs.record import Record

BEGIN = 1_795_000_000.0


def jpeg(side=64, noise=False):
    chance = random.Random(1)
    image = Image.new("RGB", (side, side), "teal")
    if noise:
        image.putdata([tuple(chance.randrange(256) for _ in range(3)) for _ in range(side * side)])
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return base64.b64encode(file.getvalue()).decode()


def record(samples, **more):
    started = events.Started(time=BEGIN, room="image-classification", name="a-run", total_steps=10)
    return Record.of([started, events.Sampled(time=BEGIN + 1, step=5, samples=tuple(samples)), *more.get("rows", ())])


def test_a_picture_stands_beside_what_was_said_of_it_and_has_words_for_those_who_do_not_see_it(page_of):
    letters = jpeg()
    sample = {"prompt": "hat/1.jpg", "output": "shoe", "expected": "hat", "picture": letters, "alt": "the picture <1>"}
    html = draw.frame(record([sample]))
    assert f'<img src="data:image/jpeg;base64,{letters}" alt="the picture &lt;1&gt;"/>' in html
    page = page_of(html)
    assert ("img", "alt", "src") in page.tags
    assert [["prompt", "hat/1.jpg"], ["now", "shoe"], ["expected", "hat"]] in page.tables
    assert "picture" not in [row[0] for table in page.tables for row in table]


@pytest.mark.parametrize(
    "picture",
    [
        "", "no base64!", base64.b64encode(b"<svg onload=alert(1)>").decode(), '"><script>alert(1)</script>',
        jpeg(96, noise=True) * 2, 7, None, ["a"],
    ],
    ids=["empty", "no base64", "another format", "markup", "too large", "a number", "none", "a list"],
)  # fmt: skip
def test_what_is_no_small_jpeg_is_not_drawn(picture):
    html = draw.frame(record([{"prompt": "a", "output": "b", "picture": picture}]))
    assert "<img" not in html and "script" not in html and "onload" not in html


def test_three_pictures_of_the_greatest_size_are_shown_in_an_ordinary_frame():
    letters = jpeg()
    letters += base64.b64encode(b"\0" * ((4096 - len(letters)) // 4 * 3)).decode() if letters[-1] != "=" else ""
    html = draw.frame(record([{"prompt": f"{n}.jpg", "output": "x", "picture": letters} for n in range(3)]))
    assert html.count("<img") == 3 and len(html.encode()) <= 30_000


@pytest.mark.parametrize("letter", ["<", "a"])
def test_pictures_take_only_the_room_that_words_leave(letter):
    long, big = letter * 5000, jpeg(40, noise=True)
    samples = [{"prompt": long, "output": long, "expected": long, "picture": big, "alt": long} for _ in range(9)]
    rows = [events.Warned(time=BEGIN + n, message=f"{n}{long}") for n in range(50)]
    rows += [
        events.Evaluated(time=BEGIN + n, step=n, values={"loss": 1.0, **{f"{m}{long}": 1.0 for m in range(50)}})
        for n in range(9)
    ]
    rows += [events.Sampled(time=BEGIN + 99, step=9, samples=tuple(samples)) for _ in range(9)]
    found = record(samples, rows=rows)
    assert len(draw.frame(found).encode()) <= 30_000
    assert len(big) > 1_500
