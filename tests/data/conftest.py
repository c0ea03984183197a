"""Parameters of data as a room has them, and a small tokenizer made on the spot."""

import pytest
from pydantic import BaseModel

from nbtrain.params.base import Params
from nbtrain.params.blocks import Basic, Data, Model


class _Params(Data, Basic, Model, Params):
    """The blocks that `read` reads."""


@pytest.fixture
def params():
    """Make parameters: params(data_path=..., ...)."""

    def make(source, **values) -> BaseModel:
        source = str(source) if hasattr(source, "__fspath__") else source
        return _Params(data_path=source, **values)

    return make


@pytest.fixture
def rows(params, tmp_path):
    """Read a source without a held-out part: rows(source) gives Splits."""
    from nbtrain.data import read

    def make(source, **values):
        return read.read(params(source, **{"valid_fraction": 0, **values}), tmp_path / "cache")

    return make


@pytest.fixture(scope="session")
def tokenizer():
    """Byte-level BPE with the marks of chatml and phi; no template of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|end|>"]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(
        ["the user asks and the assistant answers", "what is the name of the sea"] * 20, trainer
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", extra_special_tokens=special[1:]
    )
