"""Embeddings: what is near what, and that it is measured as others measure it."""

import json
import random

import numpy
import pytest

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.errors import DataError, ParamError

ROOM = trainers.load("st")
DEMO = sources.DEMO.with_name("sentence_transformers.jsonl")
SHORT = {"max_seq_length": 32, "batch_size": 16, "lr": 1e-3, "logging_steps": 1}


def demo(*columns, count=64, **changed):
    """Rows of the demo, these columns of them."""
    rows = [json.loads(line) for line in DEMO.read_text(encoding="utf-8").splitlines()[:count]]
    return [{**{name: row[name] for name in columns}, **changed} for row in rows]


def relations(count):
    """Pairs of one of three classes."""
    chance, rows = random.Random(0), []
    things = ["dog", "tree", "house", "river", "song"]
    for at in range(count):
        one, other = chance.sample(things, 2)
        name = ("same", "other", "unknown")[at % 3]
        second = {"same": one, "other": f"no {one}", "unknown": other}[name]
        rows.append({"premise": f"there is a {one} here {at}", "hypothesis": f"there is {second}", "label": name})
    return rows


def warned(found):
    return "\n".join(event.message for event in found.events if event.kind == "warned")


@pytest.fixture(scope="session")
def scored(in_room):
    return in_room("sentence-transformers", epochs=4, valid_fraction=0.2, **SHORT)


@pytest.fixture(scope="session")
def found_by(in_room):
    return in_room("sentence-transformers", trainer="qa", epochs=3, valid_fraction=0.2, **SHORT)


def test_it_learns_which_sentences_mean_the_same(scored):
    first, last = scored.evaluations[0], scored.evaluations[-1]
    assert last["spearman"] > first["spearman"] + 0.05
    assert scored.values["spearman"] == max(each["spearman"] for each in scored.evaluations)


def test_the_figures_are_those_of_scipy_on_what_the_saved_model_says(scored):
    from scipy.stats import pearsonr, spearmanr
    from sentence_transformers import SentenceTransformer

    from nbtrain.data import read

    rows = read.read(scored.params, scored.folder.data).valid
    model = SentenceTransformer(str(scored.folder.model), device="cpu")
    one, other = (model.encode(list(rows[name]), normalize_embeddings=True) for name in ("sentence1", "sentence2"))
    near = (one * other).sum(1)
    assert scored.values["spearman"] == pytest.approx(spearmanr(near, rows["score"][:])[0], abs=1e-3)
    assert scored.values["pearson"] == pytest.approx(pearsonr(near, rows["score"][:])[0], abs=1e-3)
    assert model.max_seq_length == 32


def test_samples_and_report_name_the_neighbours_of_held_out_texts(scored):
    sample = [event for event in scored.events if event.kind == "sampled"][-1].samples[0]
    near = [float(line.split(" ", 1)[0]) for line in sample["output"].splitlines()]
    assert len(near) == 3 and near == sorted(near, reverse=True) and sample["expected"].endswith(")")
    assert len(scored.report["worst"]) == 20
    assert scored.report["neighbours"][0]["prompt"] == sample["prompt"]


def test_predict_gives_vectors_and_cosines(scored):
    model, tokenizer = ROOM.opened(scored.params, str(scored.folder.model))
    pair = ("A man buys a car.", "A gentleman buys a car.")
    vector, same, mapped, several = ROOM.predict(
        scored.params, model, tokenizer, [pair[0], pair, {"sentence1": pair[0], "sentence2": pair[1]}, [*pair, pair[0]]]
    )
    expected = model.similarity(*model.encode(list(pair)))[0][0].item()
    assert vector == pytest.approx(model.encode([pair[0]])[0].tolist(), abs=1e-5)
    assert same == mapped == pytest.approx(expected, abs=1e-5)
    assert several == pytest.approx([expected, 1.0], abs=1e-5)
    assert ROOM.predict(scored.params, model, tokenizer, []) == []
    with pytest.raises(ParamError, match="has no settings; found threshold"):
        ROOM.predict(scored.params, model, tokenizer, ["a"], threshold=1)
    with pytest.raises(ParamError, match="a row to predict is a text"):
        ROOM.predict(scored.params, model, tokenizer, [3])


def test_the_saved_model_is_measured_again(scored, table):
    again = ROOM.evaluate(scored.params, str(scored.folder.model))
    assert again == pytest.approx({name: scored.values[name] for name in again}, abs=1e-3)
    other = ROOM.evaluate(
        scored.params, str(scored.folder.model), table(demo("sentence1", "sentence2", "score", count=300))
    )
    assert other["spearman"] > 0.3


def test_the_snippet_of_the_card_runs(scored, monkeypatch, capsys):
    monkeypatch.chdir(scored.folder.path)
    library, code = ROOM.usage(scored.params, scored.folder.model)
    exec(code, {})
    assert library == "sentence-transformers"
    assert capsys.readouterr().out.startswith("(3, 96)")


def test_a_search_finds_answers_as_a_plain_count_does(found_by):
    from nbtrain.data import read

    assert "sentence1 from anchor, sentence2 from positive" in warned(found_by)
    rows = read.read(found_by.params, found_by.folder.data).valid
    model, _ = ROOM.opened(found_by.params, str(found_by.folder.model))
    queries, answers = list(dict.fromkeys(rows["anchor"])), list(dict.fromkeys(rows["positive"]))
    right = {query: set() for query in queries}
    for row in rows:
        right[row["anchor"]].add(row["positive"])
    near = model.encode(queries, normalize_embeddings=True) @ model.encode(answers, normalize_embeddings=True).T
    ranks = []
    for query, row in zip(queries, near, strict=True):
        order = [answers[at] for at in (-row).argsort()]
        ranks.append(1 + min(order.index(answer) for answer in right[query]))
    ranks = numpy.array(ranks)
    assert found_by.values["mrr@10"] == pytest.approx(numpy.where(ranks <= 10, 1 / ranks, 0).mean(), abs=1e-3)
    assert found_by.values["recall@3"] == pytest.approx((ranks <= 3).mean(), abs=1e-3)
    assert found_by.evaluations[-1]["loss"] < found_by.evaluations[0]["loss"]


