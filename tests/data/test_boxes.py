"""Boxes in every notation, at their right place after every change, and told in words where they are wrong."""

import json
from random import Random

import numpy
import pytest
from PIL import Image, ImageDraw

from nbtrain.data import albums, annotations, boxes, images
from nbtrain.data.augment import CHANGES, changed
from nbtrain.data.check import check
from nbtrain.errors import DataError

BOX = (30, 20, 40, 24)  # x, y, width, height
COLOUR = (250, 20, 20)


def drawn(*found, size=(120, 90)):
    """A grey picture with a filled box at each place."""
    image = Image.new("RGB", size, (90, 90, 90))
    for x, y, width, height in found or (BOX,):
        ImageDraw.Draw(image).rectangle((x, y, x + width - 1, y + height - 1), fill=COLOUR)
    return image


def found_again(image):
    """The box round what is red."""
    pixels = numpy.asarray(image).astype(int)
    rows, columns = numpy.nonzero(pixels[..., 0] - pixels[..., 1] > 60)
    return columns.min(), rows.min(), columns.max() - columns.min() + 1, rows.max() - rows.min() + 1


@pytest.fixture
def folder(tmp_path):
    """Six pictures with a box each."""
    (tmp_path / "images").mkdir()
    for at in range(6):
        drawn((10 + at, 20, 30, 15 + at)).save(tmp_path / "images" / f"{at}.png")
    return tmp_path


def coco(folder, name="train.json", *, wrong=None, categories=((7, "cell"), (3, "card"))):
    content = {
        "images": [{"id": 10 + at, "file_name": f"{at}.png", "width": 120, "height": 90} for at in range(6)],
        "annotations": [
            {"id": at, "image_id": 10 + at, "category_id": (7, 3)[at % 2], "bbox": [10 + at, 20, 30, 15 + at]}
            for at in range(6)
        ],
        "categories": [{"id": number, "name": label} for number, label in categories],
    }
    if wrong:
        wrong(content)
    (folder / name).write_text(json.dumps(content))
    return folder


@pytest.fixture
def read(params, tmp_path_factory):
    """The rows of a source, and what judging them finds."""

    def go(source, *, on_bad_rows="stop", corners=None, **given):
        splits = albums.pictures(
            params(source, **{"valid_fraction": 0, **given}),
            tmp_path_factory.mktemp("cache"),
            other=annotations.annotated,
        )
        names = splits.train.column_names
        image = "image" if "image" in names else "file_name"
        read_as = boxes.are_corners(splits.train, image, "objects") if corners is None else corners
        reading = boxes.Reading("objects", read_as, boxes.classes(splits.train, "objects"))
        columns = {"image": image, "objects": "objects"} | {name: name for name in ("width", "height") if name in names}
        form = images.PictureForm(columns, reading.told, "boxes", reading.remarks)
        return *check(splits, form, on_bad_rows=on_bad_rows), reading

    return go


# through every change


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "erase"])
def test_a_box_that_is_drawn_is_found_again_after_every_change(name):
    for seed in range(12):
        seen = changed(drawn(), [name], Random(seed), [BOX])
        assert list(seen.kept) == [0]
        slack = 10 if name == "rotate" else 2  # the upright box round a turned one is larger than what it holds
        numpy.testing.assert_allclose(seen.boxes[0], found_again(seen.image), atol=slack)


def test_a_turned_box_is_round_what_it_held_and_no_larger_than_it_must_be():
    for seed in range(12):
        seen = changed(drawn(), ["rotate"], Random(seed), [BOX])
        numpy.testing.assert_allclose(seen.boxes[0], found_again(seen.image), atol=2.5)


def test_changes_one_after_the_other_keep_boxes_and_say_which_are_left():
    several = [(5, 5, 20, 20), BOX, (95, 60, 20, 25)]
    lost = 0
    for seed in range(20):
        seen = changed(drawn(*several), ["crop", "flip", "upside-down"], Random(seed), several)
        assert len(seen.boxes) == len(seen.kept)
        for (x, y, width, height), row in zip(seen.boxes, seen.kept, strict=True):
            inside = numpy.asarray(seen.image)[int(y) : int(y + height), int(x) : int(x + width)]
            assert (inside[..., 0] > 200).mean() > 0.9, (seed, row)
        lost += 3 - len(seen.kept)
    assert 0 < lost < 20


