"""A push to a hub that speaks the hub's HTTP: what is asked first, what is sent, and what breaks in the middle."""

import pytest

from nbtrain import fit, redact
from nbtrain import hub as hub_module
from nbtrain.errors import ParamError, RunError
from nbtrain.hub import sending
from nbtrain.run import Run
from nbtrain.runs import control
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal, story
from nbtrain.trainers import load

Params = load("llm").Params
# huggingface_hub sends its files by an old name of an argument of its transport
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN = "hf_" + "Canary7Q" * 4
WEIGHTS = bytes(range(256)) * 2500  # more than one part


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    folder.model.mkdir(parents=True)
    (folder.model / "config.json").write_text('{"model_type": "llama"}')
    (folder.model / "model.safetensors").write_bytes(WEIGHTS)
    folder.card.write_text("---\nlibrary_name: transformers\n---\n\n# mine\n\n## Parameters\n")
    folder.script.write_text("train()")
    for place in (folder.data / "train.parquet", folder.checkpoints / "checkpoint-1" / "weights", folder.log):
        place.parent.mkdir(parents=True)
        place.write_text("private")
    for place in (folder.events, folder.status, folder.predictions, folder.report):
        place.write_text("")
    return folder


@pytest.fixture
def told():
    return []


@pytest.fixture
def push(run, told):
    def pause(sentence, seconds):
        told.append((sentence, seconds))

    return lambda repo_id="mine", **how: hub_module.push(run, repo_id, token=TOKEN, pause=pause, **how)


def test_a_push_sends_the_model_its_card_and_its_script_and_nothing_else(near, push):
    assert push() == f"{near.url}/somebody/mine"
    (repository,) = near.repositories.values()
    assert repository.private and repository.commits == ["mine, trained by nbtrain"]
    assert set(repository.files) == {"config.json", "model.safetensors", "README.md", "train.py"}
    assert repository.files["model.safetensors"] == WEIGHTS
    assert len(near.requests("PUT")) == 4, "in parts of 200,000 bytes"
    assert not [path for _, path, body in near.seen if b"private" in body and "create" not in path]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/lfs/", 0),
        ("PUT", "/3$", 500),
        ("POST", "complete", 0),
        ("POST", "commit", 503),
        ("POST", "commit", 429),
        ("POST", "repos/create", 500),
        ("POST", "preupload", 0),
    ],
)
def test_a_break_in_the_middle_costs_another_attempt(near, push, told, fault, method, path, status):
    fault(method, path, status)
    push()
    assert near.repositories["somebody/mine"].files["model.safetensors"] == WEIGHTS
    # what a file or a question meets, the client itself tries again; a commit and a repository only we do
    assert [seconds for _, seconds in told] == ([2.0] if path in ("commit", "repos/create") else [])
    assert all("somebody/mine did not succeed, and is tried again in 2 s" in sentence for sentence, _ in told)


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("1", 2.0), ("86400", 300.0), ("Fri, 01 Jan 2027", 2.0)])
def test_a_hub_that_says_when_it_wants_to_be_asked_again_is_obeyed(near, push, told, fault, asked, waited):
    fault("POST", "commit", 429, headers={"Retry-After": asked})
    push()
    assert [seconds for _, seconds in told] == [waited]


def test_a_run_that_is_to_stop_does_not_wait_for_another_attempt(run):
    with Journal(run.events) as journal:
        active = ActiveRun(run, journal)
        control.ask(run, "stop")
        with pytest.raises(RunError, match="stopped as asked"):
            fit._pause(active, "It is tried again", 3600)
    assert [event.message for event in story(run.events)] == ["It is tried again"]


def test_a_hub_that_stays_broken_is_left_after_four_attempts(near, push, told, fault):
    fault("POST", "commit", 500, times=99)
    with pytest.raises(RunError, match="did not succeed"):
        push()
    assert [seconds for _, seconds in told] == list(sending.PAUSES)
    assert len(near.requests("POST", "commit")) == 4
    assert len(near.requests("PUT")) == 4, "each part was sent once"


def test_a_push_after_a_broken_one_does_not_send_what_has_arrived(near, push, fault):
    fault("POST", "commit", 500, times=4)
    with pytest.raises(RunError):
        push()
    near.seen.clear()
    push()
    assert near.repositories["somebody/mine"].files["model.safetensors"] == WEIGHTS
    assert near.requests("PUT") == []
    near.seen.clear()
    push()
    assert near.requests("POST", "commit") == [], "nothing has changed"


@pytest.mark.parametrize("status", [401, 403, 400, 413])
def test_a_refusal_is_told_at_once(near, push, told, fault, status):
    fault("POST", "commit", status, times=99)
    with pytest.raises(RunError):
        push()
    assert told == [] and len(near.requests("POST", "commit")) == 1


def test_the_weights_of_another_model_do_not_stay_beside_the_new(near, push):
    there = near.make("somebody/mine")
    there.files = {"adapter_config.json": b"{}", "model-00001-of-00002.safetensors": b"old", "LICENSE": b"mine"}
    push()
    assert set(there.files) == {"config.json", "model.safetensors", "README.md", "train.py", "LICENSE"}


SCOPED = {"scoped": [{"entity": {"type": "org", "name": "club"}, "permissions": ["repo.write"]}]}
READS = {"scoped": [{"entity": {"type": "user", "name": "somebody"}, "permissions": ["repo.content.read"]}]}
CLUB = [{"name": "club", "roleInOrg": "write"}]


