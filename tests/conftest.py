"""Tests run offline and write only below their own folder."""

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty working directory, so that runs land nowhere else."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
