"""Average precision: worked by hand, and against pycocotools on files of its own."""

import contextlib
import io
import json

import numpy
import pytest

from nbtrain.evaluate import boxes
from nbtrain.evaluate.boxes import Truth

NAMES = ("cell", "card")


def random_set(pictures=12, seed=0):
    """True boxes, and boxes that are shifted, doubled, missed or of another class; of all sizes."""
    chance = numpy.random.default_rng(seed)
    truth, found = [], []
    for _ in range(pictures):
        count = int(chance.integers(0, 8))
        sides = chance.uniform(8, 150, (count, 2))
        placed = numpy.concatenate([chance.uniform(0, 250, (count, 2)), sides], axis=1)
        kinds = chance.integers(0, 2, count)
        crowd = [bool(chance.random() < 0.1) for _ in range(count)]
        truth.append(Truth((400, 400), placed.tolist(), kinds.tolist(), crowd))
        rows = []
        for box, kind in zip(placed, kinds, strict=True):
            for _ in range(int(chance.integers(0, 3))):
                x, y, w, h = box + chance.normal(0, 4, 4)
                said = kind if chance.random() < 0.8 else 1 - kind
                rows.append([chance.random(), said, x, y, x + max(w, 1), y + max(h, 1)])
        found.append(numpy.array(rows).reshape(-1, 6))
    return truth, found


def by_pycocotools(truth, found, folder):
    """What the reference program says of the same boxes, by files."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    content = {
        "info": {},
        "images": [],
        "annotations": [],
        "categories": [{"id": 5, "name": "cell"}, {"id": 9, "name": "card"}],
    }
    said = []
    for picture, (each, rows) in enumerate(zip(truth, found, strict=True)):
        content["images"].append({"id": picture + 100, "width": 400, "height": 400})
        for box, kind, crowd in zip(each.boxes, each.classes, each.crowd, strict=True):
            content["annotations"].append(
                {"id": len(content["annotations"]) + 1, "image_id": picture + 100, "category_id": (5, 9)[kind],
                 "bbox": box, "area": box[2] * box[3], "iscrowd": int(crowd)}
            )  # fmt: skip
        said += [
            {"image_id": picture + 100, "category_id": (5, 9)[int(kind)], "score": score, "bbox": [a, b, c - a, d - b]}
            for score, kind, a, b, c, d in rows.tolist()
        ]
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(said))
    with contextlib.redirect_stdout(io.StringIO()):
        right = COCO(str(folder / "truth.json"))
        measured = COCOeval(right, right.loadRes(str(folder / "found.json")), "bbox")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return measured.stats


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_pycocotools_finds(seed, tmp_path, capsys):
    truth, found = random_set(seed=seed)
    values = boxes.precision(truth, found, NAMES).values
    names = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
    expected = by_pycocotools(truth, found, tmp_path)
    assert [values[name] for name in names] == pytest.approx(expected[:6].tolist(), abs=1e-9)
    assert values["recall_100"] == pytest.approx(expected[8])
    assert 0.05 < values["map"] < 0.9
    assert capsys.readouterr().out == ""


def test_the_mean_over_the_classes_is_the_whole():
    truth, found = random_set()
    measured = boxes.precision(truth, found, NAMES)
    assert measured.values["map"] == pytest.approx(numpy.mean([each["map"] for each in measured.by_class.values()]))
    assert sum(each["boxes"] for each in measured.by_class.values()) == sum(len(each.boxes) for each in truth)
    assert measured.values["map_50"] == pytest.approx(numpy.mean([numpy.mean(c) for c in measured.curves.values()]))


def test_by_hand_one_right_box_of_two_is_half():
    truth = [Truth((100, 100), [[0, 0, 10, 10], [50, 50, 10, 10]], [0, 0])]
    found = [numpy.array([[0.9, 0, 0, 0, 10, 10]])]
    values = boxes.precision(truth, found, NAMES).values
    # recalls 0 to 0.5 have precision 1, those above 0: 51 of 101 points
    assert values["map"] == values["map_50"] == pytest.approx(51 / 101)
    assert values["map_small"] == pytest.approx(51 / 101) and values["map_large"] == -1


def test_finding_all_is_one_and_finding_nothing_is_nought():
    truth, _ = random_set()
    truth = [Truth(each.size, each.boxes, each.classes) for each in truth]
    right = [
        numpy.array(
            [[0.9, kind, x, y, x + w, y + h] for (x, y, w, h), kind in zip(each.boxes, each.classes, strict=True)]
        )
        for each in truth
    ]
    assert boxes.precision(truth, right, NAMES).values["map"] == pytest.approx(1)
    nothing = boxes.precision(truth, [numpy.zeros((0, 6))] * len(truth), NAMES)
    assert nothing.values["map"] == nothing.by_class["cell"]["map"] == 0
    assert nothing.values["recall_100"] == 0
