"""The panel: the fields of a room as a form, the same as code beside it, and a run that obeys its buttons."""

import json
import re

import ipywidgets
import pytest

import nbtrain
from nbtrain import trainers
from nbtrain.errors import ParamError
from nbtrain.notebook.panel import presets
from nbtrain.notebook.panel.draft import Draft
from nbtrain.params import words

CORE = {"Text", "Combobox", "Dropdown", "Checkbox", "Button", "HTML", "VBox", "HBox"}
ROWS = [{"review": "good", "stars": 5}, {"review": "bad", "stars": 1}]


def put(panel, name, text):
    """What a front end does when the user changes a control."""
    panel.form.fields[name].control.value = text


def note(panel, name):
    return panel.form.fields[name].note.value


def shown(panel):
    """The names of the fields that are seen."""
    return [name for name, each in panel.form.fields.items() if each.control in panel.form.widget.children]


def all_widgets(widget):
    yield widget
    for each in getattr(widget, "children", ()):
        yield from all_widgets(each)


# the form


def test_it_opens_with_the_essential_fields_and_says_what_the_run_would_be(opened):
    panel = opened()
    assert shown(panel) == ["trainer", "project_name", "data_path", "model", "lr", "epochs", "batch_size", "peft"]
    assert panel.board.code["line"] == "%autotrain llm"
    assert "Ready to train." in panel.board.told.value and not panel.board.buttons["train"].disabled
    assert all(panel.board.buttons[name].disabled for name in ("stop", "save", "sample", "pause", "change"))


@pytest.mark.parametrize("room", trainers.names())
def test_every_control_is_a_core_one_with_a_name_and_there_is_one_for_each_field(opened, room):
    panel = opened(room)
    panel.form.group.value = "all"
    widgets = list(all_widgets(panel.board.widget))
    assert {type(each).__name__ for each in widgets} <= CORE
    controls = [
        each for each in widgets if isinstance(each, (ipywidgets.Text, ipywidgets.Dropdown, ipywidgets.Checkbox))
    ]
    assert all(each.description for each in [*controls, *panel.board.buttons.values()])
    options = panel.draft.options.values()
    read = {each.name for each in options if each.applies_to(panel.draft.method)}
    hidden = {each.name for each in options if each.secret or each.refused}
    assert set(shown(panel)) == read - hidden and "token" not in shown(panel)


def test_the_code_says_what_the_form_says_and_reads_back(opened):
    panel = opened()
    for name, text in {"trainer": "dpo", "lr": "2e-4", "epochs": "3", "peft": True, "project_name": "a 'name'"}.items():
        put(panel, name, text)
    params_class = panel.draft.params_class
    line = panel.board.code["line"].removeprefix("%autotrain llm")
    cell = panel.board.code["cell"].partition("\n")[2]
    assert params_class(**words.read_line(words.split(line, {}).tokens, params_class)) == panel.params
    assert params_class(**words.read_body(cell, params_class)) == panel.params
    assert 'trainer="dpo",' in panel.board.code["script"] and "lr=0.0002," in panel.board.code["script"]
    assert panel.params.provenance("lr") == "panel"
    put(panel, "lr", "")
    assert "lr" not in panel.board.code["cell"]


def test_another_trainer_shows_its_fields_and_keeps_what_was_typed(opened):
    panel = opened("llm --trainer dpo --dpo-beta 0.3")
    assert panel.form.fields["dpo_beta"].text == "0.3"
    put(panel, "trainer", "sft")
    assert "dpo_beta" not in shown(panel) and "dpo" not in panel.board.code["line"]
    assert panel.params.notices == [], "what sft does not read is not given to it"
    put(panel, "trainer", "dpo")
    assert "--dpo-beta 0.3" in panel.board.code["line"]


def test_a_group_and_a_search_bring_more_fields(opened):
    panel = opened("text-classification")
    panel.form.group.value = "Checkpoints"
    assert {"save_strategy", "save_steps"} <= set(shown(panel)) and "warmup_ratio" not in shown(panel)
    panel.form.search.value = "no such word"
    assert "save_steps" not in shown(panel) and "fields found: 0" in panel.form._told.value
    panel.form.search.value = "longest Gradient"
    assert "max_grad_norm" in shown(panel) and "save_steps" not in shown(panel)


@pytest.mark.parametrize("room", trainers.names())
@pytest.mark.parametrize("preset", presets.PRESETS)
def test_a_preset_fits_every_room(room, preset):
    draft = Draft(room, {})
    draft.texts = presets.texts(preset, draft)
    assert not draft.read().faults
    assert preset == "one big GPU" or draft.read().params.max_minutes in (2, 60)


def test_another_preset_takes_its_values_away_again_but_not_the_users_own(opened):
    panel = opened()
    panel.form.preset.value = "T4 16 GB, 1 hour"
    assert "--quantization int4" in panel.board.code["line"] and "max_minutes" in shown(panel)
    put(panel, "batch_size", "3")
    panel.form.preset.value = ""
    assert panel.board.code["line"] == "%autotrain llm --batch-size 3"


