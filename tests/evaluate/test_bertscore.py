"""BERTScore beside the authors' own package, and by hand."""

from pathlib import Path

import pytest
import torch

import nbtrain
from nbtrain.evaluate.bertscore import bertscore

SAID = ["the cat sat on a mat", "It rains in the north today.", "no"]
RIGHT = [["the cat is on the mat", "a cat sat on the mat"], ["In the north it rains."], ["yes", "no"]]
# bert-score 0.3.13 with the built-in encoder in fp32: num_layers to precision, recall, F1
REFERENCE = {1: (0.8718598485, 0.8828294277, 0.8772172332), 2: (0.8715694547, 0.8823440671, 0.8768346906)}


@pytest.fixture(scope="module")
def encoder():
    from transformers import AutoModel, AutoTokenizer

    place = Path(nbtrain.__file__).parent / "models" / "tiny" / "text"
    model = AutoModel.from_pretrained(place, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(place)


@pytest.mark.parametrize("layer", REFERENCE)
def test_it_is_that_of_its_authors(encoder, layer):
    found = bertscore(SAID, RIGHT, *encoder, layer)
    assert list(found) == ["bertscore_precision", "bertscore_recall", "bertscore_f1"]
    assert list(found.values()) == pytest.approx(REFERENCE[layer], abs=1e-6)


def test_the_best_reference_counts_and_the_last_layer_is_the_usual_one(encoder):
    both = bertscore(SAID[:1], RIGHT[:1], *encoder)["bertscore_f1"]
    each = [bertscore(SAID[:1], [[right]], *encoder)["bertscore_f1"] for right in RIGHT[0]]
    assert both == pytest.approx(max(each)) and min(each) < max(each)
    layers = encoder[0].config.num_hidden_layers
    assert both == pytest.approx(bertscore(SAID[:1], RIGHT[:1], *encoder, layers)["bertscore_f1"])


def test_a_text_is_as_near_to_itself_as_can_be_and_nothing_is_near_to_nothing(encoder):
    same = bertscore(["one two"], [["one two"]], *encoder)
    assert list(same.values()) == pytest.approx([1, 1, 1], abs=1e-6)
    assert list(bertscore(["", "one"], [["one"], [""]], *encoder).values()) == [0, 0, 0]
