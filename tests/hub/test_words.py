"""The hub in words: the name of a repository, and each way in which one is refused."""

from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from nbtrain import hub
from nbtrain.errors import ParamError, RunError
from nbtrain.hub import account, sending
from nbtrain.runs.folder import RunFolder
from nbtrain.trainers import load

Params = load("llm").Params
TOKEN = "hf_" + "Canary7Q" * 4


@pytest.fixture(autouse=True)
def no_login(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    monkeypatch.setattr(sending, "PAUSES", ())
    monkeypatch.setattr(account, "_PAUSES", ())


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    folder.model.mkdir(parents=True)
    (folder.model / "config.json").write_text("{}")
    (folder.model / "model.safetensors").write_bytes(b"weights")
    folder.card.write_text('# mine\nmodel = AutoModel.from_pretrained("model")\n')
    folder.script.write_text("train()")
    return folder


def failing(monkeypatch, error):
    class Api:
        def __init__(self, token):
            pass

        def create_repo(self, *given, **named):
            raise error

        whoami = create_repo

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)


def test_without_a_token_nothing_is_asked(run, near):
    with pytest.raises(ParamError, match="needs a token"):
        hub.push(run, "somebody/model")
    assert near.seen == []


def test_a_run_without_a_model_is_not_uploaded(tmp_path, near):
    with pytest.raises(RunError, match="no model to upload"):
        hub.push(RunFolder(tmp_path / "empty"), "somebody/model", token=TOKEN)
    assert near.repositories == {}


@pytest.mark.parametrize("name", ["a b/c", "a/b/c", "-x", "x/" + "y" * 200])
def test_a_name_that_the_hub_does_not_allow_is_told(run, near, name):
    with pytest.raises(ParamError, match="no name of a repository"):
        hub.push(run, name, token=TOKEN)
    assert near.requests("POST") == []


def http(status):
    return HfHubHTTPError("refused", response=SimpleNamespace(status_code=status, headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OfflineModeIsEnabled("offline"), "the hub cannot be reached"),
        (ConnectionError("no route"), "the hub cannot be reached"),
        (http(401), "does not know this token"),
        (http(403), "may not write to somebody/model"),
        (http(500), "did not succeed"),
        (ValueError("anything else"), "did not succeed"),
    ],
    ids=str,
)
def test_what_the_hub_refuses_is_told_in_words(run, monkeypatch, error, told):
    failing(monkeypatch, error)
    with pytest.raises(RunError, match=told):
        hub.push(run, "somebody/model", token=TOKEN)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ""),
        ({"push_to_hub": True, "repo_id": "club/name"}, "club/name"),
        ({"push_to_hub": True, "repo_id": "name"}, "somebody/name"),
        ({"push_to_hub": True, "project_name": "runs/mine"}, "somebody/mine"),
        ({"push_to_hub": True, "project_name": "mine", "username": "club"}, "club/mine"),
    ],
    ids=str,
)
def test_the_repository_is_named_or_follows_from_the_run(near, given, wanted):
    near.user(TOKEN, "somebody", orgs=[{"name": "club", "roleInOrg": "contributor"}])
    assert hub.target(Params(token=TOKEN, **given)) == wanted


def test_a_run_without_a_name_needs_one_for_the_hub(near):
    with pytest.raises(ParamError, match="needs a name"):
        hub.target(Params(token=TOKEN, push_to_hub=True))