# what is wrong


def test_a_fault_stands_under_its_field_in_words_and_train_says_why_it_is_off(opened):
    panel = opened()
    put(panel, "lr", "fast")
    assert "--lr should be a valid number" in note(panel, "lr") and 'role="alert"' in note(panel, "lr")
    assert panel.board.buttons["train"].disabled and "Train is off: see lr." in panel.board.told.value
    assert panel.params is None and "comes first" in panel.board.code["line"]
    put(panel, "lr", "1e-3")
    assert "learning rate at its peak" in note(panel, "lr") and not panel.board.buttons["train"].disabled


def test_what_fields_say_of_each_other_stands_under_the_field_that_it_names(opened):
    panel = opened("llm --peft --quantization int4")
    put(panel, "peft", False)
    assert "only works with --peft" in note(panel, "quantization")
    assert "see quantization" in panel.board.told.value
    put(panel, "quantization", "")
    put(panel, "trainer", "ppo")
    assert "--rl-reward-fn" in note(panel, "rl_reward_model_path"), "a field that is needed comes into sight"


def test_a_file_that_is_not_there_is_told_and_a_hub_id_is_not(opened, workdir):
    (workdir / "train.csv").write_text("text,label\na,b\n")
    panel = opened("text-classification")
    put(panel, "data_path", "trian.csv")
    assert "there is no file trian.csv" in note(panel, "data_path")
    assert "Did you mean train.csv?" in note(panel, "data_path")
    for fine in ("owner/name", "imdb", "*.csv", "https://example.org/a.csv"):
        put(panel, "data_path", fine)
        assert "fault" not in note(panel, "data_path")


def test_markup_in_what_is_typed_is_only_text(opened):
    panel = opened()
    put(panel, "project_name", "<img src=x onerror=alert(1)>")
    put(panel, "lr", "<script>$x$")
    for widget in all_widgets(panel.board.widget):
        if isinstance(widget, ipywidgets.HTML):
            assert "<img" not in widget.value and "<script" not in widget.value
            # JupyterLab would set what stands between two dollar signs as mathematics
            assert "mathjax_ignore" in widget.value or "$" not in widget.value


# data


def test_rows_files_and_their_columns_are_offered(opened, notebook, workdir):
    (workdir / "train.csv").write_text("text,label\na,b\n")
    panel = opened("text-classification")
    notebook["reviews"] = ROWS
    notebook("1")
    assert {"demo", "reviews", "train.csv"} <= set(panel.form.fields["data_path"].control.options)
    put(panel, "data_path", "reviews")
    assert "rows: 2 rows; columns review, stars" in note(panel, "data_path")
    panel.form.search.value = "column"
    assert panel.form.fields["text_column"].control.options == ("review", "stars")
    put(panel, "text_column", "rewiev")
    assert "Did you mean review?" in note(panel, "text_column")
    put(panel, "data_path", "train.csv")
    assert panel.form.fields["text_column"].control.options == ("text", "label")
    assert "there are text, label" in note(panel, "text_column")


def test_several_columns_are_named_with_commas_and_each_is_looked_for(opened, workdir):
    (workdir / "train.csv").write_text("width,height,kind\n1,2,a\n")
    panel = opened("tabular --data-path train.csv --target-columns kind,height")
    assert panel.form.fields["target_columns"].control.options == ("width", "height", "kind")
    assert panel.params.target_columns == "kind,height"
    put(panel, "target_columns", "kind, hight")
    assert "Did you mean height?" in note(panel, "target_columns")


def test_rows_are_named_in_the_code_and_the_script_waits_for_the_run(opened, notebook):
    notebook["reviews"] = ROWS
    panel = opened("text-classification --df reviews --text-column review --target-column stars")
    assert panel.form.fields["data_path"].text == "reviews"
    assert "--df reviews" in panel.board.code["line"] and "data_path = reviews\n" in panel.board.code["cell"]
    assert panel.params.data_path is ROWS and panel.board.code["script"].startswith("# reviews: from this notebook")


def test_a_value_without_a_name_is_refused(notebook):
    with pytest.raises(ParamError, match="no variable of the notebook names"):
        nbtrain.panel("llm", data_path=list(ROWS))


# what is sent


def test_the_copy_button_takes_the_text_beside_it(opened):
    panel = opened()
    for box in panel.board.code.boxes.values():
        assert re.search(r'<button type="button" aria-label="Copy: As a \w+" onclick="[^"]+">Copy</button>', box.value)
    assert "%autotrain" not in re.search(r'onclick="([^"]+)"', panel.board.code.boxes["line"].value)[1]


def test_what_is_sent_to_open_it_is_little(opened):
    panel = opened()
    widgets = list(all_widgets(panel.board.widget))
    assert len({each.layout for each in widgets}) < 20 and len(widgets) < 60
    assert len(json.dumps([each.value for each in widgets if hasattr(each, "value")])) < 12_000
