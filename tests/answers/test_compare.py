"""Runs beside each other: what differs, which is best, what each says to the same prompt."""

import pytest

import nbtrain
from nbtrain.errors import ParamError, RunError


def test_the_parameters_that_differ_stand_side_by_side_and_no_others(made_run):
    made_run("one", [3.0, 2.0], lr=1e-3, batch_size=4)
    made_run("two", [3.0, 1.0], lr=1e-2, batch_size=4)
    found = nbtrain.compare("one", "two")
    assert found.settings == (("lr", ("0.001", "0.01")),)
    assert "lr  0.001  0.01" in [" ".join(line.split()).replace(" ", "  ") for line in found.lines()]


def test_the_best_is_named_by_the_value_of_its_evaluations(made_run):
    made_run("one", [3.0, 2.0], evaluations={1: 2.0, 2: 2.5})
    made_run("two", [3.0, 1.0], evaluations={1: 3.0, 2: 1.5})
    found = nbtrain.compare("one", "two")
    assert found.sentence() == "The best validation loss is 1.500, of two."
    assert ("best validation loss", "2.000 at step 1", "1.500 at step 2") in found.results()


def test_answers_to_a_shared_prompt_stand_side_by_side(made_run):
    made_run("one", [1.0], samples=[{"prompt": "A colour?", "output": "Red."}, {"prompt": "Mine?", "output": "No."}])
    made_run("two", [1.0], samples=[{"prompt": "A colour?", "output": "Blue."}])
    assert nbtrain.compare("one", "two").prompts == (("A colour?", ("Red.", "Blue.")),)


def test_a_variable_is_known_by_its_content_not_by_the_folder_it_was_put_into(made_run):
    rows, others = [{"text": f"row {n}"} for n in range(4)], [{"text": "another"}]
    made_run("one", [1.0], data_path=rows)
    made_run("two", [1.0], data_path=rows)
    made_run("three", [1.0], data_path=others)
    assert nbtrain.compare("one", "two").settings == ()
    ((name, values),) = nbtrain.compare("one", "three").settings
    assert name == "data_path" and values[0] != values[1]
    assert all(value.startswith("train, a variable of the notebook") for value in values)


def test_runs_that_cannot_be_compared_are_refused(made_run):
    run = made_run("one", [1.0])
    for given, told in (((run,), "2 to 8 runs; found 1"), ((run, "one"), "given one twice")):
        with pytest.raises(ParamError, match=told):
            nbtrain.compare(*given)
    with pytest.raises(RunError, match="There is no run"):
        nbtrain.compare("one", "nothing")
