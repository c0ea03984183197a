"""A token stays out of everything that is written, shown, or seen from outside."""

import json

import pytest

from nbtrain.runs import status

pytestmark = pytest.mark.browser

SHORT = "--trainer sft --batch-size 4 --max-samples 20 --max-seq-length 64 --sample-max-new-tokens 4 --save-steps 2"
CANARIES = {"environment": "canary-of-the-environment-7391", "flag": "canary-of-the-flag-52806"}


def test_a_token_of_the_environment_or_of_a_flag_is_in_no_file_output_or_command_line(lab):
    # a variable keeps the flag's own out of the source, and the samples ask for both: they are told again everywhere
    cell = (
        f"%%autotrain llm {SHORT} --save-strategy steps --background --project-name kept\n"
        "token = token\nsample_prompts = asked\nmax_steps = {steps}"
    )
    lab.open(
        f"import os\nos.environ['HF_TOKEN'] = {CANARIES['environment']!r}\ntoken = {CANARIES['flag']!r}\n"
        "asked = [f'Is {token} or {os.environ[\"HF_TOKEN\"]} a secret?']",
        cell.format(steps=900),
        "%autotrain stop kept",
        "run = %autotrain attach kept",
        "print(run.params, run.samples, run.export(), run.export('yaml'))",
        "%autotrain llm --project-name kept --trainer {token}",
    )
    lab.run(1)
    lab.run(2)
    folder = lab.runs()[0]
    lab.until(lambda: lab.cell(2).locator(".nbtrain svg path.smooth").count(), 120)
    worker = status.read(folder).pid
    with open(f"/proc/{worker}/cmdline", "rb") as file:
        arguments = file.read()
    for index in range(3, 7):
        lab.run(index, 120)
    outputs = json.dumps([cell["outputs"] for cell in lab.save()])
    files = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert len(files) > 5 and b"nbtrain.worker" in arguments
    assert "stopped" in lab.text(4) and "[secret] or [secret] a secret?" in lab.text(5)
    for where, canary in CANARIES.items():
        found = [str(path) for path, content in files.items() if canary.encode() in content]
        assert found == [], f"the token of the {where}"
        assert canary not in outputs and canary.encode() not in arguments