def test_the_same_draw_gives_the_same_picture_and_another_gives_another():
    every = list(CHANGES)
    one, again, other = (changed(drawn(), every, Random(seed), [BOX]) for seed in ("5 0 1", "5 0 1", "5 1 1"))
    assert numpy.array_equal(one.image, again.image) and numpy.array_equal(one.boxes, again.boxes)
    assert not numpy.array_equal(numpy.asarray(one.image).shape, numpy.asarray(other.image).shape) or not (
        numpy.array_equal(one.image, other.image)
    )


def test_a_picture_without_boxes_is_changed_too():
    assert changed(drawn(), list(CHANGES), Random(3)).boxes.shape == (0, 4)


def test_the_image_processor_puts_boxes_where_they_are_on_its_picture():
    from nbtrain.models.pretrained import TINY
    from nbtrain.trainers import _pictures

    processor = _pictures.saved_processor(str(TINY.parent / "detection"))
    noted = {"image_id": 0, "annotations": [{"bbox": BOX, "category_id": 0, "area": 960, "iscrowd": 0}]}
    given = processor(images=[drawn()], annotations=[noted], return_tensors="pt")
    x, y, width, height = (given["labels"][0]["boxes"][0] * 160).tolist()
    pixels = (given["pixel_values"][0].permute(1, 2, 0).numpy() * 0.25 + 0.5) * 255
    numpy.testing.assert_allclose((x - width / 2, y - height / 2, width, height), found_again(pixels), atol=2)


# in every notation


@pytest.mark.parametrize(
    "cell",
    [
        {"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "category": ["a", "b"]},
        {"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "categories": ["a", "b"], "area": [12, 56]},
        [{"bbox": [1, 2, 3, 4], "category": "a"}, {"bbox": [5, 6, 7, 8], "category": "b"}],
        [{"box": [1, 2, 3, 4], "label": "a"}, {"box": ["5", "6", "7", "8"], "label": " b "}],
        '{"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "category": ["a", "b"]}',
    ],
    ids=["lists", "other names", "objects", "texts", "json"],
)
def test_objects_are_read_however_they_are_written(cell):
    assert boxes.objects(cell) == boxes.Objects(((1, 2, 3, 4), (5, 6, 7, 8)), ("a", "b"), (False, False))


def test_classes_may_be_numbers_with_gaps_and_pictures_may_be_empty():
    found = boxes.objects({"bbox": [[1, 2, 3, 4]] * 3, "category": [90, 7.0, 1]})
    assert found.names == ("90", "7", "1")
    assert boxes.objects(None) == boxes.objects([]) == boxes.objects("") == boxes.Objects()


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"bbox": [[1, 2, 3, 4]], "category": []}, "1 boxes and 0 classes"),
        ({"bbox": [[1, 2, 3]], "category": ["a"]}, "box 1 is not four numbers"),
        ({"bbox": [[1, 2, 3, "x"]], "category": ["a"]}, "box 1 is not four numbers"),
        ({"bbox": [[1, 2, 3, 4]], "category": [None]}, "box 1 has no class"),
        ({"category": ["a"]}, "the objects have no bbox; they have category"),
        ("{not json", "text that is no JSON"),
        (7, "no objects: int"),
    ],
)
def test_objects_that_cannot_be_read_say_why(cell, said):
    with pytest.raises(DataError, match=said):
        boxes.objects(cell)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((10, 10, 0, 5), "has no area"),
        ((50, 40, -40, -30), "has no area"),
        ((10, 10, float("nan"), 5), "has no area"),
        ((130, 10, 5, 5), "is outside of its picture, 120 x 90"),
        ((-20, 10, 15, 5), "is outside of its picture"),
    ],
)
def test_a_box_without_area_or_outside_is_told_with_its_number(box, said):
    with pytest.raises(DataError, match=rf"box 2 .*{said}"):
        boxes.fitted(boxes.Objects((BOX, box), ("a", "b"), (False, False)), (120, 90))


def test_a_box_that_stands_out_is_cut_at_the_edge_and_counted():
    found, cut = boxes.fitted(boxes.Objects(((-5, -5, 20, 20), (110, 80, 10.5, 10), BOX), ("a",) * 3), (120, 90))
    assert found.boxes == ((0, 0, 15, 15), (110, 80, 10, 10), BOX)
    assert cut == 1  # half a pixel is rounding


