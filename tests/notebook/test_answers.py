"""Answers as pages: the figures stand in tables, lines are told apart, and text from outside stays text."""

from collections import Counter

import pytest

from nbtrain.answers import Answer
from nbtrain.answers.chat import Said
from nbtrain.answers.check import Checked
from nbtrain.answers.compare import Comparison, Side
from nbtrain.answers.plan import Change, Plan
from nbtrain.answers.rates import Rates
from nbtrain.answers.runs import Listed, Listing
from nbtrain.data.check import Rendered
from nbtrain.data.places import Fault
from nbtrain.notebook.answers import bundle
from nbtrain.notebook.plot import LOOKS
from nbtrain.runs.curve import Curves
from nbtrain.runs.record import Record

MB = 10**6
PAYLOADS = [
    "<script>alert(1)</script>",
    "</td></table></div><iframe src=//x.example></iframe>",
    '" onmouseover="alert(1)" x=\'',
    "</title></svg><img src=x onerror=alert(1)>",
    "\x1b[31mred \u202egnp.exe\u202c \x00",
    "$name ${name} {name} %s &lt;b&gt;",
]


def curves(losses):
    return Curves().update(Record(series={"loss": list(enumerate(losses, start=1))})).loss


def listing(text="a run"):
    listed = Listed(text, "finished", 3, 3, (text, 2.5), 12.0, curves([3.0, 2.0, 1.0]))
    return Listing("a folder", (listed,), older=2)


def comparison(text="a run"):
    record = Record(step=3, evaluations=[{"step": 3, "loss": 1.5}], series={"loss": [(1, 3.0), (2, 2.0), (3, 1.0)]})
    folded = Curves().update(record)
    side = Side(text, text, "finished", record, folded.loss, folded.valid, text, "loss", {}, {})
    return Comparison((side, side), ((text, (text, "other")),), ((text, (text, text)),))


def rates(text="llm sft"):
    points = [10.0**power for power in range(-6, 1)]
    return Rates(text, tuple(points), (4.0, 4.0, 3.0, 2.0, 2.5, 9.0, 50.0), 1e-4, 7)


def plan(text="llm sft tiny", held=600 * MB, changes=()):
    memory = {"libraries and rows": 500 * MB, "parameters": held}
    return Plan(
        text, "cpu", 10, memory, {"steps": 4.0}, {"model": MB}, 1000 * MB, 10_000 * MB,
        changes or (Change(text, 3 * MB, text),), (text,),
    )  # fmt: skip


def checked(text="a text"):
    return Checked(
        text,
        (text, f"  {text}"),
        {"train": (((text, text),),), "valid": ()},
        (Fault("train", 3, text, text, text, text),),
        {"train": Counter({text: 3, "other": 1}), "valid": Counter({text: 1})},
        Rendered(((text, ((text, False), (text, True))),), (text,), text),
        ((text, "/9j/4AAQ"),),
    )


ANSWERS = [listing, comparison, rates, plan, checked, lambda text="a text": Said(text, text, text, text, text)]


@pytest.mark.parametrize("made", ANSWERS)
@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_no_text_becomes_markup(made, payload, page_of):
    plain, other = page_of(bundle(made())["text/html"]), page_of(bundle(made(payload))["text/html"])
    assert other.tags == plain.tags
    assert not {"\x1b", "\u202e", "\x00"} & set(bundle(made(payload))["text/plain"])


@pytest.mark.parametrize("made", ANSWERS)
def test_an_answer_is_drawn_and_told(made):
    shown = bundle(made())
    assert shown["text/html"].startswith('<div class="nbtrain mathjax_ignore')
    assert shown["text/plain"] == str(made())
    assert len(shown["text/html"]) < 30_000


def test_an_answer_that_nobody_draws_is_still_told():
    class Other(Answer):
        def lines(self):
            return ["one", "two"]

    assert bundle(Other()) == {"text/plain": "one\ntwo"}


