"""Write the demo data of the room sentence-transformers: sentences made up here, by rules.

A row serves every method: an anchor with a text that says the same (positive) and one that does not (negative); and two
sentences with a score from 0 to 5, their shared meaning, and a label, whether they say the same.

python scripts/build_demo_pairs.py
"""

from __future__ import annotations

import json
import random
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "nbtrain" / "data" / "demo" / "sentence_transformers.jsonl"
ROWS = 320
WORDS = (
    (("a man", "a gentleman"), ("a child", "a kid"), ("a woman", "a lady"), ("a doctor", "a physician")),
    (("buys", "purchases"), ("repairs", "fixes"), ("carries", "takes along"), ("looks at", "watches")),
    (("a car", "an automobile"), ("a couch", "a sofa"), ("a picture", "a painting"), ("a bike", "a bicycle")),
    (("in the town", "in the city"), ("near the sea", "by the ocean"), ("at home", "in the house")),
    (("quickly", "in a hurry"), ("in the evening", "at nightfall"), ("for a friend", "for a companion")),
)
"""By place in a sentence: meanings, each with its words."""

Meaning = tuple[int, ...]


def sentence(meaning: Meaning, chance: random.Random) -> str:
    """One way of saying it."""
    words = " ".join(chance.choice(choices[at]) for choices, at in zip(WORDS, meaning, strict=True))
    return f"{words[0].upper()}{words[1:]}."


def moved(meaning: Meaning, count: int, chance: random.Random) -> Meaning:
    """Another meaning, which differs in so many places."""
    places = chance.sample(range(len(WORDS)), count)
    return tuple(
        chance.choice([other for other in range(len(WORDS[place])) if other != at]) if place in places else at
        for place, at in enumerate(meaning)
    )


def main() -> None:
    """Write the file."""
    chance, rows = random.Random(42), []
    for number in range(ROWS):
        meaning = tuple(chance.randrange(len(choices)) for choices in WORDS)
        anchor, positive = "", ""
        while anchor == positive:
            anchor, positive = (sentence(meaning, chance) for _ in range(2))
        apart = number % (len(WORDS) + 1)
        row = {
            "anchor": anchor,
            "positive": positive,
            "negative": sentence(moved(meaning, chance.randint(1, 3), chance), chance),
            "sentence1": sentence(meaning, chance),
            "sentence2": sentence(moved(meaning, apart, chance), chance),
            "score": float(len(WORDS) - apart),
            "label": int(apart <= 1),
        }
        rows.append(json.dumps(row))
    OUT.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
