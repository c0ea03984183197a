"""A function that outlives its notebook: as a file where its source can stand alone, else as a pickle."""

import math
import subprocess
import sys
from fractions import Fraction

import pytest

from nbtrain.data import functions
from nbtrain.errors import ParamError

FACTOR = 3


def helper(value):
    return value * FACTOR


def plain(value, more=1):
    return [helper(each) + math.floor(more) for each in (value,)]


def of_a_class(value: Fraction):
    return Fraction(value) / 2


def test_its_source_comes_with_all_that_it_uses(tmp_path):
    path = functions.store(plain, tmp_path / "kept")
    assert path.name == "plain.py"
    code = f"from nbtrain.data import functions; print(functions.load({str(path)!r})(2))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert said.stdout == "[7]\n"


def test_a_class_that_can_be_imported_is_imported(tmp_path):
    path = functions.store(of_a_class, tmp_path)
    assert "from fractions import Fraction" in path.read_text()
    assert functions.load(path)(3) == Fraction(3, 2)


def test_what_has_no_source_of_its_own_is_pickled(tmp_path):
    kept = [1, 2]

    def closure(value):
        return value in kept

    for function, given, expected in ((closure, 2, True), (lambda value: value + 1, 2, 3)):
        path = functions.store(function, tmp_path)
        assert (
            path.suffix == ".pkl" and functions.load(path)(given) is expected or functions.load(path)(given) == expected
        )


def test_one_that_cannot_be_handed_on_is_refused(tmp_path):
    lock = __import__("threading").Lock()

    def held():
        return lock

    with pytest.raises(ParamError, match="the function held cannot be handed to the training process"):
        functions.store(held, tmp_path)


def test_functions_are_kept_where_they_stand_in_a_list(tmp_path):
    found = functions.kept(["length", plain, {"name": "format"}, lambda: 1, lambda: 2], tmp_path)
    assert found[:3] == ["length", str(tmp_path / "1" / "plain.py"), {"name": "format"}]
    assert functions.load(found[1])(1) == [4]
    assert [functions.load(each)() for each in found[3:]] == [1, 2]


def test_a_module_and_a_file_name_a_function(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def mine():\n    return 1\n\ndef other():\n    return 2\n")
    assert functions.load("math:sqrt")(4) == 2
    assert functions.load(f"{path}:other")() == 2 and functions.load(path)() == 1
    assert functions.is_place("math:sqrt") and functions.is_place(str(path)) and not functions.is_place("length")
    with pytest.raises(ParamError, match="there is no file"):
        functions.load(str(tmp_path / "none.py") + ":mine")
    with pytest.raises(ParamError, match="Did you mean sqrt"):
        functions.load("math:sqr")
    path.write_text("raise ValueError('broken')")
    with pytest.raises(ParamError, match="cannot be loaded") as found:
        functions.load(path)
    assert found.value.where.startswith("mine.py, line 1")
