"""Pictures of every kind and in every state: what is opened, how, and what is said of those that cannot be."""

import io
import json
import zipfile

import numpy
import pytest
from PIL import Image

from nbtrain.data import albums, images
from nbtrain.data.check import check
from nbtrain.errors import DataError


def stored(image, kind="PNG", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def halves(size=(40, 20), left="red", right="blue"):
    image = Image.new("RGB", size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def turned(tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    return stored(halves(), "JPEG", exif=exif)


def form(**changes):
    columns = {"image": "image", "target": "label"}
    return images.PictureForm(columns, lambda picture, row: str(row["label"]), "pictures", **changes)


@pytest.fixture
def folder(tmp_path):
    """Two classes in folders, with what a Mac and a desktop leave there."""
    for name, colour in (("cat", "red"), ("dog", "blue")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for at in range(4):
            Image.new("RGB", (8 + at, 8), colour).save(tmp_path / "set" / name / f"{at}.png")
    for path in ("__MACOSX/cat/._0.png", "cat/.DS_Store", "dog/._1.png"):
        (tmp_path / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / path).write_bytes(b"\0\5\x16\7junk")
    return tmp_path / "set"


@pytest.fixture
def read(params, tmp_path):
    return lambda source, **given: albums.pictures(params(source, **{"valid_fraction": 0, **given}), tmp_path / "cache")


# one picture


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("L", (4, 4), 100), (100, 100, 100)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("P", (4, 4), 0), (0, 0, 0)),
        (Image.new("RGBA", (4, 4), (9, 9, 9, 0)), (255, 255, 255)),
        (Image.new("LA", (4, 4), (0, 255)), (0, 0, 0)),
        (Image.fromarray(numpy.full((4, 4), 65535, dtype=numpy.uint16)), (255, 255, 255)),
        (Image.fromarray(numpy.full((4, 4), 32896, dtype=numpy.int32)), (128, 128, 128)),
    ],
    ids=["grey", "black and white", "palette", "transparent", "grey and opaque", "16 bits", "32 bits"],
)
def test_any_mode_becomes_the_colours_that_a_viewer_shows(image, pixel):
    found = images.opened(stored(image, "TIFF" if image.mode == "I" else "PNG"))
    assert found.mode == "RGB" and found.getpixel((1, 1)) == pixel


def test_a_cmyk_jpeg_has_its_colours():
    red = images.opened(stored(Image.new("RGB", (16, 16), (220, 20, 20)).convert("CMYK"), "JPEG", quality=95))
    assert red.mode == "RGB" and red.getpixel((8, 8))[0] > 180 and red.getpixel((8, 8))[1] < 70


def test_a_picture_is_turned_as_its_exif_says():
    upright = images.opened(turned(6))  # the camera was held on its side
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 2))[0] > 200 and upright.getpixel((10, 37))[2] > 200
    assert images.opened(turned(3)).getpixel((2, 10))[2] > 200
    assert images.size_of(turned(6)) == images.seen(turned(6)).size == (20, 40)
    assert images.size_of(turned(3)) == (40, 20)


def test_the_first_frame_of_an_animation_is_used():
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    animated = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert images.opened(animated).getpixel((2, 2)) == (255, 0, 0)
    assert images.seen(animated).oddities == ("animated: their first frame is used",)


def test_a_picture_may_be_a_path_bytes_an_array_or_a_picture(tmp_path):
    halves().save(tmp_path / "a.png")
    cells = [
        tmp_path / "a.png", str(tmp_path / "a.png"), stored(halves()), halves(), numpy.asarray(halves()),
        {"bytes": stored(halves()), "path": None}, {"bytes": None, "path": str(tmp_path / "a.png")},
    ]  # fmt: skip
    assert all(numpy.array_equal(images.opened(cell), numpy.asarray(halves())) for cell in cells)


NOISE = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=numpy.uint8))
FAULTS = {
    "nothing": (b"", "is empty"),
    "text": (b"not a picture at all", "is no picture that Pillow can read"),
    "page": (b"<html><body>404</body></html>", "is no picture that Pillow can read"),
    "cut jpeg": (stored(NOISE, "JPEG")[:900], "is damaged or cut off"),
    "cut png": (stored(NOISE)[:5000], "is damaged or cut off"),
    "cut head": (stored(halves(), "JPEG")[:100], "is no picture|is damaged or cut off"),
}


@pytest.mark.parametrize(("data", "said"), FAULTS.values(), ids=FAULTS)
def test_a_picture_that_cannot_be_opened_is_told_in_words(data, said):
    for ask in (images.opened, images.seen):
        with pytest.raises(DataError, match=said):
            ask({"bytes": None, "path": None} if not data and ask is None else data)


def test_a_huge_picture_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for side in (12, 40):
        with pytest.raises(DataError, match="has more than 100 pixels"):
            images.seen(stored(Image.new("RGB", (side, side))))


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (None, "no picture: nothing"),
        ("", "no picture"),
        (7, "no picture: int"),
        ("https://example.org/a.png", "is an address, no file"),
        ("/nowhere/a.png", "there is no picture '/nowhere/a.png'"),
    ],
)
def test_what_is_no_picture_at_all_is_told(cell, said):
    with pytest.raises(DataError, match=said):
        images.opened(cell)