# in files


def test_coco_with_gaps_in_its_numbers_gives_names(read, folder):
    splits, report, reading = read(coco(folder))
    assert reading.known == ["card", "cell"]
    assert splits.train[1]["objects"]["category"] == ["card"]
    assert splits.train[1]["objects"]["bbox"] == [[11, 20, 30, 16]]
    assert "Objects: cell 3, card 3." in report.lines()


def test_two_coco_files_are_two_splits_also_when_one_is_named(read, folder):
    coco(folder, "instances_train.json")
    coco(folder, "instances_val.json", wrong=lambda content: content["images"].pop() and content["annotations"].pop())
    for source in (folder, folder / "instances_train.json"):
        splits, _, _ = read(source)
        assert (len(splits.train), len(splits.valid)) == (6, 5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda content: content["annotations"].append({**content["annotations"][0], "image_id": 99}), "not listed"),
        (lambda content: content.pop("categories"), "no whole COCO file"),
        (lambda content: content["annotations"][0].pop("bbox"), "lacks bbox in one of annotations"),
    ],
)
def test_a_coco_file_that_is_not_whole_says_what_it_lacks(read, folder, wrong, said):
    with pytest.raises(DataError, match=said):
        read(coco(folder, wrong=wrong))


def voc(folder):
    for at in range(6):
        x, y, width, height = 10 + at, 20, 30, 15 + at
        (folder / f"{at}.xml").write_text(
            f"<annotation><filename>{at}.png</filename><size><width>120</width><height>90</height></size>"
            f"<object><name>cell</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + width}</xmax>"
            f"<ymax>{y + height}</ymax></bndbox></object></annotation>"
        )
    return folder


def test_voc_gives_the_same_boxes_as_coco(read, folder, tmp_path):
    found = read(voc(folder))[0].train["objects"][:]
    assert [each["bbox"] for each in found] == [[[10 + at, 20, 30, 15 + at]] for at in range(6)]
    (folder / "0.xml").write_text("<annotation><object>")
    with pytest.raises(DataError, match=r"0.xml is no whole VOC file"):
        read(folder)


def table(folder, boxes_of, name="metadata.jsonl"):
    rows = [
        {"file_name": f"images/{at}.png", "objects": {"bbox": boxes_of(at), "category": ["cell"]}} for at in range(6)
    ]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_corners_are_told_from_widths_by_the_pictures(read, folder):
    _, report, reading = read(table(folder, lambda at: [[60 + at, 50, 90 + at, 80]]))
    assert reading.corners and "read as left, top, right, bottom" in " ".join(report.lines())
    _, report, reading = read(table(folder, lambda at: [[60 + at, 50, 30, 30]]))
    assert not reading.corners and not report.faults


def test_shares_of_a_picture_are_refused_with_what_to_do(read, folder):
    with pytest.raises(DataError, match="shares of their pictures") as told:
        read(table(folder, lambda at: [[0.1, 0.2, 0.3, 0.4]]))
    assert "Multiply" in told.value.fix


def test_faulty_boxes_are_told_by_row_and_may_be_left_out(read, folder):
    wrong = {1: [[10, 10, 0, 5]], 4: [[500, 10, 5, 5]]}
    source = table(folder, lambda at: wrong.get(at, [[10, 20, 30, 15]]))
    with pytest.raises(DataError, match="2 of 6 rows") as told:
        read(source, corners=False)
    assert "line 2, column objects: box 1 (10, 10, 0, 5) has no area" in told.value.where
    assert "line 5, column objects: box 1 (500, 10, 5, 5) is outside of its picture, 120 x 90" in told.value.where
    splits, report, _ = read(source, corners=False, on_bad_rows="skip")
    assert len(splits.train) == 4 and len(report.faults) == 2


def test_a_picture_of_another_size_than_its_boxes_were_drawn_on_is_told(read, folder):
    coco(folder)
    drawn(size=(240, 180)).save(folder / "images" / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn().save(folder / "images" / "1.png", exif=exif)
    with pytest.raises(DataError) as told:
        read(folder)
    assert "its boxes are for 120 x 90 pixels, and the picture has 240 x 180" in told.value.where
    assert "the picture has 90 x 120 when it is upright" in told.value.where
