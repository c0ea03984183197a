"""nbtrain against a hub in a process of its own: what is trained, pushed and opened again from there."""

import json
import re

import pytest
import yaml

from nbtrain.models import load
from nbtrain.runs.journal import story

TOKEN = "hf_" + "Canary7Q" * 4
CANARY = "canary-4f9d81c7b2"
SHORT = ("--max-steps", "2", "--max-samples", "16")
pytestmark = pytest.mark.slow


def pushed(nbtrain, *words, name, **environment):
    """Train, and push to somebody/NAME."""
    known = ("--push-to-hub", "--username", "somebody", "--token", TOKEN, "--project-name", name)
    return nbtrain(*words, *known, WANDB_API_KEY=CANARY, **environment)


def local(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def card_of(repository):
    """The head of the card, and its Python."""
    card = repository.files["README.md"].decode()
    return yaml.safe_load(card.split("---\n")[1]), re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]


def asked_from_the_hub(nbtrain, repository):
    """What the card's own Python says, in a process that has nothing but the hub."""
    done = nbtrain(python=card_of(repository)[1], HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_broken_upload_is_tried_again_and_what_arrives_is_whole_and_tells_no_secret(nbtrain, hub, fault, tmp_path):
    fault("PUT", "/lfs/", 0)
    fault("POST", "commit", 500)
    prompts = ("--sample-prompts", f"Is {CANARY} or {TOKEN} a secret?")  # they are told again in card and script
    done = pushed(nbtrain, "llm", "--trainer", "sft", *SHORT, *prompts, name="mine")
    assert done.returncode == 0, done.stderr
    assert "The upload to somebody/mine did not succeed, and is tried again in 2 s" in done.stderr
    assert f"The model was uploaded: {hub.url}/somebody/mine" in done.stderr
    repository, model = hub.repositories["somebody/mine"], local(tmp_path / "mine" / "model")
    assert set(repository.files) == {*model, "README.md", "train.py", "config.yaml", "curve.png"}
    assert all(repository.files[name] == content for name, content in model.items())
    assert repository.private and repository.files["curve.png"].startswith(b"\x89PNG")
    assert b"](curve.png)" in repository.files["README.md"]
    for method, path, body in hub.seen:
        assert TOKEN.encode() not in body and CANARY.encode() not in body and TOKEN not in path, (method, path)
    head, _ = card_of(repository)
    assert (head["library_name"], head["pipeline_tag"], head["license"]) == (
        "transformers",
        "text-generation",
        "unknown",
    )
    assert asked_from_the_hub(nbtrain, repository)
    # a model of the hub is one to train further
    again = nbtrain("llm", "--trainer", "sft", "--model", "somebody/mine", *SHORT, HF_TOKEN=TOKEN)
    assert again.returncode == 0, again.stderr


def test_an_upload_that_fails_for_good_leaves_a_finished_run_that_can_be_pushed(nbtrain, hub, fault, tmp_path):
    fault("POST", "preupload", 403)
    done = pushed(nbtrain, "tabular", "--model", "ridge", "--num-trials", "1", name="table")
    assert done.returncode == 0, done.stderr
    assert "may not write to somebody/table" in done.stderr and "`push table` tries again" in done.stderr
    assert json.loads((tmp_path / "table" / "status.json").read_text())["state"] == "finished"
    assert hub.repositories["somebody/table"].files == {}
    done = nbtrain("push", "table", HF_TOKEN=TOKEN)
    assert (done.returncode, done.stdout) == (0, f"Uploaded: {hub.url}/somebody/table\n")
    assert card_of(hub.repositories["somebody/table"])[0]["pipeline_tag"] == "tabular-classification"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--token", "hf_" + "Wrong9Z" * 5, "--username", "somebody"), "does not know this token"),
        (("--token", TOKEN, "--username", "stranger"), "may not write to stranger/mine"),
        (("--token", TOKEN, "--peft", "--no-merge-adapter"), "nobody could open it"),
    ],
)
def test_what_cannot_be_pushed_is_told_before_the_first_step(nbtrain, hub, tmp_path, words, said):
    done = nbtrain("llm", *SHORT, "--push-to-hub", "--project-name", "mine", *words)
    assert done.returncode == 1 and said in done.stderr
    kinds = [event.kind for event in story(tmp_path / "mine" / "events.jsonl")]
    assert kinds[-1] == "failed" and "logged" not in kinds and "started" not in kinds
    assert hub.repositories == {}


def test_an_adapter_is_opened_with_its_base_from_the_hub(nbtrain, hub):
    hub.make("somebody/base").files = local(load.TINY)
    adapter = ("--model", "somebody/base", "--peft", "--no-merge-adapter")
    done = pushed(nbtrain, "llm", *adapter, *SHORT, name="adapter")
    assert done.returncode == 0, done.stderr
    repository = hub.repositories["somebody/adapter"]
    assert "adapter_model.safetensors" in repository.files and "model.safetensors" not in repository.files
    head, _ = card_of(repository)
    assert (head["base_model"], head["base_model_relation"]) == ("somebody/base", "adapter")
    assert asked_from_the_hub(nbtrain, repository)


def test_a_sentence_model_and_a_table_are_opened_by_their_cards(nbtrain, hub, tmp_path):
    assert pushed(nbtrain, "sentence-transformers", *SHORT, name="alike").returncode == 0
    assert "(3, " in asked_from_the_hub(nbtrain, hub.repositories["somebody/alike"])
    (tmp_path / "rows.csv").write_text("a,b,target\n" + "".join(f"{n / 4},{n % 3},{n / 2}\n" for n in range(80)))
    table = ("--model", "ridge", "--task", "regression", "--data-path", "rows.csv", "--num-trials", "1")
    done = pushed(nbtrain, "tabular", *table, name="table")
    assert done.returncode == 0, done.stderr
    (tmp_path / "new_rows.csv").write_text("a,b\n10,1\n18,2\n")
    said = asked_from_the_hub(nbtrain, hub.repositories["somebody/table"])
    assert [round(float(number)) for number in re.findall(r"[\d.]+", said)] == [20, 36]