def test_classes_are_measured_by_the_head_and_told_in_tables(in_room, table):
    given = {**SHORT, "trainer": "pair_class", "data_path": table(relations(90)), "epochs": 1}
    found = in_room("sentence-transformers", **given)
    assert "one of 3 classes: other, same, unknown" in warned(found)
    counts = numpy.array(found.report["confusion"]["counts"])
    assert found.values["accuracy"] == pytest.approx(counts.trace() / counts.sum(), abs=1e-6)
    assert [row["label"] for row in found.report["classes"]] == ["other", "same", "unknown"]
    assert (found.folder.figures / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert ROOM.evaluate(found.params, str(found.folder.model)) is None


def test_rows_that_no_batch_has_a_place_for_are_told(in_room, table):
    rows = [{"question": f"question {at}", "answer": f"answer {at % 4}"} for at in range(32)]
    given = {**SHORT, "trainer": "qa", "data_path": table(rows), "valid_fraction": 0, "epochs": 1}
    found = in_room("sentence-transformers", **given)
    assert len(found.losses) == 2  # of 16 rows each, if they were not the same
    assert "an epoch takes in 8 of 32 rows at most" in warned(found)
    assert "an epoch takes in" not in warned(in_room("sentence-transformers", **{**given, "batch_size": 4}))


@pytest.mark.parametrize("loss", [None, "online_contrastive"])
def test_classes_0_and_1_are_told_apart_by_their_distance(in_room, loss):
    found = in_room("sentence-transformers", trainer="pair_class", max_steps=4, loss=loss, **SHORT)
    assert {"average_precision", "accuracy", "f1"} <= found.values.keys()
    assert 0.1 < found.values["average_precision"] <= 1


@pytest.mark.parametrize("loss", [None, "triplet", "cached_multiple_negatives"])
def test_triplets_are_measured_by_which_text_is_nearer(in_room, loss):
    found = in_room("sentence-transformers", trainer="triplet", max_steps=4, loss=loss, mini_batch_size=4, **SHORT)
    assert 0 <= found.values["accuracy"] <= 1
    assert len(found.losses) == 4


def test_scores_of_any_unit_become_cosines(in_room):
    found = in_room("sentence-transformers", max_steps=3, loss="cosine", **SHORT)
    assert "The scores are from 0 to 5; for the loss cosine they are brought between 0 and 1" in warned(found)
    assert max(found.losses) < 1


@pytest.mark.parametrize(
    ("trainer", "bad", "told"),
    [
        ("pair", {"anchor": "a", "positive": None}, "line 5, column positive: nothing there (null)"),
        ("pair", {"anchor": " ", "positive": "b"}, "line 5, column anchor: empty text"),
        ("triplet", {"anchor": "a", "positive": "b", "negative": "b"}, "line 5, column negative: the same text as in"),
        ("pair_score", {"sentence1": "a", "sentence2": "b", "score": "near"}, "line 5, column score: a number is"),
    ],
)
def test_rows_that_cannot_be_used_are_told_before_a_model_is_opened(in_room, table, trainer, bad, told):
    with pytest.raises(DataError) as raised:
        data = table([*demo(*bad, count=4), bad])
        in_room("sentence-transformers", trainer=trainer, data_path=data, valid_fraction=0, model="no/such/model")
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"trainer": "pair", "loss": "cosent"}, "--loss cosent is none of pair, which has multiple_negatives"),
        ({"trainer": "qa", "batch_size": 1}, "--batch-size 1 leaves no other row"),
    ],
)
def test_what_does_not_suit_the_rows_is_refused(given, told):
    with pytest.raises(ParamError, match=told):
        ROOM.Params(**given)


def test_scores_that_are_all_the_same_are_told_before_a_model_is_opened(in_room, table):
    data = table(demo("sentence1", "sentence2", score=3))
    with pytest.raises(DataError, match="Column score has only the score 3: there is nothing to tell apart"):
        in_room("sentence-transformers", data_path=data, model="no/such/model")


def test_one_held_out_row_has_no_correlation(in_room, table):
    data = table(demo("sentence1", "sentence2", "score", count=9))
    found = in_room("sentence-transformers", data_path=data, max_steps=2, **SHORT)
    assert numpy.isnan(found.values["spearman"]) and numpy.isfinite(found.values["loss"])


def test_a_metric_that_is_not_measured_is_refused_before_a_model_is_opened(in_room):
    with pytest.raises(ParamError, match="--metric accuracy is not measured by pair_score"):
        in_room("sentence-transformers", metric="accuracy", model="no/such/model")


def test_columns_are_found_by_their_order_or_named(table, tmp_path):
    rows = [{"a": f"question {at}", "b": f"answer {at}"} for at in range(20)]
    lines = ROOM.check(ROOM.Params(trainer="qa", data_path=table(rows)), tmp_path / "one")
    assert any("Read as qa: sentence1 from a, sentence2 from b" in line for line in lines)
    named = ROOM.Params(trainer="pair", data_path=table(rows), sentence1_column="b", sentence2_column="a")
    assert any("sentence1 from b, sentence2 from a" in line for line in ROOM.check(named, tmp_path / "two"))
    with pytest.raises(DataError, match="no column for sentence3 of triplet; there are a, b"):
        ROOM.check(named.but(trainer="triplet"), tmp_path / "three")
