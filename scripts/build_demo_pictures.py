"""Write the demo of the room for pictures with texts: made up pictures of coloured shapes, asked about and described.

    python scripts/build_demo_pictures.py

Each row has a picture (`image`), a question, its answer, and a caption; all are of this project (its own licence).
"""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent.parent / "nbtrain" / "data" / "demo" / "vlm.parquet"
COLOURS = {"red": (214, 40, 40), "green": (40, 160, 70), "blue": (40, 80, 220), "yellow": (240, 200, 40)}
SHAPES = ("circle", "square", "triangle")
SIDES = {"left": 4, "right": 36}
NUMBERS = ("no", "one", "two")
SIDE, ROWS = 64, 480


def drawn(things: list[tuple[str, str, str]], chance: random.Random) -> bytes:
    """A PNG with these things, (colour, shape, side)."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    for colour, shape, side in things:
        x, y, size = SIDES[side] + chance.randint(-3, 3), chance.randint(6, 34), chance.randint(18, 24)
        if shape == "circle":
            pen.ellipse((x, y, x + size, y + size), fill=COLOURS[colour])
        elif shape == "square":
            pen.rectangle((x, y, x + size, y + size), fill=COLOURS[colour])
        else:
            pen.polygon([(x, y + size), (x + size // 2, y), (x + size, y + size)], fill=COLOURS[colour])
    file = io.BytesIO()
    image.quantize(8).save(file, "PNG", optimize=True)
    return file.getvalue()


def asked(things: list[tuple[str, str, str]], chance: random.Random) -> tuple[str, str]:
    """A question about these things, and its answer."""
    colour, shape, side = chance.choice(things)
    several = len({each for _, each, _ in things}) < len(things)
    kinds = ["colour", "side", "seen"] if not several else ["seen"]
    kind = chance.choice([*kinds, "count"])
    if kind == "colour":
        return f"What colour is the {shape}?", colour
    if kind == "side":
        return f"On which side is the {shape}?", side
    if kind == "count":
        return "How many shapes are there?", NUMBERS[len(things)]
    wanted = chance.choice(list(COLOURS))
    return f"Is there something {wanted}?", "yes" if any(each == wanted for each, _, _ in things) else "no"


def rows() -> list[dict[str, Any]]:
    """The rows of the demo, the same at each call."""
    chance, found = random.Random(0), []
    for at in range(ROWS):
        sides = chance.sample(list(SIDES), chance.randint(1, 2))
        things = [(chance.choice(list(COLOURS)), chance.choice(SHAPES), side) for side in sorted(sides)]
        question, answer = asked(things, chance)
        named = " and ".join(f"a {colour} {shape} on the {side}" for colour, shape, side in things)
        caption = f"{named[0].upper()}{named[1:]}."
        image = {"bytes": drawn(things, chance), "path": f"shapes/{at}.png"}
        found.append({"image": image, "question": question, "answer": answer, "caption": caption})
    return found


def main() -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.Table.from_pylist(rows()), HOME, compression="zstd")


if __name__ == "__main__":
    main()
