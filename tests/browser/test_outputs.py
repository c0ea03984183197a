"""What a cell shows: a run is one output, a failure is one screen and an error."""

import pytest

from nbtrain.runs import status

pytestmark = pytest.mark.browser

SHORT = (
    "llm --trainer sft --batch-size 4 --max-samples 20 --max-seq-length 64 --sample-max-new-tokens 4 --max-steps 2 "
    "--save-strategy no --eval-strategy no"
)
WRONG = """
import pandas
questions = pandas.DataFrame({"asked": ["What is red?", "What is blue?"] * 9, "answerd": ["A colour."] * 18})
"""


def views(lab):
    """How many outputs each cell has, and how many of them are the view of a run."""
    shown = [lab.outputs(index) for index in range(len(lab.page.locator(".jp-Notebook .jp-Cell").all()))]
    return [
        (len(cell), sum("nbtrain" in "".join(each.get("data", {}).get("text/html", "")) for each in cell))
        for cell in shown
    ]


def test_a_run_is_one_output_wherever_it_is_shown_with_and_without_a_semicolon(lab):
    lab.open(
        "rows = [{'prompt': f'What is {n}?', 'response': 'A number.'} for n in range(30)]",
        f"%autotrain {SHORT} --df rows --project-name last",
        "run = %autotrain show last",
        "run",
        "run = %autotrain show last;",
        "display(run)",
        "print(run)",
        "%autotrain show last;",
        "run, 1",
        "%autotrain check llm --trainer sft --df rows",
        f"run = %autotrain {SHORT} --project-name quiet\nrun",
    )
    for index in range(1, 12):
        lab.run(index, 90)
    one, text = (1, 1), (1, 0)
    assert views(lab)[2:] == [one, one, one, one, one, text, one, text, one, one]
    assert "Run('last': finished, step 2)" in lab.text(7)
    assert "30 rows" in lab.text(10)


def test_a_failure_is_one_screen_with_what_where_why_and_what_to_do(lab):
    lab.open(
        WRONG,
        f'%autotrain {SHORT} --df questions --column-mapping \'{{"prompt": "asked", "response": "answered"}}\' '
        "--project-name wrong",
        "%autotrain why",
        "%autotrain llm --df question",
        "6 * 7",
    )
    for index in range(1, 6):
        lab.run(index, 90)
    assert views(lab) == [(0, 0), (0, 0), (2, 1), (1, 0), (1, 0), (1, 0)]
    *_, error = lab.outputs(2)
    assert (error["output_type"], error["ename"]) == ("error", "DataError"), "what runs notebooks stops here"
    assert error["traceback"] == [
        "DataError: There is no column 'answered' for response; there are asked, answerd. Did you mean answerd?",
        f"  where: --data-path {lab.runs()[0].path}/data/train.parquet",
        '  what to do: Name one of them: --column-mapping \'{"response": "..."}\'.',
    ], "no frames of ours"
    assert "failed" in lab.text(2)
    assert status.read(lab.runs()[0]).state == "failed"
    assert "Traceback" in lab.text(3) and "answered" in lab.text(3), "the rest is one word away"
    assert lab.outputs(4)[0]["output_type"] == "error"
    assert lab.text(4).split("\n")[-4:] == [
        "ParamError: there is no variable question. Did you mean questions?",
        "  where: --df question",
        "  why: those that hold rows: questions (18 rows; columns: asked, answerd)",
        "  what to do: name a variable; a file: --data-path FILE.",
    ]
    assert "42" in lab.text(5), "the kernel goes on"
    lab.picture("failure")
