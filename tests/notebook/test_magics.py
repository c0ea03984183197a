"""The magic in a real IPython shell; only the training itself is stood in for."""

import json
import threading
import time

import pytest

import nbtrain
from nbtrain.errors import DataError, ParamError
from nbtrain.runs import folder

FINAL = {"text/html", "text/plain", "image/png"}


def stored(name="llm-sft-1"):
    return json.loads(folder.find(name).params.read_text())["params"]


# training


def test_a_line_trains_draws_and_gives_the_run_back(notebook, train):
    cell = notebook("run = %autotrain llm --trainer sft --lr 1e-3")
    assert cell.error is None
    assert notebook["run"].status == "finished"
    assert stored()["lr"] == 1e-3
    assert cell.updates == [False] + [True] * (len(cell.updates) - 1)
    assert set(cell.bundles[-1]) == FINAL
    assert "finished" in cell.bundles[-1]["text/html"]


def test_one_run_is_one_output_however_the_cell_ends(notebook, train):
    for text in ("%autotrain llm --trainer sft", "run = %autotrain llm --trainer sft\nrun", "%autotrain llm;"):
        cell = notebook(text)
        assert cell.updates.count(False) == 1, text
    cell = notebook("run")
    assert len(cell.bundles) == 1
    assert set(cell.bundles[0]) == FINAL


def test_a_cell_of_literals_and_names_trains_and_fills_a_variable(notebook, train):
    notebook["rows"] = [{"text": "one"}, {"text": "two"}]
    cell = notebook('%%autotrain llm --into mine\ntrainer = "sft"\ndata = rows\nlr = 0.25\n')
    assert cell.error is None
    assert notebook["mine"].status == "finished"
    assert stored()["lr"] == 0.25
    assert stored()["data_path"].endswith("train.parquet")


def test_a_run_of_the_background_comes_back_at_once(notebook, train):
    gate = threading.Event()
    train(lambda params, run: gate.wait(20))
    cell = notebook("run = %autotrain llm --background")
    assert notebook["run"].status in ("starting", "running")
    assert cell.updates.count(False) == 1
    assert notebook("6 * 7").result == 42
    gate.set()
    notebook["run"].worker.wait(20)
    assert notebook["run"].status == "finished"


def test_a_run_trains_in_the_kernel_where_that_is_asked(notebook, train):
    seen = []
    train(lambda params, run: seen.append(threading.current_thread()))
    cell = notebook("%autotrain llm --in-process")
    assert seen == [threading.main_thread()] * 3
    assert cell.updates.count(False) == 1
    assert "finished" in cell.bundles[-1]["text/plain"]


def test_a_failed_run_raises_its_own_error_after_its_last_frame(notebook, train):
    def fail(params, run):
        raise DataError("no column 'text'", fix="name one")

    train(fail)
    cell = notebook("%autotrain llm --into run")
    assert isinstance(cell.error, DataError)
    assert cell.error.__suppress_context__ and cell.error.__context__ is None
    assert "failed" in cell.bundles[-1]["text/plain"]
    assert "no column 'text'" in cell.stdout
    assert "Traceback" not in cell.stdout
    assert notebook["run"].status == "failed"


def test_one_interrupt_of_the_cell_stops_the_run_and_gives_it_back(notebook, train):
    import _thread

    def slow(params, run):
        if run.folder.control.exists() and not asked:
            asked.append(_thread.interrupt_main())
        time.sleep(0.05)

    asked = []
    train(slow, steps=200)
    cell = notebook("run = %autotrain llm")
    assert cell.error is None
    assert notebook["run"].status == "stopped"
    assert notebook["run"].record.step < 200


def test_train_of_the_library_draws_in_the_cell_too(notebook, train):
    notebook("%autotrain runs")
    nbtrain.notebook._extensions[id(notebook.shell)].magics.get_ready()
    cell = notebook("import nbtrain\nrun = nbtrain.train(nbtrain.LLMTrainingParams(trainer='sft'))")
    assert cell.error is None
    assert cell.updates.count(False) == 1
    assert notebook["run"].status == "finished"


def test_notices_stand_in_the_view(notebook, train):
    cell = notebook("%autotrain llm --advanced --trainer default --no-response-only-loss")
    html = cell.bundles[-1]["text/html"]
    assert "--advanced is needless" in html
    assert "response_only_loss only applies to SFT trainer, will be ignored" in html
    assert cell.stdout.replace("Out[1]:", "").strip() == ""


# words


def test_variables_are_replaced_by_token_and_not_by_ipython(notebook, train):
    notebook["text"], notebook["n"], notebook["evil"] = "two words", 3, "--trust-remote-code"
    notebook("%autotrain llm --trainer sft --sample-prompts $text --max-steps {n + 1} --project-name run-{n}")
    assert stored("run-3")["sample_prompts"] == "two words"
    assert stored("run-3")["max_steps"] == 4
    notebook("%autotrain llm --sample-prompts $evil --project-name safe")
    assert stored("safe")["sample_prompts"] == "--trust-remote-code"
    assert stored("safe")["trust_remote_code"] is False
    assert isinstance(notebook("%autotrain llm --sample-prompts $missing").error, ParamError)