@pytest.mark.parametrize(
    ("account", "repo_id", "said"),
    [
        ({"role": "read"}, "somebody/mine", "may only read"),
        ({}, "stranger/mine", "of somebody, may not write to stranger/mine"),
        ({"orgs": CLUB}, "club/mine", ""),
        ({"orgs": [{"name": "club", "roleInOrg": "read"}]}, "club/mine", "may not write to club/mine"),
        ({"role": "fineGrained", "fineGrained": SCOPED}, "club/mine", ""),
        ({"role": "fineGrained", "fineGrained": SCOPED}, "somebody/mine", "may not write to somebody/mine"),
        ({"role": "fineGrained", "fineGrained": READS}, "somebody/mine", "may not write to somebody/mine"),
    ],
)
def test_what_the_token_may_write_is_known_before_anything_is_made(near, account, repo_id, said):
    near.user(TOKEN, "somebody", **account)
    asked = Params(push_to_hub=True, repo_id=repo_id, token=TOKEN)
    if said:
        with pytest.raises(ParamError, match=said) as caught:
            hub_module.target(asked)
        assert caught.value.fix
    else:
        assert hub_module.target(asked) == repo_id
    assert near.repositories == {}


def test_a_hub_that_stumbles_is_asked_once_more_before_training(near, told, fault):
    fault("GET", "whoami", 500)
    asked = Params(push_to_hub=True, repo_id="mine", token=TOKEN)
    assert hub_module.target(asked, pause=lambda sentence, seconds: told.append(sentence)) == "somebody/mine"
    assert told[0].startswith("Asking the hub about mine did not succeed, and is tried again in 2 s")


def test_a_token_that_the_hub_does_not_know_is_told_before_training(near):
    with pytest.raises(RunError, match="does not know this token"):
        hub_module.target(Params(push_to_hub=True, repo_id="a/b", token="hf_" + "wrong" * 6))


def test_what_is_private_is_not_put_where_everybody_reads(near, push):
    near.make("somebody/mine", private=False)
    with pytest.raises(ParamError, match="everybody may read it"):
        push()
    assert near.repositories["somebody/mine"].files == {}
    push(private=False)
    assert near.repositories["somebody/mine"].files


def test_a_secret_in_a_file_stops_the_push(near, push, run, monkeypatch):
    monkeypatch.setattr(redact, "_known", set())
    redact.remember("canary-4f9d81c7b2")
    (run.model / "notes.txt").write_text("key = canary-4f9d81c7b2")
    with pytest.raises(RunError, match=r"notes\.txt holds a secret"):
        push()
    assert near.repositories == {}


def test_hidden_files_and_links_that_lead_out_stay(near, push, run, tmp_path):
    (tmp_path / "elsewhere").write_text("of somebody else")
    (run.model / "link.txt").symlink_to(tmp_path / "elsewhere")
    for place in (".env", ".git/config", "parts/.cache/x"):
        (run.model / place).parent.mkdir(parents=True, exist_ok=True)
        (run.model / place).write_text("hidden")
    (run.model / "parts" / "one.txt").write_text("")
    push()
    sent = set(near.repositories["somebody/mine"].files)
    assert sent == {"config.json", "model.safetensors", "README.md", "train.py", "parts/one.txt"}


def test_the_home_of_the_user_is_in_no_text(near, push, run, monkeypatch):
    monkeypatch.setenv("HOME", "/srv/jane")
    run.script.write_text('train("/srv/jane/rows.csv", "/srv/janet/x")')
    push()
    assert near.repositories["somebody/mine"].files["train.py"] == b'train("~/rows.csv", "/srv/janet/x")'


def test_a_run_pushes_itself(near, run):
    run.params.write_text('{"room": "llm", "params": {"username": "somebody"}}')
    assert Run(run).push_to_hub(token=TOKEN) == Run(run).push("mine", token=TOKEN) == f"{near.url}/somebody/mine"
    assert Run(run).push_to_hub("open", private=False, token=TOKEN) == f"{near.url}/somebody/open"
    assert [each.private for each in near.repositories.values()] == [True, False]


def test_what_trains_again_pushes_nothing(near, push, run):
    run.script.write_text('    P(\n        lr=1,\n        push_to_hub=True,\n        username="a",\n    )\n')
    run.config.write_text("params:\n  repo_id: a/b\n  push_to_hub: true\n  lr: 1\n")
    push()
    files = near.repositories["somebody/mine"].files
    assert files["train.py"] == b"    P(\n        lr=1,\n    )\n"
    assert files["config.yaml"] == b"params:\n  lr: 1\n"


def test_the_verb_names_the_run_and_maybe_the_repository(near, run, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    run.params.write_text('{"room": "llm", "params": {"repo_id": "somebody/asked", "hub_private": false}}')
    assert hub_module.answer(["mine"], tmp_path) == f"Uploaded: {near.url}/somebody/asked"
    assert not near.repositories["somebody/asked"].private
    assert hub_module.answer(["mine", "other", "--public"], tmp_path) == f"Uploaded: {near.url}/somebody/other"
    with pytest.raises(ParamError, match="push needs a run"):
        hub_module.answer([], tmp_path)
