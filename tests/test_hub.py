"""The hub: what is uploaded and where, and each way in which it is refused. Nothing of it reaches the network."""

from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from nbtrain import hub
from nbtrain.errors import ParamError, RunError
from nbtrain.runs.folder import RunFolder
from nbtrain.trainers import load

Params = load("llm").Params
TOKEN = "hf_" + "q7w8e9" * 5


@pytest.fixture(autouse=True)
def no_login(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    folder.model.mkdir(parents=True)
    (folder.model / "config.json").write_text("{}")
    (folder.model / "model.safetensors").write_bytes(b"weights")
    folder.card.write_text('# mine\nmodel = AutoModel.from_pretrained("model")\n')
    folder.script.write_text("train()")
    return folder


@pytest.fixture
def api(monkeypatch):
    """Stands in for the hub's client; what it was asked is in the list."""
    asked = []

    class Api:
        def __init__(self, token):
            self.token = token

        def whoami(self):
            return {"name": "somebody"}

        def create_repo(self, repo_id, private, exist_ok):
            asked.append(("create", repo_id, private, self.token))

            class Url(str):
                pass

            url = Url(f"https://hub/{repo_id}")
            url.repo_id = repo_id if "/" in repo_id else f"somebody/{repo_id}"
            return url

        def create_commit(self, repo_id, operations, commit_message):
            asked.append((repo_id, {each.path_in_repo: each.path_or_fileobj for each in operations}, commit_message))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return asked


def failing(monkeypatch, error):
    class Api:
        def __init__(self, token):
            pass

        def create_repo(self, *given, **named):
            raise error

        whoami = create_repo

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)


def test_a_model_goes_up_with_its_card_and_script_in_one_commit(run, api):
    assert hub.push(run, "somebody/model", token=TOKEN) == "https://hub/somebody/model"
    made, (repo, files, message) = api
    assert made == ("create", "somebody/model", True, TOKEN)
    assert repo == "somebody/model" and message == "mine, trained by nbtrain"
    assert set(files) == {"config.json", "model.safetensors", "README.md", "train.py"}
    assert b'from_pretrained("somebody/model")' in files["README.md"]


def test_without_a_token_nothing_is_tried(run, api):
    with pytest.raises(ParamError, match="needs a token"):
        hub.push(run, "somebody/model")
    assert api == []


def test_a_run_without_a_model_is_not_uploaded(tmp_path, api):
    with pytest.raises(RunError, match="no model to upload"):
        hub.push(RunFolder(tmp_path / "empty"), "somebody/model", token=TOKEN)


@pytest.mark.parametrize("name", ["a b/c", "a/b/c", "-x", "x/" + "y" * 200])
def test_a_name_that_the_hub_does_not_allow_is_told(run, api, name):
    with pytest.raises(ParamError, match="no name of a repository"):
        hub.push(run, name, token=TOKEN)
    assert api == []


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
        ({"push_to_hub": True, "repo_id": "other/name"}, "other/name"),
        ({"push_to_hub": True, "repo_id": "name"}, "somebody/name"),
        ({"push_to_hub": True, "project_name": "runs/mine"}, "somebody/mine"),
        ({"push_to_hub": True, "project_name": "mine", "username": "else"}, "else/mine"),
    ],
    ids=str,
)
def test_the_repository_is_named_or_follows_from_the_run(api, given, wanted):
    assert hub.target(Params(token=TOKEN, **given)) == wanted


def test_a_run_without_a_name_needs_one_for_the_hub(api):
    with pytest.raises(ParamError, match="needs a name"):
        hub.target(Params(token=TOKEN, push_to_hub=True))
