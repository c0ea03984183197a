"""The model card: true, and only text."""

import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from nbtrain import events, redact
from nbtrain.card import _facts, card, code, table
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.record import Record
from nbtrain.trainers import load, names

Params = load("llm").Params
# the hub's own names, of those that a room may mean
TASKS = (
    "text-generation", "text-classification", "token-classification", "question-answering", "sentence-similarity",
    "image-classification", "object-detection", "visual-question-answering", "image-to-text", "tabular-classification",
    "tabular-regression",
)  # fmt: skip
HEAD = """\
---
library_name: transformers
license: unknown
pipeline_tag: text-generation
tags:
- nbtrain
- llm
---

# `my-run`
"""
HOSTILE = "x`</script><script>alert(1)</script>\n# big | [a](javascript:b) ![c](http://d) \x1b[31m \u202e"


def record(*losses):
    started = events.Started(room="llm", total_steps=9, facts={"device": "cpu", "dtype": "float32", "rows": 90})
    measured = [events.Evaluated(step=3 * n, values={"loss": loss}) for n, loss in enumerate(losses, start=1)]
    return Record.of([started, events.Logged(step=9, values={"loss": 1.0}), *measured])


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "my-run")
    folder.model.mkdir(parents=True)
    return folder


def test_a_card_says_what_was_done(run):
    text = card(Params(trainer="sft", model="gpt2", data_path="rows.csv", lr=1e-3), record(4.25, 3.5), run)
    assert text.startswith(HEAD)
    assert "`gpt2`, trained by nbtrain (llm, sft) on `rows.csv`." in text
    assert "| held-out rows | step 3 | step 6 |" in text and "| `loss` | `4.25` | `3.5` |" in text
    assert "| `lr` | `0.001` |" in text and "epochs" not in text
    assert "It took 9 steps with nbtrain" in text and "(device `cpu`, dtype `float32`, rows `90`)" in text


def head(params, run):
    return yaml.safe_load(card(params, record(), run).split("---\n")[1])


def test_what_comes_from_the_hub_is_told_to_the_hub_and_what_lies_here_is_not(run):
    found = head(Params(model="some/model", data_path="some/rows:part"), run)
    assert (found["base_model"], found["base_model_relation"], found["datasets"]) == (
        "some/model", "finetune", ["some/rows"]
    )  # fmt: skip
    (run.model / "adapter_config.json").write_text("{}")
    assert head(Params(model="some/model"), run)["base_model_relation"] == "adapter"
    assert not head(Params(model="/models/mine", data_path="rows.csv"), run).keys() & {"base_model", "datasets"}


def test_the_head_of_every_room_is_one_that_the_hub_knows(run):
    from huggingface_hub import ModelCard

    for room in names():
        facts = _facts(load(room).Params(), run, "transformers")
        assert ModelCard(f"---\n{facts}---\n# x").data.library_name == "transformers"
        task = getattr(load(room), "PIPELINE", "text-generation")
        assert set(task.values() if isinstance(task, dict) else [task]) <= set(TASKS), room
    assert head(Params(trainer="reward"), run)["pipeline_tag"] == "text-classification"
    tables = load("tabular").Params
    assert "pipeline_tag: tabular-regression" in _facts(tables(task="regression"), run, "xgboost")


def test_a_path_of_this_machine_is_told_by_its_name(run):
    text = card(
        Params(model="/srv/jane/models/mine", data_path="/srv/jane/rows.csv", model_ref="/srv/x/y"), record(), run
    )
    assert "`mine`, trained by" in text and "on `rows.csv`" in text and "jane" not in text


def test_a_card_without_measurements_claims_none(run):
    text = card(Params(), record(), run)
    assert "No held-out rows were measured." in text and "None was changed." in text
    assert "| held-out rows | step 3 |\n" in card(Params(), record(2.0), run)


def test_a_card_without_a_model_says_so(tmp_path):
    assert "ended before a model was saved" in card(Params(), record(), RunFolder(tmp_path / "none"))


def test_a_stored_variable_is_no_path_of_this_machine(run):
    run.data.mkdir()
    (run.data / "train.parquet").write_bytes(b"")
    text = card(Params(data_path=str(run.data / "train.parquet")), record(), run)
    assert "on a variable of a notebook." in text and str(run.path.parent) not in text


def test_the_snippet_is_python_for_a_whole_model_and_for_an_adapter(run):
    def snippet():
        text = card(Params(), record(), run)
        source = text.partition("```python\n")[2].partition("```")[0]
        compile(source, "card", "exec")
        return source

    assert "AutoModelForCausalLM" in snippet() and 'prompt = "Hello"' in snippet()
    (run.model / "chat_template.jinja").touch()
    assert "apply_chat_template" in snippet() and "add_special_tokens=False" in snippet()
    (run.model / "adapter_config.json").touch()
    assert "from peft import AutoPeftModelForCausalLM" in snippet()


def test_a_secret_is_not_in_a_card(run, monkeypatch):
    monkeypatch.setattr(redact, "_known", set())
    redact.remember("canary-4f9d81c7b2")
    params = Params(token="canary-4f9d81c7b2", data_path="https://x/canary-4f9d81c7b2")
    assert "canary" not in card(params, record(), run)


def rendered(markdown):
    return pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table").render(markdown)


def test_hostile_names_stay_text(run):
    params = Params(trainer="sft", model=HOSTILE, data_path=HOSTILE, column_mapping={"text": HOSTILE})
    page = rendered(card(params, record(4.0, 3.0), run).partition("---\n\n")[2])
    for markup in ("<script", "<a ", "<img", "<h1>big", "\x1b", "\u202e"):
        assert markup not in page, markup
    assert page.count("<h1>") == 1 and page.count("<table>") == 2


@given(some.text(max_size=80))
def test_a_code_span_is_one_span_and_nothing_else(text):
    page = rendered(f"a {code(text)} b").strip()
    assert page.startswith("<p>a <code>") and page.endswith("</code> b</p>")
    assert page.count("<code>") == 1 and page.count("</code>") == 1


@given(some.lists(some.tuples(some.text(max_size=20), some.text(max_size=20)), min_size=1, max_size=4))
def test_a_table_has_the_cells_it_was_given(rows):
    page = rendered(table(("a", "b"), rows))
    assert page.count("<td>") == 2 * len(rows) and page.count("<th>") == 2


def test_a_long_value_is_cut():
    assert len(code("x" * sys.getrecursionlimit() * 3)) < 500
