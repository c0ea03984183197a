"""Text to text: which columns are read as what."""

import pytest

from nbtrain.data import targets


def read(rows, **named):
    from datasets import Dataset

    dataset = Dataset.from_list(rows)
    form = targets.recognise(dataset, named=named)
    return form, form.read(dataset[0])


@pytest.mark.parametrize(
    ("row", "source", "references"),
    [
        ({"text": "a", "summary": "b"}, "a", ("b",)),
        ({"en": "a", "fr": "b"}, "a", ("b",)),
        ({"id": 1, "article": "a", "highlights": "b"}, "a", ("b",)),
        ({"source": "a", "target": ["b", "c"]}, "a", ("b", "c")),
        ({"source": "a", "target": "b", "references": ["b", "c"]}, "a", ("b", "c")),
        ({"translation": {"en": "a", "fr": "b"}}, "a", ("b",)),
    ],
    ids=str,
)
def test_pairs_come_in_every_form(row, source, references):
    assert read([row])[1] == (source, references)


def test_columns_can_be_named():
    assert read([{"en": "a", "fr": "b", "de": "c"}], source="de", target="en")[1] == ("c", ("a",))