def test_a_run_stands_where_a_model_is_asked_for(notebook, train):
    notebook("run = %autotrain llm --trainer sft")
    notebook("%autotrain llm --trainer sft --model {run} --project-name second")
    assert stored("second")["model"] == str(notebook["run"].folder.model)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("%autotrain llmm", "Did you mean llm"),
        ("%autotrain llm --modle x", "Did you mean --model"),
        ("%autotrain llm --df trian", "Did you mean train_df"),
        ("%autotrain llm --df trian", "train_df (1 row; columns: body)"),
        ("%autotrain llm --into 3x", "--into is the name of a variable"),
        ("%autotrain --trainer sft", "there is no verb '--trainer'"),
        ("%autotrain show", "show needs a run"),
        ("%autotrain show nothing", "There is no run 'nothing'"),
        ("%%autotrain runs\nlr = 1", "has no use for the lines of a cell"),
        ("%%autotrain llm --lr 1\nlr = 1", "given in the line and in the cell"),
        ("%%autotrain llm\nlr = 1\nmodel = a/b", "line 2"),
    ],
)
def test_wrong_words_are_told_in_one_screen_and_make_no_run(notebook, text, told):
    notebook["train_df"] = [{"body": "x"}]
    cell = notebook(text)
    assert told in str(cell.error)
    assert told in cell.stdout
    assert len(cell.stdout.splitlines()) < 12
    assert folder.all_runs() == []


def test_an_error_shows_hidden_characters_and_no_token(notebook):
    cell = notebook("%autotrain llm --\x1b[31mred\u202e hf_" + "a1b2c3d4e5" * 3)
    assert "red" in cell.stdout
    assert not {"\x1b", "\u202e"} & set(cell.stdout)
    assert "a1b2c3" not in notebook("%autotrain llm --lr hf_" + "a1b2c3d4e5" * 3).stdout


# verbs


def test_the_verbs_tell_of_a_run(notebook, train):
    notebook("run = %autotrain llm --trainer sft --lr 0.5")
    (listed,) = notebook("%autotrain runs").bundles
    assert listed["text/plain"].splitlines()[1].split()[:3] == ["llm-sft-1", "finished", "3/3"]
    assert "<svg" in listed["text/html"]
    assert notebook("%autotrain export 1 --to line").stdout.strip() == "%autotrain llm --trainer sft --lr 0.5"
    assert "has ended already" in notebook("%autotrain stop {run}").stdout
    assert notebook("%autotrain why").stdout.strip() == "no run below this folder has failed"
    assert "--lora-r" in notebook("%autotrain explain lora_r").stdout
    assert "python" in notebook("%autotrain doctor").stdout


def test_show_and_attach_draw_a_run_once_and_give_it_back(notebook, train):
    notebook("%autotrain llm --trainer sft")
    for text in ("%autotrain show 1", "%autotrain attach llm-sft-1", "%autotrain attach 1 --background"):
        cell = notebook(text)
        assert [set(bundle) for bundle in cell.bundles] == [FINAL], text
        assert cell.result.name == "llm-sft-1"


def test_a_stopped_run_is_resumed_with_its_view(notebook, train):
    train(lambda params, run: (run.folder.control / "stop").touch())
    notebook("run = %autotrain llm")
    assert notebook["run"].status == "stopped"
    train()
    cell = notebook("again = %autotrain resume {run}")
    assert cell.error is None
    assert notebook["again"].status == "finished"


def test_check_tells_of_the_rows_and_trains_nothing(notebook):
    notebook["rows"] = [{"text": f"row {number}"} for number in range(20)]
    cell = notebook("%%autotrain check llm\ndata = rows")
    assert cell.error is None
    (found,) = cell.bundles
    assert "Rows: train 18, valid 2." in found["text/plain"]
    assert "The first rows of train" in found["text/html"]
    assert folder.all_runs() == []


def test_help_is_text_in_the_cell(notebook):
    assert "%autotrain llm --name value" in notebook("%autotrain help").stdout
    assert notebook("%autotrain").stdout == notebook("%autotrain help").stdout == notebook("%autotrain --help").stdout
    assert "--batch-size ROWS" in notebook("%autotrain llm --help").stdout
    assert "--response-only-loss" not in notebook("%autotrain llm --preview-trainer default --help").stdout
    assert "newest last" in notebook("%autotrain runs --help").stdout
    assert "--data-path" in notebook("%autotrain explain df").stdout
    assert "Train a model in this cell" in str(
        notebook.shell.inspector.info(notebook.shell.find_line_magic("autotrain"))
    )


def test_runs_lie_below_the_folder_of_the_settings(notebook, train, workdir):
    (workdir / "elsewhere").mkdir()
    notebook("%config NBTrain.runs_folder = 'elsewhere'")
    notebook("run = %autotrain llm --trainer sft")
    assert notebook["run"].path == workdir / "elsewhere" / "runs" / "llm-sft-1"
    assert "llm-sft-1" in notebook("%autotrain runs").bundles[0]["text/plain"]
    assert notebook("%autotrain show llm-sft-1").error is None