def test_the_figures_stand_in_tables_without_the_drawing(page_of):
    tables = page_of(bundle(plan())["text/html"]).tables
    rows = [row for table in tables for row in table]
    assert ["■ parameters", "600 MB"] in rows and ["memory", "1.1 GB"] in rows
    assert ["best validation loss", "1.500 at step 3", "1.500 at step 3"] in page_of(
        bundle(comparison())["text/html"]
    ).tables[0]


def test_lines_of_a_comparison_differ_by_more_than_colour():
    assert len({dashes for _, dashes in LOOKS}) == len({colour for colour, _ in LOOKS}) == len(LOOKS)
    html = bundle(comparison())["text/html"]
    assert 'stroke-dasharray="7 3"' in html


def test_a_plan_that_does_not_fit_says_so_in_words_and_what_helps(page_of):
    page = page_of(bundle(plan(held=800 * MB, changes=(Change("--batch-size 1", 700 * MB, "slower"),)))["text/html"])
    assert "It does not fit: 1.3 GB of the 1.0 GB that are free in memory." in page.text
    assert ["--batch-size 1", "about 700 MB", "slower"] in page.tables[-1]


def test_what_is_trained_of_a_prompt_is_marked_and_said():
    html = bundle(checked("word"))["text/html"]
    assert '<span class="read">word</span><span class="learnt">word</span>' in html
    assert "50% of its letters are underlined" in html


def test_a_burst_of_the_loss_does_not_flatten_the_curve():
    found = bundle(rates())["text/html"]
    assert ">50<" not in found and ">9<" not in found, "the axis ends where the curve began, about"
    assert "1e-3" in found and "--lr 1.0e-04" in found


# a chat


@pytest.fixture
def talk(monkeypatch):
    """The field of a chat, and what is shown below it."""
    pytest.importorskip("ipywidgets")
    from nbtrain.notebook.talk import Talk

    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *what, **how: shown.append((what, how)))

    class Pair:
        base, run = "tiny", type("Run", (), {"name": "one"})
        freed = 0

        def ask(self, question):
            if question == "fail":
                from nbtrain.errors import RunError

                raise RunError("the model is gone")
            return Said(question, "one", "tiny", f"after {question}", f"before {question}")

        def free(self):
            self.freed += 1

    return Talk(Pair()), shown


def test_a_question_is_answered_below_its_field_and_the_field_is_empty_again(talk):
    field, shown = talk
    field.field.value = "What is red?"
    (bundles, how) = shown[-1]
    assert how["update"] is True
    assert "before What is red?" in bundles[0]["text/html"] and "after What is red?" in bundles[0]["text/html"]
    assert field.field.value == "" and not field.button.disabled
    assert len(field.told) == 1, "emptying the field asks nothing"


def test_a_fault_is_told_below_the_field_and_the_next_question_is_asked(talk):
    field, shown = talk
    field.field.value = "fail"
    assert "the model is gone" in shown[-1][0][0]["text/html"]
    field.field.value = "again"
    assert "after again" in shown[-1][0][0]["text/plain"]


def test_the_memory_is_let_go_by_its_button(talk):
    field, _ = talk
    field.free.click()
    assert field.pair.freed == 1


# the magic


def test_compare_and_runs_are_shown_in_the_cell(notebook, train):
    notebook("%autotrain llm --trainer sft --project-name one")
    notebook("%autotrain llm --trainer sft --project-name two --lr 0.5")
    (found,) = notebook("%autotrain compare one two").bundles
    assert "lr" in found["text/plain"] and "<svg" in found["text/html"]
    (value,) = notebook("import nbtrain\nnbtrain.compare('one', 'two')").bundles
    assert value["text/html"] == found["text/html"], "an answer at the end of a cell is shown as the magic shows it"
    assert notebook("%autotrain compare one").error is not None


@pytest.mark.parametrize("verb", ["plan", "lr-find", "check"])
def test_verbs_of_data_take_a_room_in_a_line_or_a_cell(notebook, verb):
    assert "needs a room" in notebook(f"%autotrain {verb}").stdout
    assert "has no parameter --nonsense" in notebook(f"%%autotrain {verb} llm\nnonsense = 1").stdout
