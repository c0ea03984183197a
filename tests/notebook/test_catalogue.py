"""The catalogue of errors, of data, models and words: each is provoked for real, through the magic.

Its cell shows one screen that names the next step. Those of the machine are in test_catalogue_machine.py.
"""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from nbtrain.errors import DataError, ModelError, ParamError, TrainingError

TINY = Path(importlib.util.find_spec("nbtrain").origin).parent / "models" / "tiny" / "llm"
SFT = "%autotrain llm --in-process --trainer sft --max-samples 16 --max-steps 2 --eval-strategy no"
CHAT = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Red."}]


def write(name, rows):
    Path(name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def data(notebook):
    """Files that a row of the table needs."""
    write("chat.jsonl", [{"messages": CHAT}] * 20)
    write("roles.jsonl", [{"messages": [{"role": "robot", "content": "Hello."}, CHAT[1]]}] * 20)
    write("news.jsonl", [{"headline": f"Number {number}", "summary": "short"} for number in range(20)])
    Path("empty.jsonl").touch()
    Path("header.csv").write_text("text,target\n")
    shutil.copytree(TINY, "bare")
    Path("bare", "chat_template.jinja").unlink()
    write("wide.jsonl", [{f"measure {number}": number for number in range(300)}] * 20)
    shutil.copytree(TINY, "blank")
    Path("blank", "config.json").write_text("{}")
    notebook["rows"] = [{"text": "one"}, {"text": "two"}]


# id, what is typed, the error, what its screen says: what, where, why and what to do
TABLE = {
    "a column that nothing is called": (
        f"{SFT} --data-path news.jsonl",
        DataError,
        "The columns headline, summary are no known form of text or chat",
        "where: --data-path news.jsonl",
        "what to do: Say which is which: --column-mapping '{",
    ),
    "a column that is misnamed by its flag": (
        f"{SFT} --data-path news.jsonl --text-column sumary",
        DataError,
        "There is no column 'sumary' for text; there are headline, summary. Did you mean summary?",
        "where: --data-path news.jsonl, --text-column sumary",
        "what to do: Set --text-column to one of them.",
    ),
    "a column that is misnamed by the mapping": (
        f"""{SFT} --data-path news.jsonl --column-mapping '{{"prompt": "headlin", "response": "summary"}}'""",
        DataError,
        "There is no column 'headlin' for prompt; there are headline, summary. Did you mean headline?",
        "where: --data-path news.jsonl",
        "what to do: Name one of them: --column-mapping",
    ),
    "a column that is misnamed for check": (
        "%autotrain check text-classification --data-path news.jsonl --target-column sumary",
        DataError,
        "Did you mean summary?",
        "where: --data-path news.jsonl, --target-column sumary",
        "what to do: Set --target-column to one of them.",
    ),
    "a column that is misnamed of a table": (
        "%autotrain tabular --in-process --data-path news.jsonl --target-columns sumary",
        DataError,
        "There is no column 'sumary'; there are headline, summary. Did you mean summary?",
        "where: --data-path news.jsonl",
        "what to do: Set --target-columns to one of them.",
    ),
    "a column that is misnamed among hundreds": (
        f"{SFT} --data-path wide.jsonl --text-column 'measure 3000'",
        DataError,
        "measure 19 and 280 more. Did you mean measure ",
        "where: --data-path wide.jsonl, --text-column measure 3000",
    ),
    "no such file": (
        f"{SFT} --data-path nws.jsonl",
        DataError,
        "There is no file or folder nws.jsonl. Did you mean news.jsonl?",
        "where: working directory ",
        "what to do: Give --data-path a file",
    ),
    "no such variable": (
        f"{SFT} --df row",
        ParamError,
        "there is no variable row. Did you mean rows?",
        "where: --df row",
        "why: those that hold rows: rows (2 rows; columns: text)",
        "what to do: name a variable; a file: --data-path FILE.",
    ),
    "empty data": (
        f"{SFT} --data-path empty.jsonl",
        DataError,
        "empty.jsonl has no rows.",
        "where: empty.jsonl",
        "why: the file is empty",
        "what to do: Give data that has some.",
    ),
    "data with a header only": (
        f"{SFT} --data-path header.csv",
        DataError,
        "header.csv has no rows.",
        "why: it may have a header and nothing below it",
    ),
    "wrong chat roles": (
        f"{SFT} --data-path roles.jsonl",
        DataError,
        "rows cannot be used.",
        "unknown role 'robot'; roles are system, user, assistant, tool. Rename the role.",
        "roles.jsonl line 1, column messages",
        "what to do: Mend them, or leave them out: --on-bad-rows skip.",
    ),
    "no chat template": (
        f"{SFT} --data-path chat.jsonl --model bare --chat-template tokenizer",
        ParamError,
        "The tokenizer of this model has no chat template.",
        "where: --chat-template tokenizer",
        "what to do: Name one of plain, chatml, qwen",
    ),
    "no such chat template": (
        f"{SFT} --chat-template chatlm",
        ParamError,
        "Did you mean chatml?",
        "what to do: Name one of them, or leave it out",
    ),
    "no such folder of a model": (
        f"{SFT} --model ./bar",
        ModelError,
        "There is no folder ./bar. Did you mean bare?",
        "where: --model ./bar, working directory ",
        "what to do: give --model a folder, a run, or a hub id",
    ),
    "a model of no kind": (
        f"{SFT} --model blank",
        ModelError,
        "blank cannot be opened.",
        "why: ValueError: Unrecognized model in",
        "what to do: ",
    ),
    "a model of the hub without a network": (
        f"{SFT} --model some-org/some-model",
        ModelError,
        "some-org/some-model is not on this machine, and the hub cannot be reached.",
        "what to do: connect (and unset HF_HUB_OFFLINE), or name a folder; --model tiny is built in.",
    ),
    "data of the hub without a network": (
        f"{SFT} --data-path some-org/some-data",
        DataError,
        "some-org/some-data is no file or folder here, and it was not found on the hub.",
        "why: the hub cannot be reached (offline)",
        "what to do: Check the spelling and the network",
    ),
    "no token for an upload": (
        f"{SFT} --push-to-hub --repo-id me/mine",
        ParamError,
        "an upload needs a token of the hub, and there is none",
        "what to do: log in (hf auth login), set HF_TOKEN, or give --token",
    ),
    "a loss that is not a number": (
        f"{SFT} --lr 1e38 --scheduler constant --max-grad-norm 0",
        TrainingError,
        "the loss or its gradient is not a number at step",
        "where: step ",
        "why: the learning rate is too high",
        "what to do: lower --lr (now 1e+38), or leave such steps out with --on-nan skip; the last checkpoint is kept.",
    ),
}


@pytest.mark.parametrize("entry", TABLE)
def test_an_error_is_one_screen_that_says_what_to_do(notebook, screen, data, monkeypatch, tmp_path, entry):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-login"))
    line, kind, *parts = TABLE[entry]
    told = screen(notebook(line), kind)
    for part in parts:
        assert part in told


def test_why_shows_the_rest_of_the_last_failure(notebook, screen, data):
    screen(notebook(f"{SFT} --data-path news.jsonl --text-column sumary"), DataError)
    told = notebook("%autotrain why").stdout
    assert told.startswith("llm-sft-1 failed at step 0\nThere is no column 'sumary' for text")
    assert "error.txt" in told and "Traceback (most recent call last)" in told
