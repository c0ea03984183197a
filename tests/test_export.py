"""Exports: each form reads back to equal parameters, and says nothing that it should not."""

import ast
import json
import shlex
import subprocess
import sys
import tomllib
import typing
from pathlib import Path

import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as some

from nbtrain import configs, export, redact
from nbtrain.errors import ParamError
from nbtrain.params import words
from nbtrain.runs.folder import RunFolder, write_params
from nbtrain.trainers import load

Params = load("llm").Params


def read_script(text: str, here: Path = Path()) -> Params:
    """The parameters that a script would train with; nothing in it is run."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    call = next(node for node in calls if ast.unparse(node.func) == Params.__name__)
    return Params(**{each.arg: _value(each.value, here) for each in call.keywords})


def _value(node: ast.expr, here: Path) -> object:
    if isinstance(node, ast.BinOp):
        assert ast.unparse(node.left) == "Path(__file__).resolve().parent"
        return here / ast.literal_eval(node.right)
    return ast.literal_eval(node)


WORDS = some.text(some.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


def values_of(item):
    """Any value that a field may have."""
    chosen = [some.none()] if item.nullable else []
    bounds = item.bounds
    for kind in item.kinds:
        if typing.get_origin(kind) is typing.Literal:
            chosen.append(some.sampled_from(typing.get_args(kind)))
        elif kind is bool:
            chosen.append(some.booleans())
        elif kind is int:
            chosen.append(some.integers(bounds.get("ge", bounds.get("gt", -1) + 1), bounds.get("lt", 2**40) - 1))
        elif kind is float:
            low, high = bounds.get("ge", bounds.get("gt", -1e9)), bounds.get("le", bounds.get("lt", 1e9))
            chosen.append(
                some.floats(low, high, exclude_min="gt" in bounds, exclude_max="lt" in bounds, allow_subnormal=False)
            )
        elif kind in (str, typing.Any):
            chosen.append(WORDS)
        elif typing.get_origin(kind) is dict:
            chosen.append(some.dictionaries(some.sampled_from(["text", "messages", "prompt"]), WORDS, min_size=1))
        elif kind == list[str]:
            chosen.append(some.lists(WORDS, min_size=1, max_size=3))
    return some.one_of(chosen)


@some.composite
def any_params(draw):
    """Parameters of llm with some fields changed; values that exclude each other are drawn again."""
    options = {name: item for name, item in Params.options().items() if not (item.secret or item.refused)}
    names = draw(some.lists(some.sampled_from(sorted(options)), unique=True, max_size=6))
    try:
        return Params(**{name: draw(values_of(options[name])) for name in names})
    except ParamError:
        reject()


@given(any_params())
def test_a_script_reads_back(params):
    assert read_script(export.script(params)).record() == params.record()


@given(any_params())
@example(Params(optimizer="\x85"))
@example(Params(text_column="a\u2028b\u2029 c", chat_template="\x85\r\n"))
def test_a_config_reads_back(tmp_path_factory, params):
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(export.yaml(params), encoding="utf-8")
    config = configs.read(path)
    assert config.room == "llm"
    assert Params.read(config.values)[0].record() == params.record()


@given(any_params())
def test_a_line_reads_back(params):
    magic, room, *rest = words.split(export.line(params)).tokens
    assert (magic, room) == ("%autotrain", "llm")
    assert Params.read(words.read_line(rest, Params, {}))[0].record() == params.record()


@given(any_params())
def test_a_cell_reads_back(params):
    head, _, body = export.cell(params).partition("\n")
    assert head == "%%autotrain llm"
    assert Params.read(words.read_body(body, Params, {}))[0].record() == params.record()


@given(any_params())
def test_a_command_reads_back_through_a_shell(params):
    tokens = shlex.split(export.command(params).removeprefix("nbtrain llm"))
    assert Params.read(words.read_line(tokens, Params, None))[0].record() == params.record()


def test_a_real_shell_passes_the_command_on(tmp_path):
    params = Params(trainer="sft", project_name='it\'s "$HOME" `x` *', sample_prompts=["a b", "{c}"])
    show = tmp_path / "nbtrain"
    show.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[2:]))\n")
    show.chmod(0o755)
    command = export.command(params).replace("nbtrain", str(show), 1)
    tokens = json.loads(subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout)
    assert Params.read(words.read_line(tokens, Params, None))[0].record() == params.record()


def test_only_what_differs_from_the_defaults_stands_in_a_script():
    text = export.script(Params(trainer="sft", lr=1e-3, epochs=1))
    assert 'trainer="sft",\n' in text and "lr=0.001,\n" in text
    assert "epochs" not in text and "Path" not in text
    assert export.script(Params()).count("LLMTrainingParams()") == 1


def test_a_script_names_exact_versions_that_the_public_index_has(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    params = Params(trainer="sft")
    write_params(run, params)
    head = export.script(params, run).partition("# ///\n")[0].removeprefix("# /// script\n")
    metadata = tomllib.loads("\n".join(line.removeprefix("# ").removeprefix("#") for line in head.splitlines()))
    assert metadata["requires-python"] == ">=3.11,<3.14"
    pinned = dict(each.split("==") for each in metadata["dependencies"])
    assert set(pinned) >= {"nbtrain[llm]", "torch", "transformers", "trl", "peft", "datasets"}
    assert not any("+" in version for version in pinned.values())


def test_a_file_of_the_run_is_found_wherever_the_folder_goes(tmp_path):
    run = RunFolder(tmp_path / "run ${HOME}")
    (run.path / "data").mkdir(parents=True)
    stored = run.data / "train.parquet"
    stored.write_bytes(b"rows")
    export.write(Params(trainer="sft", data_path=str(stored)), run)
    moved = run.path.rename(tmp_path / "moved")
    text = (moved / "train.py").read_text()
    assert str(tmp_path) not in text + (moved / "config.yaml").read_text()
    assert Path(read_script(text, moved).data_path) == moved / "data" / "train.parquet"
    assert Path(configs.read(moved / "config.yaml").values["data_path"]) == moved / "data" / "train.parquet"


def test_a_secret_is_in_no_form(monkeypatch):
    secret = "canary-4f9d81c7b2"
    monkeypatch.setattr(redact, "_known", set())
    redact.remember(secret)
    params = Params(trainer="sft", token=secret, project_name=f"my-{secret}")
    for form in export.FORMS:
        text = export.text(params, form)
        assert secret not in text and "token" not in text.replace("max_new_tokens", ""), form


def test_an_unknown_form_names_the_nearest():
    with pytest.raises(ParamError, match="script, yaml, line, cell, command; found 'scrip'. Did you mean script?"):
        export.text(Params(), "scrip")


def test_what_lives_in_the_notebook_only_is_refused():
    with pytest.raises(ParamError, match="a object cannot be written into a script"):
        export.script(Params(data_path=object()))


ASKED = """
from nbtrain import LLMTrainingParams
from nbtrain.run import train_here

rows = [{"prompt": f"What is {n}?", "response": f"It is {n + 1}."} for n in range(40)]
if __name__ == "__main__":
    params = LLMTrainingParams(trainer="sft", data_path=rows, lr=1e-3, batch_size=4, max_steps=3, project_name="mine")
    assert train_here(params).status == "finished"
"""


def test_the_script_of_a_run_trains_the_same_weights_elsewhere(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    (first / "asked.py").write_text(ASKED)
    subprocess.run([sys.executable, "asked.py"], cwd=first, check=True, capture_output=True)
    moved = (first / "mine").rename(second / "moved")
    done = subprocess.run([sys.executable, "moved/train.py"], cwd=second, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (moved, second / "mine")]
    assert weights[0] == weights[1]
