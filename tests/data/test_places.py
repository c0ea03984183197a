"""Where rows stand in their files, when some of them are taken out."""

import random

from nbtrain.data.places import Places


def test_places_without_some_rows_are_those_of_the_others():
    chance, places, numbers = random.Random(0), Places(), []
    for at in range(200):
        numbers.append((numbers[-1] if numbers else 0) + chance.choice((1, 1, 1, 4)))
        places.add(at, "file", numbers[-1], "row")
    out = sorted(chance.sample(range(200), 60))
    rest = [number for at, number in enumerate(numbers) if at not in out]
    without = places.without(out)
    assert [without.find(at)[0] for at in range(len(rest))] == rest
