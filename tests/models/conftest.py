"""The parameters that a language model is opened with, and folders with models that have one thing wrong."""

import shutil

import pytest

from nbtrain.models import load
from nbtrain.params import blocks
from nbtrain.params.base import Params


class ModelParams(Params, blocks.Model, blocks.Precision, blocks.Peft):
    room = "llm"


@pytest.fixture
def params():
    return ModelParams


@pytest.fixture
def tiny_copy(tmp_path):
    """A copy of the built-in model, to be spoiled."""
    return shutil.copytree(load.TINY, tmp_path / "copy")
