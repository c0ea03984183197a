"""A push from a cell: what is tried again, and where the model went, stand in the run's one output."""

import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

TOKEN = "hf_" + "Canary7Q" * 4


@pytest.fixture
def hub():
    made = runpy.run_path(str(Path(__file__).parents[1] / "hub" / "conftest.py"))
    hub = made["Hub"]()
    hub.user(TOKEN, "somebody")
    hub.faults.append(made["Fault"]("POST", "commit", 500))
    yield hub
    hub.close()


def test_the_cell_tells_of_an_upload_that_is_tried_again_and_of_its_address(lab, hub):
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    lab.open(
        # a standby has read where the hub is before this cell could say it
        f"import os\nfrom nbtrain.runs import launch\nlaunch.cool()\nos.environ |= {settings}\ntoken = {TOKEN!r}",
        "run = %autotrain llm --trainer sft --max-steps 3 --max-samples 16 --push-to-hub --token $token "
        "--project-name mine",
        "%autotrain push mine other --token $token",
    )
    for index in (1, 2, 3):
        lab.run(index, 120)
    shown = lab.text(2)
    assert "The upload to somebody/mine did not succeed, and is tried again in 2 s" in shown
    assert f"The model was uploaded: {hub.url}/somebody/mine" in shown
    assert f"Uploaded: {hub.url}/somebody/other" in lab.text(3)
    assert hub.repositories["somebody/mine"].files.keys() == hub.repositories["somebody/other"].files.keys()
    assert "curve.png" in hub.repositories["somebody/mine"].files
    lab.picture("push")
