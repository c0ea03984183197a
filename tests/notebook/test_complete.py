"""Tab in the line, behind an assignment, and in the body of a cell."""

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import nbtrain
from nbtrain import trainers
from nbtrain.notebook.complete import suggest
from nbtrain.runs import folder

METHODS = list(trainers.load("llm").Params.options()["trainer"].choices)
NAMES = {"train_df": [{"body": "x", "two words": "y"}], "number": 3, "_hidden": [{"a": 1}]}


def texts(text, names=NAMES):
    found = suggest(text, len(text), names)
    assert found is None or text.endswith(found.fragment)
    return found and found.texts


@pytest.fixture(autouse=True)
def place(workdir, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(workdir / "hub-home"))
    return workdir


@pytest.mark.parametrize("text", ["print(", "autotrain ll", "%autotrain", "x = '%autotrain llm --tr'", "%timeit x", ""])
def test_nothing_is_said_where_our_magic_is_not_written(text):
    assert texts(text) is None


@pytest.mark.parametrize("start", ["%autotrain ", "run = %autotrain ", "x = 1\n%autotrain ", "%%autotrain "])
def test_rooms_and_verbs_are_offered_first(start):
    assert texts(start)[: len(trainers.names()) + 2] == [*trainers.names(), "check", "plan"]
    assert texts(start + "l") == ["llm", "lr-find"]
    assert texts(start + "check ") == trainers.names()


def test_flags_begin_with_the_essential_ones_and_leave_out_those_given():
    assert texts("%autotrain llm ")[:3] == ["--trainer", "--project-name", "--data-path"]
    assert texts("run = %autotrain llm --tr") == ["--trainer", "--train-split", "--trust-remote-code"]
    assert "--trainer" not in texts("%autotrain llm --trainer sft --")
    assert "--data-path" not in texts("%autotrain llm --df train_df --")
    assert texts("%autotrain llm --trainer sft \\\n  --lora-") == ["--lora-r", "--lora-alpha", "--lora-dropout"]
    assert texts("%autotrain llm --batch_s") == ["--batch-size"]
    assert texts("%autotrain llm --peft --no-m") == ["--no-merge-adapter"]
    assert "--background" in texts("%autotrain llm --b")


def test_only_what_the_method_reads_is_offered():
    assert texts("%autotrain llm --trainer sft --response") == ["--response-only-loss"]
    assert texts("%autotrain llm --trainer default --response") == []
    assert texts('%%autotrain llm\ntrainer = "default"\nresponse') == []


def test_values_are_offered_after_a_flag_and_behind_an_equals_sign():
    assert texts("%autotrain llm --trainer ") == METHODS
    assert texts("%autotrain llm --trainer=s") == ["sft"]
    assert texts("%autotrain llm --preview-trainer s") == ["sft"]
    assert texts("%autotrain llm --lr ") == []
    assert texts("%autotrain llm --peft --qu") == ["--quantization"]


def test_frames_and_their_columns_are_offered():
    assert texts("%autotrain llm --df ") == ["train_df"]
    assert texts("%autotrain llm --df train_df --text-column ") == ["body", "'two words'"]
    assert texts("%%autotrain llm\ndata = ")[0] == "train_df"
    assert texts("%%autotrain llm\ndata = train_df\ntext_column = ") == ['"body"', '"two words"']
    assert texts("%%autotrain llm --df train_df\ntext_column = 'b") == ["'body'"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "\ufeffbody,other\nx,y\n"),
        ("rows.tsv", "body\tother\nx\ty\n"),
        ("rows.jsonl", '{"body": 1, "other": 2}\n'),
    ],
)
def test_columns_of_a_file_come_from_its_beginning(place, name, content):
    (place / name).write_text(content, encoding="utf-8")
    assert texts(f"%autotrain llm --data-path {name} --text-column ") == ["body", "other"]


def test_columns_of_a_parquet_file_and_of_none(place):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"body": ["x"]}), place / "rows.parquet")
    assert texts("%autotrain llm --data-path rows.parquet --text-column ") == ["body"]
    (place / "torn.parquet").write_bytes(b"PAR1 and no more")
    for missing in ("torn.parquet", "nowhere.csv", "demo"):
        assert texts(f"%autotrain llm --data-path {missing} --text-column ") == []


