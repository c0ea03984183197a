"""Pictures however they are kept (a path, bytes, a PIL image, an array): opened one by one, upright, as 8-bit RGB."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.data.check import Content
from nbtrain.data.columns import Roles
from nbtrain.errors import DataError, MissingExtra

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jfif", ".ppm", ".pgm")
ROLES: Roles = {
    "image": ("image", "img", "picture", "photo", "file_name", "filename", "image_path", "path", "file", "filepath"),
}
# what Pillow and its plugins raise where a picture is damaged
_DAMAGED = (OSError, SyntaxError, ValueError, IndexError, EOFError, struct.error, OverflowError)
_JUDGED = (64, 64)  # a JPEG is decoded no larger than this to see that it is whole: four times as fast
_TURNED = range(2, 9)  # values of EXIF's orientation that are not upright


@dataclass(frozen=True)
class Seen:
    """A picture that was opened and found whole.

    size: (width, height) in pixels, upright. print: of its bytes. oddities: what was done to it, in words.
    """

    size: tuple[int, int]
    print: str
    oddities: tuple[str, ...] = ()


def opened(cell: Any, *, upright: bool = True) -> Image:
    """A picture as 8-bit RGB.

    Args:
        cell: a path, bytes, {"bytes", "path"}, a PIL image, or an array (height, width[, channels]) of uint8.
        upright: turned as its EXIF says.

    Raises:
        DataError: no such file, no picture, damaged, or too large to be decoded safely.
    """
    _need_pillow()
    image = cell if hasattr(cell, "convert") else None
    if image is None and hasattr(cell, "__array_interface__"):
        from PIL import Image

        image = Image.fromarray(cell)
    if image is None:
        data, name = stored(cell)
        image = _recognised(data, name)
        with _words_for(name):
            image.load()
    return rgb(_upright(image) if upright else image)


def seen(cell: Any) -> Seen:
    """Decode a stored picture once and tell what it is, in a fraction of the time that `opened` takes.

    Raises:
        DataError: as `opened`.
    """
    data, name = stored(cell)
    image = _recognised(data, name)
    size, turn, odd = image.size, _orientation(image), []
    if turn in _TURNED:
        odd.append("turned upright, as their EXIF says")
    if getattr(image, "n_frames", 1) > 1:
        odd.append("animated: their first frame is used")
    if image.mode not in ("RGB", "L", "P", "1"):
        odd.append(f"in {image.mode}: made RGB")
    with _words_for(name):
        image.draft(None, _JUDGED)
        image.load()
    return Seen(_turned(size, turn), hashlib.blake2b(data, digest_size=8).hexdigest(), tuple(odd))


def stored(cell: Any) -> tuple[bytes, str]:
    """The bytes of a picture, and what to call it."""
    if isinstance(cell, Mapping):
        name = os.path.basename(str(cell.get("path") or "")) or "the picture"
        if cell.get("bytes"):
            return bytes(cell["bytes"]), name
        cell = cell.get("path")
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return bytes(cell), "the picture"
    if not isinstance(cell, (str, os.PathLike)) or not str(cell).strip():
        raise DataError(f"no picture: {_short(cell)}", fix="Give a path, or the picture's bytes.")
    if "://" in str(cell):
        raise DataError(f"{_short(cell)} is an address, no file", fix="Download the pictures first.")
    path = Path(cell).expanduser()
    try:
        return path.read_bytes(), _name(path)
    except (OSError, ValueError):
        what = f"{_short(cell)} is a folder" if path.is_dir() else f"there is no picture {_short(cell)}"
        raise DataError(what, fix="Write paths as seen from the file that names them, or whole.") from None


def rgb(image: Image) -> Image:
    """Any mode as RGB: the first frame, transparency on white, 16 bits in 8."""
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        import numpy

        values = numpy.asarray(image, dtype=numpy.float64)
        depth = 255.0 if values.size == 0 or values.max() <= 255 else 65535.0
        return Image.fromarray((values.clip(0, depth) * (255.0 / depth)).astype(numpy.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        # dropped, it would show whatever colour lies below what cannot be seen
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image.convert("RGB")


def size_of(cell: Any) -> tuple[int, int]:
    """(width, height) of a stored picture, upright, of which only the head is decoded."""
    image = _recognised(*stored(cell))
    return _turned(image.size, _orientation(image))


def label_of(cell: Any) -> str:
    """What a picture is called in a sample: its folder and file, or ''."""
    path = cell.get("path") if isinstance(cell, Mapping) else cell
    return _name(Path(path)) if isinstance(path, (str, os.PathLike)) and str(path) else ""


@dataclass(frozen=True)
class PictureForm:
    """How a data set holds pictures and what is learnt of them: a `check.Form`.

    told: of the row's picture and the row, what is learnt, as text; raises DataError where it cannot be used.
    described: how the user is told of it. remarks: further notes, asked when all rows were judged.
    """

    columns: Mapping[str, str]
    told: Callable[[Seen, Mapping[str, Any]], str]
    described: str
    remarks: Callable[[], list[str]] = list
    odd: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return self.described

    def content(self, row: Mapping[str, Any]) -> Content:
        """The picture's size and print, and what is learnt of it: two files with the same bytes are equal rows."""
        column = self.columns["image"]
        try:
            found = seen(row[column])
        except DataError as error:
            raise DataError(error.what, where=column, fix=error.fix) from None
        told = self.told(found, row)
        self.odd.update(found.oddities)
        return ("image", f"{found.size[0]} x {found.size[1]} pixels, print {found.print}"), ("target", told)

    def notes(self) -> list[str]:
        """Pictures that were not ordinary, counted."""
        return [*(f"{count:,} pictures are {oddity}." for oddity, count in self.odd.items()), *self.remarks()]


def _recognised(data: bytes, name: str) -> Image:
    """The picture with its head read and nothing decoded."""
    _need_pillow()
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise DataError(f"{name} is empty", fix="Copy it again.")
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise DataError(f"{name} is no picture that Pillow can read", fix="Save it as JPEG or PNG.") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        most = f"{Image.MAX_IMAGE_PIXELS or 0:,}"
        raise DataError(f"{name} has more than {most} pixels", fix="Make it smaller: a model sees far less.") from None
    except _DAMAGED as error:
        raise _damaged(name, error) from None


class _words_for:
    """What a decoder raises inside, as a DataError that names the picture."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _DAMAGED):
            raise _damaged(self.name, error) from None


def _damaged(name: str, error: BaseException) -> DataError:
    said = (str(error).splitlines() or [type(error).__name__])[0][:80]
    return DataError(f"{name} is damaged or cut off ({said})", fix="Copy it again.")


def _orientation(image: Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except (*_DAMAGED, TypeError):  # a damaged note on the picture, which is whole
        return 1


def _turned(size: tuple[int, int], turn: int) -> tuple[int, int]:
    return size if turn not in _TURNED or turn < 5 else (size[1], size[0])


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if _orientation(image) in _TURNED else image


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else type(value).__name__ if value is not None else "nothing"
    return repr(text if len(text) <= 80 else f"...{text[-77:]}") if isinstance(value, str) else text


def _need_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise MissingExtra("Pictures need Pillow.", fix="pip install 'nbtrain[vision]'") from None
