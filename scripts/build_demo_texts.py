"""Write the demo data of the rooms seq2seq and extractive-question-answering: sentences made up here, by rules.

python scripts/build_demo_texts.py
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent.parent / "nbtrain" / "data" / "demo"
ROWS = 400
EVENTS = ("meeting", "concert", "exam", "flight", "dinner", "lecture", "party", "market", "race", "visit")
PEOPLE = ("Anna", "Boris", "Clara", "David", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kira", "Liam")
TOWNS = ("Oslo", "Lima", "Turin", "Kyoto", "Porto", "Quito", "Dublin", "Riga", "Tunis", "Graz")
TRADES = ("baker", "nurse", "pilot", "farmer", "painter", "teacher", "tailor", "gardener", "plumber", "singer")
ANIMALS = ("a grey cat", "a small dog", "two rabbits", "an old parrot", "three fish", "a brown horse")


def dates(chance: random.Random) -> Iterable[dict[str, str]]:
    """A sentence with a date in words, and the date in figures."""
    for _ in range(ROWS):
        day = date(1990, 1, 1) + timedelta(days=chance.randrange(12_000))
        written = chance.choice((f"{day.day} {day:%B} {day.year}", f"{day:%B} {day.day}, {day.year}"))
        sentence = chance.choice(
            ("The {} is on {}.", "We have a {} on {}.", "On the calendar: {}, {}.", "Nobody came to the {} of {}.")
        )
        yield {"source": sentence.format(chance.choice(EVENTS), written), "target": day.isoformat()}


def questions(chance: random.Random) -> Iterable[dict[str, Any]]:
    """A few sentences about two people, and a question about one of them that they may leave open."""
    for number in range(ROWS):
        people = chance.sample(PEOPLE, 2)
        facts = {
            person: {
                "Where does {} live?": ("{} lives in {}.", chance.choice(TOWNS)),
                "What does {} work as?": ("{} works as a {}.", chance.choice(TRADES)),
                "What does {} keep at home?": ("{} keeps {} at home.", chance.choice(ANIMALS)),
            }
            for person in people
        }
        told = [(person, question) for person in people for question in facts[person]]
        chance.shuffle(told)
        left_out = told.pop()
        asked = left_out if number % 5 == 0 else chance.choice(told)
        context, answers = "", {"text": [], "answer_start": []}
        for person, question in told:
            sentence, fact = facts[person][question]
            if (person, question) == asked:
                before = sentence.rpartition("{}")[0].format(person)
                answers = {"text": [fact], "answer_start": [len(context) + len(before)]}
            context += sentence.format(person, fact) + " "
        yield {"context": context.strip(), "question": asked[1].format(asked[0]), "answers": answers}


def main() -> None:
    for name, make in (("seq2seq", dates), ("extractive_question_answering", questions)):
        rows = (json.dumps(row) + "\n" for row in make(random.Random(0)))
        (HOME / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