def test_files_models_and_runs_are_offered(place):
    (place / "data").mkdir()
    (place / "data" / "a b.csv").touch()
    (place / ".hidden").touch()
    (place / "hub-home" / "hub" / "models--someone--small").mkdir(parents=True)
    assert texts("%autotrain llm --data-path d") == ["demo", "data/"]
    assert texts("%autotrain llm --data-path ") == ["train_df", "demo", "data/", "hub-home/"]
    assert texts("%autotrain llm --data-path data/") == ["'data/a b.csv'"]
    assert texts("%autotrain llm --model so") == ["someone/small"]
    assert texts('%%autotrain llm\nmodel = "so') == ['"someone/small"']
    assert texts("%%autotrain llm\ndata_path = 'data/") == ["'data/a b.csv'"]


def test_run_ids_are_offered_newest_first():
    for name in ("first", "second"):
        folder.write_params(folder.claim(name, "llm", "sft"), trainers.load("llm").Params(trainer="sft"))
    for verb in ("show", "attach", "stop", "resume", "export", "push", "why", "set", "save", "sample", "pause", "go"):
        assert sorted(texts(f"%autotrain {verb} ")) == ["first", "second"]
    assert texts("run = %autotrain show s") == ["second"]
    assert texts("%autotrain export first --to ") == ["script", "yaml", "line", "cell", "command"]
    assert texts("%autotrain explain llm lora_r") == ["lora_r"]
    assert texts("%autotrain set first ") == ["--lr"]


def test_a_panel_is_offered_rooms_and_runs_and_the_flags_of_its_room():
    folder.write_params(folder.claim("mine", "llm", "sft"), trainers.load("llm").Params(trainer="sft"))
    assert {"llm", "tabular", "mine"} <= set(texts("%autotrain panel "))
    assert texts("%autotrain panel llm --trainer dp") == ["dpo"]


def test_a_run_in_a_variable_is_offered_as_a_model():
    from nbtrain.run import Run

    made = folder.claim("first", "llm", "sft")
    folder.write_params(made, trainers.load("llm").Params(trainer="sft"))
    assert texts("%autotrain llm --model {", {"base": Run(made)}) == ["{base}"]


def test_keys_of_a_cell_that_are_not_there_yet_are_offered():
    assert texts("%%autotrain llm\ntrai") == ["trainer = ", "train_split = "]
    assert texts('%%autotrain llm\ntrainer = "sft"\ntrai') == ["train_split = "]
    assert texts("%%autotrain llm\ntrainer = ") == [f'"{method}"' for method in METHODS]
    assert texts("%%autotrain llm\npeft = ") == ["True", "False"]
    assert texts("%%autotrain runs\ntrai") is None


def test_what_stands_behind_the_cursor_of_a_cell_counts_as_given():
    text = '%%autotrain llm\ntrai\ntrain_split = "x"'
    assert suggest(text, text.index("trai\n") + 4, NAMES).texts == ["trainer = "]


def test_half_a_quote_or_an_unknown_room_says_nothing():
    assert texts("%autotrain llm --sample-prompts 'half a") is None
    assert texts("%autotrain nothing --") == []


@pytest.fixture
def shell(monkeypatch):
    monkeypatch.setenv("NBTRAIN_STANDBY", "0")
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    nbtrain.load_ipython_extension(shell)
    shell.user_ns["train_df"] = NAMES["train_df"]
    yield shell
    nbtrain.unload_ipython_extension(shell)
    InteractiveShell.clear_instance()


def completed(shell, text):
    """The cell after each completion that IPython itself offers at its end."""
    with provisionalcompleter():
        return [
            text[: each.start] + each.text + text[each.end :] for each in shell.Completer.completions(text, len(text))
        ]


# older front ends ask by the older way, which IPython announces to end
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_ipython_offers_ours_and_puts_them_in_their_place(shell):
    assert completed(shell, "run = %autotrain llm --trai") == [
        "run = %autotrain llm --trainer",
        "run = %autotrain llm --train-split",
    ]
    assert completed(shell, "%autotrain llm --trainer=s") == ["%autotrain llm --trainer=sft"]
    assert completed(shell, "x = 1\n%autotrain llm --df tr") == ["x = 1\n%autotrain llm --df train_df"]
    assert completed(shell, "%%autotrain llm\nlr = 1\ntrainer = ")[0] == '%%autotrain llm\nlr = 1\ntrainer = "default"'
    assert shell.complete("--trai", "%autotrain llm --trai", 21)[1] == ["--trainer", "--train-split"]


def test_other_completions_go_on_as_before(shell):
    shell.user_ns["train_frame"] = 1
    assert completed(shell, "train_f") == ["train_frame"]
    nbtrain.unload_ipython_extension(shell)
    assert "%autotrain llm --trainer" not in completed(shell, "%autotrain llm --trai")
