"""Boxes that stand in files beside the pictures: COCO's JSON, and VOC's XML with one file a picture."""

from __future__ import annotations

import json
import xml.etree.ElementTree as XML
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nbtrain.data import sources
from nbtrain.data.albums import key_of, shown, written
from nbtrain.data.images import ENDINGS
from nbtrain.errors import DataError

_HEAD = 64 << 10  # bytes of a JSON file by which COCO is told from rows
_LISTS = "ImageSets/Main"  # where VOC says which pictures a split has
_SPLITS = (*sources.TRAIN, *sources.VALID)


def annotated(path: Path, cache: Path) -> sources.Found | None:
    """What COCO or VOC files say, as rows with `image` and `objects`; None where `path` has neither.

    Raises:
        DataError: a file that is damaged, or speaks of pictures that it does not list.
    """
    files = list(shown(path)) if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    notices = []
    if coco := [file for file in files if file.suffix.lower() == ".json" and _is_coco(file)]:
        splits, notices = _coco_splits(coco, path, cache)
        rows = {name: written(_coco_rows(parts), cache, f"coco {key_of(parts)}") for name, parts in splits.items()}
        if any(file.suffix.lower() == ".xml" for file in files):
            notices.append("The boxes are those of the COCO files; the XML files are not read.")
    elif voc := [file for file in files if file.suffix.lower() == ".xml"]:
        splits = _voc_splits(voc, root)
        rows = {name: written(_voc_rows(parts), cache, f"voc {key_of(parts)}") for name, parts in splits.items()}
    else:
        return None
    return sources.Found({name: part for name, part in rows.items() if part is not None}, str(path), notices)


def _coco_splits(files: Sequence[Path], path: Path, cache: Path) -> tuple[dict[str, Any], list[str]]:
    if path.is_file():  # a file beside it may be the other split, as with any table
        found = sources.find(str(path), cache)
        return dict(found.splits), list(found.notices)
    return ({"train": files} if len(files) == 1 else sources.by_split(files, path)), []


def _is_coco(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD).lstrip()
        if not head.startswith(b"{"):
            return False
        if b'"images"' in head or b'"annotations"' in head:
            return True
        file.seek(0)
        return b'"annotations"' in file.read()


def _coco_rows(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for path in files:
        content = _coco(path)
        names = {each["id"]: str(each["name"]) for each in content["categories"]}
        found: dict[Any, dict[str, list[Any]]] = {
            image["id"]: {"bbox": [], "category": [], "iscrowd": []} for image in content["images"]
        }
        for each in content["annotations"]:
            objects = found.get(each["image_id"])
            if objects is None:
                what = f"{path.name}: annotation {each.get('id')} is of a picture that is not listed."
                raise DataError(what, where=str(path), fix="Add the picture to `images`, or remove the annotation.")
            objects["bbox"].append(each["bbox"])
            objects["category"].append(names.get(each["category_id"]))
            objects["iscrowd"].append(bool(each.get("iscrowd", 0)))
        for image in content["images"]:
            place = _beside(path, str(image["file_name"]))
            size = {"width": image.get("width"), "height": image.get("height")}
            yield {"image": place, "objects": found[image["id"]], **size}


def _coco(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        missing = [name for name in ("images", "annotations", "categories") if not isinstance(content[name], list)]
        for name, keys in (("images", ("id", "file_name")), ("annotations", ("image_id", "category_id", "bbox"))):
            missing += [f"{key} in one of {name}" for key in keys if any(key not in each for each in content[name])]
    except (ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}".split("\n")[0]
        raise DataError(f"{path.name} is no whole COCO file.", where=str(path), why=why, fix="Save it again.") from None
    if missing:
        raise DataError(f"{path.name} lacks {missing[0]}.", where=str(path), fix="Save it as COCO's instances.")
    return content


def _voc_splits(files: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    lists = {
        path.stem: set(path.read_text().split()) for path in root.glob(f"**/{_LISTS}/*.txt") if path.stem in _SPLITS
    }
    if not lists:
        return sources.by_split(files, root)
    chosen = {name: [path for path in files if path.stem in stems] for name, stems in lists.items()}
    return {name: paths for name, paths in chosen.items() if paths}


def _voc_rows(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for path in files:
        try:
            root = XML.parse(path).getroot()
            found = [_voc_object(each) for each in root.iter("object")]
        except (XML.ParseError, ValueError, AttributeError) as error:
            what = f"{path.name} is no whole VOC file."
            raise DataError(what, where=str(path), why=str(error), fix="Save it again.") from None
        name = (root.findtext("filename") or path.stem).strip()
        objects = {"bbox": [box for box, _ in found], "category": [label for _, label in found]}
        size = {side: _whole(root.findtext(f"size/{side}")) for side in ("width", "height")}
        yield {"image": _beside(path, name), "objects": objects, **size}


def _whole(text: str | None) -> int | None:
    return int(float(text)) if text and text.strip() else None


def _voc_object(each: XML.Element) -> tuple[list[float], str | None]:
    left, top, right, bottom = (float(each.find("bndbox").findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax"))
    return [left, top, right - left, bottom - top], each.findtext("name")


def _beside(path: Path, name: str) -> str:
    """The whole path where the picture stands beside the file that names it, in `images` or VOC's folder there."""
    names = [name] if name.lower().endswith(ENDINGS) else [name + ending for ending in ENDINGS]
    for folder in (
        path.parent,
        path.parent / "images",
        path.parent.parent / "images",
        path.parent.parent / "JPEGImages",
    ):
        for each in names:
            if (folder / each).is_file():
                return str((folder / each).resolve())
    return name
