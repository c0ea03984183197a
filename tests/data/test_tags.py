"""Tagged texts in every form in which they come."""

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from nbtrain.data import conll, tags
from nbtrain.data.tags import Entity

WANTED = (("a", "b", "c"), ("O", "B-x", "I-x"))


def read(rows, **given):
    dataset = rows if isinstance(rows, Dataset) else Dataset.from_list(rows)
    form = tags.recognise(dataset, **given)
    return form, form.read(dataset[0])


@pytest.mark.parametrize(
    "row",
    [
        {"tokens": ["a", "b", "c"], "ner_tags": ["O", "B-x", "I-x"]},
        {"words": "a b c", "labels": "O B-x I-x"},
        {"tokens": '["a", "b", "c"]', "tags": '["O", "B-x", "I-x"]'},
        {"tokens": "['a', 'b', 'c']", "tags": "['O', 'B-x', 'I-x']"},
        {"tokens": "['a' 'b'\n 'c']", "tags": "['O' 'B-x' 'I-x']"},
    ],
    ids=str,
)
def test_lists_come_in_every_form(row):
    form, found = read([row])
    assert found == WANTED
    assert form.names == ("O", "B-x", "I-x") and form.entities


def test_numbers_have_the_names_that_the_data_say():
    kinds = Features({"tokens": List(Value("string")), "tags": List(ClassLabel(names=["O", "B-x", "I-x"]))})
    dataset = Dataset.from_dict({"tokens": [["a", "b", "c"]], "tags": [[0, 1, 2]]}, features=kinds)
    form, found = read(dataset)
    assert found == WANTED and form.names == ("O", "B-x", "I-x")


def test_numbers_without_names_are_their_own():
    form, found = read([{"tokens": ["a", "b"], "tags": [0, 3]}])
    assert found.tags == ("0", "3")
    assert form.names == ("0", "1", "2", "3") and not form.entities


def test_an_inside_without_a_beginning_begins_an_entity_and_is_told():
    form, found = read([{"tokens": ["a", "b", "c"], "tags": ["I-x", "I-x", "I-y"]}])
    assert tags.entities(found.tags) == [Entity("x", 0, 2), Entity("y", 2, 3)]
    assert form.orphans == 1
    assert any("an I- has no B- before it" in note for note in form.notes())


def test_a_rightly_tagged_text_has_no_orphans():
    form, found = read([{"tokens": list("abcd"), "tags": ["B-x", "I-x", "B-x", "O"]}])
    assert form.orphans == 0
    assert tags.entities(found.tags) == [Entity("x", 0, 2), Entity("x", 2, 3)]


def test_tags_that_only_held_out_rows_have_are_told():
    held_out = Dataset.from_list([{"tokens": ["z"], "tags": ["B-rare"]}])
    form, _ = read([{"tokens": ["a", "b"], "tags": ["O", "B-x"]}], held_out=held_out)
    assert form.names == ("O", "B-rare", "B-x") and form.unlearnt == ("B-rare",)


def test_marked_text_shows_entities_or_tags():
    form, found = read([{"tokens": ["a", "b", "c"], "tags": ["O", "B-x", "I-x"]}])
    assert form.marked(*found) == "a [b c: x]"
    form, found = read([{"tokens": ["a", "b"], "tags": ["DET", "NOUN"]}])
    assert form.marked(*found) == "a/DET b/NOUN"


def lines(path, content, reader):
    path.write_text(content, encoding="utf-8")
    return list(reader(path))


def test_conll_files_are_read_by_sentence(tmp_path):
    content = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\n#tag NN O\n"
    rows = lines(tmp_path / "a.conll", content, conll.read_conll)
    assert [number for number, *_ in rows] == [1, 2]
    assert rows[0][1] == {"tokens": ["EU", "rejects"], "column 2": ["NNP", "VBZ"], "tags": ["B-ORG", "O"]}
    assert rows[1][1]["tokens"] == ["#tag"]


def test_a_sentence_of_unequal_columns_is_told(tmp_path):
    (first, second) = lines(tmp_path / "a.conll", "a O\nb\n\nc O\n", conll.read_conll)
    assert first[1].reason == "token 2 has 1 columns, the first one 2"
    assert second[1]["tags"] == ["O"]


def test_universal_dependencies_are_read_without_wholes_of_two_words(tmp_path):
    def line(number, word, tag):
        return "\t".join([number, word, word, tag, "X", "_", "_", "_", "_", "_"])

    content = "\n".join(["# text = don't", line("1-2", "don't", "_"), line("1", "do", "AUX"), line("2", "n't", "PART")])
    (row,) = lines(tmp_path / "a.conllu", content + "\n", conll.read_conllu)
    assert row[1]["tokens"] == ["do", "n't"] and row[1]["upos"] == ["AUX", "PART"]
