import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrain import errors, redact
from nbtrain.errors import KINDS, DataError, MissingExtra, NbtrainError, ParamError, TrainingError, from_record, nearest
from nbtrain.plain import visible


def test_an_error_shows_its_sentence_first_and_each_part_with_its_name():
    error = DataError("no column 'txt'", where="train.csv", why="it has text", fix="set --text-column text")
    assert str(error).split("\n") == [
        "no column 'txt'",
        "where: train.csv",
        "why: it has text",
        "what to do: set --text-column text",
    ]


def test_a_part_that_is_empty_is_not_shown():
    assert DataError("no rows", fix="give some").lines() == ["no rows", "what to do: give some"]


def test_a_notebook_shows_the_error_with_its_kind_and_without_frames():
    assert DataError("no rows", fix="give some")._render_traceback_() == [
        "DataError: no rows",
        "  what to do: give some",
    ]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_is_of_the_tree_is_drawn_at_its_head_and_comes_back_from_the_journal(kind):
    error = kind("what", where="where", why="why", fix="fix")
    back = from_record(error.record())
    assert isinstance(error, NbtrainError) and not isinstance(error, SystemExit)
    assert type(back) is kind and back.lines() == error.lines()
    assert f"── {kind.__name__} " in errors.__doc__


def test_every_kind_of_the_tree_is_known_to_the_journal():
    assert set(KINDS.values()) == set(NbtrainError.__subclasses__())


def test_an_error_is_caught_as_what_python_calls_it():
    with pytest.raises(ValueError):
        raise ParamError("p")
    with pytest.raises(ImportError):
        raise MissingExtra("m")


@given(st.dictionaries(st.sampled_from(["kind", "what", "where", "why", "fix", "other"]), st.text()))
def test_any_record_gives_an_error_that_can_be_shown(record):
    error = from_record(record)
    assert isinstance(error, NbtrainError)
    assert visible(record.get("what", "")) in str(error)


def test_an_unknown_kind_is_named():
    error = from_record({"kind": "OddError", "what": "it is odd"})
    assert type(error) is TrainingError and error.what == "OddError: it is odd"


def test_an_error_keeps_its_parts_between_processes():
    error = pickle.loads(pickle.dumps(DataError("what", where="where", why="why", fix="fix")))
    assert error.record() == DataError("what", where="where", why="why", fix="fix").record()


@pytest.mark.parametrize(
    ("word", "told"),
    [("epoch", " Did you mean epochs?"), ("batchsize", " Did you mean batch_size?"), ("zzz", ""), ("", "")],
)
def test_the_nearest_word_is_offered_where_one_is_near(word, told):
    assert nearest(word, ["epochs", "batch_size", "lr"]) == told


def test_a_secret_and_an_escape_are_neither_drawn_nor_saved(monkeypatch):
    monkeypatch.setattr(redact, "_known", {"canary-0123456789"})
    error = DataError("no canary-0123456789", why="\x1b[31mred")
    for text in (str(error), *error._render_traceback_()):
        assert "canary" not in text and "\x1b" not in text
    assert "no [secret]" in str(error) and "\\x1b[31mred" in str(error)


def test_a_long_list_leaves_room_for_the_rest_of_the_error():
    assert errors.listing(["a", "b"]) == "a, b"
    assert errors.listing(range(1_500), most=2) == "0, 1 and 1,498 more"