# many


def test_folders_are_classes_and_what_a_mac_leaves_is_not_seen(read, folder):
    splits = read(folder)
    assert sorted({(row["label"], row["image"].split("/")[-1]) for row in splits.train}) == [
        (name, f"{at}.png") for name in ("cat", "dog") for at in range(4)
    ]
    kept, report = check(splits, form())
    assert len(kept.train) == 8 and not report.faults


def test_the_first_folders_may_be_splits_and_a_class_may_be_called_test(read, folder, tmp_path):
    for name in ("train", "validation"):
        (tmp_path / "whole" / name / "test").mkdir(parents=True)
        (tmp_path / "whole" / name / "cat").mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / "whole" / name / "test" / "a.png")
        Image.new("RGB", (8, 8)).save(tmp_path / "whole" / name / "cat" / "train_1.png")
    splits = read(tmp_path / "whole")
    assert sorted(splits.train["label"]) == sorted(splits.valid["label"]) == ["cat", "test"]


@pytest.mark.parametrize("name", ["metadata.jsonl", "labels.csv", "rows.parquet"])
def test_a_table_names_pictures_as_seen_from_itself(read, folder, name):
    rows = [{"file_name": f"cat/{at}.png", "label": "cat"} for at in range(3)]
    if name.endswith("jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name.endswith("csv"):
        (folder / name).write_text("file_name,label\n" + "".join(f"{row['file_name']},cat\n" for row in rows))
    else:
        import pandas

        pandas.DataFrame(rows).to_parquet(folder / name)
    for source in (folder / name, folder):
        assert read(source).train["file_name"][:] == [str((folder / f"cat/{at}.png").resolve()) for at in range(3)]


def test_a_name_alone_is_found_below_the_folder_unless_two_have_it(read, folder):
    (folder / "labels.csv").write_text("image,label\nonly.png,cat\n")
    (folder / "cat" / "0.png").rename(folder / "cat" / "only.png")
    assert read(folder).train["image"][0].endswith("cat/only.png")
    (folder / "labels.csv").write_text("image,label\n1.png,cat\n")
    with pytest.raises(DataError, match=r"The picture 1.png is in 2 folders"):
        read(folder)


def test_an_archive_is_read_as_the_folder_in_it(read, folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"set/{path.relative_to(folder)}")
    assert sorted(read(tmp_path / "set.zip").train["label"]) == ["cat"] * 4 + ["dog"] * 4


def test_pictures_inside_a_table_stay_there_until_they_are_opened(read, tmp_path):
    from datasets import Dataset, Features, Value
    from datasets import Image as Feature

    cells = [{"bytes": stored(halves()), "path": f"{at}.png"} for at in range(3)]
    columns = {"image": cells, "label": ["a", "b", "a"]}
    Dataset.from_dict(columns, Features(image=Feature(), label=Value("string"))).to_parquet(str(tmp_path / "d.parquet"))
    row = read(tmp_path / "d.parquet").train[1]
    assert row["image"]["bytes"] == stored(halves()) and images.label_of(row["image"]) == "1.png"


def test_rows_of_a_notebook_may_hold_pictures_themselves(read):
    rows = [{"image": halves(), "label": "a"}, {"image": halves(left="green"), "label": "b"}]
    found = read(rows).train
    assert images.opened(found[1]["image"]).getpixel((2, 2)) == (0, 128, 0)


def test_each_faulty_picture_is_told_with_its_row_before_anything_is_trained(read, folder):
    (folder / "cat" / "1.png").write_bytes(b"junk")
    (folder / "dog" / "2.png").write_bytes(stored(NOISE)[:5000])
    splits = read(folder)
    with pytest.raises(DataError, match="2 of 8 rows cannot be used") as told:
        check(splits, form())
    assert "row 2, column image: cat/1.png is no picture" in told.value.where
    assert "row 7, column image: dog/2.png is damaged or cut off" in told.value.where
    kept, report = check(splits, form(), on_bad_rows="skip")
    assert len(kept.train) + len(report.faults) == 8


def test_what_was_done_to_odd_pictures_is_counted_and_equal_ones_are_found(read, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("one", "two", "same"):
        (tmp_path / "a" / f"{name}.jpg").write_bytes(turned(6 if name == "one" else 8))
    (tmp_path / "b").mkdir()
    Image.new("RGB", (4, 4)).convert("CMYK").save(tmp_path / "b" / "c.jpg")
    judged = form()
    _, report = check(read(tmp_path), judged)
    assert judged.notes() == ["3 pictures are turned upright, as their EXIF says.", "1 pictures are in CMYK: made RGB."]
    assert report.repeated == {"train": 1}


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_without_classes_says_what_it_needs(read, tmp_path, empty):
    (tmp_path / "flat").mkdir()
    if not empty:
        halves().save(tmp_path / "flat" / "a.png")
    said = "has no pictures and no table" if empty else "nothing that says what they show"
    with pytest.raises(DataError, match=said):
        read(tmp_path / "flat")
