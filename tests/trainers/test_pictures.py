"""What rooms for pictures share: rows opened one by one, changes that a seed decides, small pictures to look at."""

import base64
import io
from random import Random

import numpy
import pytest
from datasets import Dataset
from PIL import Image

from nbtrain.trainers import _pictures
from nbtrain.trainers._pictures import Gallery


def gallery(count=5, seed=7):
    opened = []

    def made(row, chance):
        opened.append(row["at"])
        return row["at"], None if chance is None else chance.random()

    return Gallery(Dataset.from_dict({"at": list(range(count))}), made, seed), opened


def test_a_row_is_opened_when_it_is_its_turn_and_not_before():
    rows, opened = gallery(1000)
    assert len(rows) == 1000 and len(rows.select(range(10))) == 10 and opened == []
    assert rows[3][0] == 3 and opened == [3]


def test_row_and_epoch_decide_what_is_changed_whatever_was_drawn_before():
    one, _ = gallery()
    other, _ = gallery()
    first = [one[at] for at in range(5)]
    one.at_epoch(1)
    second = [one[at] for at in range(5)]
    other.at_epoch(1)
    Random(0).random()
    assert [other[at] for at in (4, 0, 3)] == [second[at] for at in (4, 0, 3)]
    assert len({chance for _, chance in first + second}) == 10
    assert gallery(seed=8)[0][0] != first[0]


def test_rows_that_are_looked_at_are_not_changed():
    rows, _ = gallery()
    assert rows.select([2, 4])[1] == (4, None)
    assert gallery(seed=None)[0][1] == (1, None)


@pytest.mark.parametrize("size", [(2000, 1500), (1500, 200), (20, 20), (1, 900)])
def test_a_thumbnail_is_a_small_jpeg_whatever_the_picture(size):
    noise = numpy.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8)
    letters = _pictures.thumbnail(Image.fromarray(noise))
    found = Image.open(io.BytesIO(base64.b64decode(letters, validate=True)))
    assert 0 < len(letters) <= 4096 and found.format == "JPEG" and max(found.size) <= 112


def test_a_picture_keeps_as_many_pixels_as_fit():
    found = Image.open(io.BytesIO(base64.b64decode(_pictures.thumbnail(Image.new("RGB", (800, 400), "teal")))))
    assert found.size == (112, 56)


def test_names_are_found_by_what_they_hold(params):
    rows = Dataset.from_dict({"scan": ["a.png", "b.png"], "grade": [1, 2]})
    given = params("x")
    assert _pictures.placed(given, rows, "target", ("grade",), named=None) == {"image": "scan", "target": "grade"}
    with pytest.raises(Exception, match="There is no column for target; there are scan, grade"):
        _pictures.placed(given, rows, "target", ("label",), named=None)


@pytest.fixture
def params():
    from nbtrain import trainers

    return lambda source: trainers.load("image-classification").Params(data_path=source)
