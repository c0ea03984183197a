import dataclasses
import json
import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrain import events
from nbtrain.events import KINDS, Evaluated, Failed, Logged, Sampled, Started, Warned, decode, encode, replay

text = st.text(st.characters(exclude_categories=["Cs"]))
number = st.floats(allow_infinity=False) | st.integers(-(2**60), 2**60)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
values = st.dictionaries(text, number, max_size=4)
step = st.none() | st.integers(0, 10**9)
time = st.floats(0, 2e10)
some_event = st.one_of(
    st.builds(
        Started, time=time, step=step, room=text, method=text, total_steps=step, facts=st.dictionaries(text, plain)
    ),
    st.builds(Logged, time=time, step=step, epoch=st.none() | st.floats(0, 100), values=values),
    st.builds(Evaluated, time=time, step=step, values=values),
    st.builds(Sampled, time=time, step=step, samples=st.tuples(st.dictionaries(text, text)), label=text),
    st.builds(events.Saved, time=time, step=step, path=text),
    st.builds(events.Changed, time=time, step=step, name=text, old=plain, new=plain),
    st.builds(Warned, time=time, step=step, message=text),
    st.builds(events.Resumed, time=time, step=step, checkpoint=text, differences=st.tuples(text, text)),
    st.builds(events.Finished, time=time, step=step, values=values, seconds=time, model=text),
    st.builds(events.Stopped, time=time, step=step, reason=text, checkpoint=text),
    st.builds(Failed, time=time, step=step, error=st.dictionaries(text, text)),
)


def same(one, other):
    """Equal, where NaN equals NaN."""
    return repr(one) == repr(other)


@given(some_event)
def test_what_is_encoded_is_one_line_of_strict_json_and_decodes_to_the_same_event(event):
    line = encode(event)
    assert "\n" not in line and "\r" not in line
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert same(decode(line), event)


@given(st.lists(some_event, max_size=5), st.data())
def test_a_torn_or_strange_line_costs_itself_alone(story, data):
    lines = [encode(event) for event in story]
    place = data.draw(st.integers(0, len(lines)))
    strange = data.draw(
        st.sampled_from(["", "{", "null", "[]", "7", '{"event": "later"}', '{"event": "warned"}', "\x00"])
    )
    lines.insert(place, strange)
    assert same(list(replay(lines)), story)


@given(some_event, st.data())
def test_a_line_cut_anywhere_is_refused(event, data):
    line = encode(event)
    with pytest.raises(ValueError):
        decode(line[: data.draw(st.integers(0, len(line) - 1))])


@pytest.mark.parametrize(
    "line",
    [
        "null",
        "[]",
        '"warned"',
        '{"event": 1, "message": ""}',
        '{"event": "logged", "values": 3}',
        '{"event": "logged", "values": null}',
        '{"event": ["logged"], "values": {}}',
        '{"event": "sampled", "samples": 1}',
        '{"event": "warned", "message": "m", "unknown": 1}',
        '{"message": "no event"}',
    ],
)
def test_a_line_that_is_no_event_is_a_value_error(line):
    with pytest.raises(ValueError):
        decode(line)


def test_a_value_that_is_not_a_number_is_null_in_the_file_and_nan_when_read():
    line = encode(Logged(step=1, values={"loss": math.nan, "high": math.inf, "low": -math.inf}))
    assert json.loads(line)["values"] == {"loss": None, "high": None, "low": None}
    assert all(math.isnan(value) for value in decode(line).values.values())


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (numpy.float32(0.5), 0.5),
        (numpy.float64(0.5), 0.5),
        (numpy.int64(7), 7),
        (numpy.bool_(True), True),
        (numpy.array([1.0, math.nan]), [1.0, None]),
        ({3}, [3]),
        ((1, (2,)), [1, [2]]),
        ({1: 2}, {"1": 2}),
        (ValueError("x"), "x"),
        ("lone \ud800", "lone ?"),
    ],
)
def test_values_of_other_libraries_become_plain(value, read):
    assert decode(encode(events.Changed(name="n", new=value))).new == read


def test_a_token_is_masked_also_behind_a_line_end():
    token = "hf_" + "a" * 30
    line = encode(Sampled(samples=({token: f"first\n{token}"},)))
    assert token not in line
    assert decode(line).samples == ({"[secret]": "first\n[secret]"},)


def test_a_field_without_a_value_is_left_out():
    assert json.loads(encode(Warned(time=1.0, message="m"))) == {"event": "warned", "time": 1.0, "message": "m"}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_event_cannot_be_changed_and_is_known_by_its_kind(kind):
    assert KINDS[kind.kind] is kind and kind.__dataclass_params__.frozen
    assert kind.kind == kind.__name__.lower()


def test_every_event_is_known():
    assert set(KINDS.values()) == set(events.Event.__subclasses__())
    assert all(dataclasses.is_dataclass(kind) for kind in KINDS.values())
