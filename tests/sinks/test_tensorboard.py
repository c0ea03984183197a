"""TensorBoard: the scalars that are written, and what is said where it is not installed."""

import sys
from types import ModuleType

import pytest

from nbtrain import events
from nbtrain.errors import MissingExtra
from nbtrain.sinks.tensorboard import TensorBoard


@pytest.fixture
def writer(monkeypatch):
    """Stands in for tensorboard's writer; what was written is in the list."""
    written = []

    class Writer:
        def __init__(self, folder):
            written.append(("folder", folder))

        def add_scalar(self, tag, value, step):
            written.append((tag, value, step))

        def flush(self):
            written.append("flush")

    package, summary = ModuleType("tensorboard"), ModuleType("tensorboard.summary")
    summary.Writer = Writer
    monkeypatch.setitem(sys.modules, "tensorboard", package)
    monkeypatch.setitem(sys.modules, "tensorboard.summary", summary)
    return written


def test_training_values_and_evaluations_become_scalars(writer, tmp_path):
    board = TensorBoard(tmp_path)
    board(events.Logged(step=1, values={"loss": 2.0, "learning_rate": 1e-3}))
    board(events.Warned(message="nothing to draw"))
    board(events.Evaluated(step=2, values={"loss": 1.5}))
    assert writer == [
        ("folder", str(tmp_path)),
        ("train/loss", 2.0, 1),
        ("train/learning_rate", 1e-3, 1),
        ("eval/loss", 1.5, 2),
        "flush",
    ]


def test_it_is_named_where_it_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(MissingExtra, match="needs tensorboard") as caught:
        TensorBoard(tmp_path)
    assert "pip install tensorboard" in caught.value.fix
