"""Text from data, models, names and errors is text in the page, whatever it holds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrain import events
from nbtrain.notebook import draw
from nbtrain.notebook.html import clip, escape, fill, join
from nbtrain.runs.record import Record
from nbtrain.runs.status import Status

BEGIN = 1_795_000_000.0
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
def test_no_text_becomes_markup(payload, end, page_of):
    harmless = page_of(draw.frame(Record.of([*with_text("harmless"), end("harmless")])))
    page = page_of(draw.frame(Record.of([*with_text(payload), end(payload)])))
    assert page.tags == harmless.tags
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u202a-\u202e\u2066-\u2069]", page.text)


def test_a_stage_and_a_cause_stay_text(page_of):
    page = page_of(draw.frame(Record(), Status(stage=PAYLOADS[0]), name=PAYLOADS[1]))
    assert PAYLOADS[0] in page.text and PAYLOADS[1] in page.text
    assert PAYLOADS[2] in page_of(draw.frame(Record(), Status(state="failed", cause=PAYLOADS[2]))).text


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_no_text_moves_a_cursor_or_breaks_the_picture(payload):
    record = Record.of([*with_text(payload), ENDS[0](payload)])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", draw.text(record))
    assert draw.picture(record).startswith(b"\x89PNG")


def test_no_text_ends_an_attribute_or_is_read_as_a_template():
    assert fill('<a b="$text">$text</a>', text="\" c='$text'>&") == (
        '<a b="&quot; c=&#x27;$text&#x27;&gt;&amp;">&quot; c=&#x27;$text&#x27;&gt;&amp;</a>'
    )


def test_markup_goes_in_as_it_is_and_only_that():
    assert join([fill("<b>$x</b>", x="<"), escape("<")]) == "<b>&lt;</b>&lt;"
    assert fill("$x", x=str(fill("<b>"))) == "&lt;b&gt;"


@given(st.text(max_size=300), st.integers(60, 200))
def test_a_clipped_text_takes_no_more_than_its_bytes_and_says_what_is_missing(text, size):
    found = clip(text, size)
    assert len(found.encode()) <= size
    if len(escape(text).encode()) <= size:
        assert found == escape(text)
    else:
        left = int(re.search(r"… \(([\d,]+) more characters\)$", found)[1].replace(",", ""))
        assert found.startswith(escape(text[: len(text) - left]))
