"""The folder is the registry."""

import subprocess
import sys

import pytest

from nbtrain import trainers
from nbtrain.errors import ParamError


def test_llm_is_a_room_and_shared_parts_are_not():
    assert "llm" in trainers.names()
    assert not [name for name in trainers.names() if name.startswith(("_", "-"))]


def test_a_room_knows_its_command():
    assert trainers.load("llm").Params.room == "llm"


def test_a_room_has_the_names_that_others_gave_it():
    assert trainers.command("extractive_qa") == "extractive-question-answering"
    assert trainers.command("llm") == "llm"
    assert not set(trainers.ALIASES) & set(trainers.names())


def test_a_room_that_is_not_there_is_told_with_the_nearest():
    with pytest.raises(ParamError, match=r"no trainer 'lllm'. Did you mean llm\?"):
        trainers.load("lllm")


def test_no_room_is_imported_to_name_them_and_none_imports_torch_to_be_read():
    code = """
import sys
from nbtrain import trainers
trainers.names()
print('nbtrain.trainers.llm' in sys.modules)
trainers.load('llm').Params.options()
print({'torch', 'transformers', 'trl', 'datasets', 'numpy'} & set(sys.modules))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    assert found[:2] == ["False", "set()"]
