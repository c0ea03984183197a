import json
import os
import subprocess
import sys
import time

import pytest

from nbtrain.errors import ParamError, RunError
from nbtrain.params import Params, option
from nbtrain.runs import folder
from nbtrain.runs.folder import RunFolder


class Small(Params):
    lr: float = option(1e-3, "learning rate", group="Training", gt=0)
    data_path: object = option("demo", "rows", group="Basic")
    tags: tuple[str, ...] = option((), "words", group="Basic")
    token: str | None = option(None, "hub token", group="Hub", secret=True)


Small.room = "small"


def run_python(source, *arguments, **settings):
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **settings
    )


def made(root, name, *, born=None):
    place = root / name
    place.mkdir(parents=True)
    (place / "params.json").write_text("{}")
    if born is not None:
        os.utime(place / "params.json", (born, born))
    return RunFolder(place)


def test_a_run_without_a_name_is_numbered_by_room_and_method(workdir):
    assert folder.claim(None, "llm", "sft").path == workdir / "runs" / "llm-sft-1"
    assert folder.claim(None, "llm", "sft").path == workdir / "runs" / "llm-sft-2"
    assert folder.claim(None, "llm", "dpo").path == workdir / "runs" / "llm-dpo-1"
    assert folder.claim(None, "tabular", "").path == workdir / "runs" / "tabular-1"


def test_a_number_that_was_deleted_is_not_given_again_while_a_later_one_stands(workdir):
    first, _ = folder.claim(None, "llm", "sft"), folder.claim(None, "llm", "sft")
    first.path.rmdir()
    assert folder.claim(None, "llm", "sft").name == "llm-sft-3"


def test_a_taken_name_gets_the_next_suffix_and_what_stands_there_is_not_touched(workdir):
    (workdir / "mine").mkdir()
    (workdir / "mine" / "thesis.txt").write_text("years of work")
    (workdir / "mine-2").write_text("a file")
    os.symlink("nowhere", workdir / "mine-3")
    assert folder.claim("mine", "llm", "sft").path == workdir / "mine-4"
    assert (workdir / "mine" / "thesis.txt").read_text() == "years of work"
    assert (workdir / "mine-2").read_text() == "a file"
    assert not (workdir / "nowhere").exists()


def test_a_path_is_taken_as_a_path_and_a_name_goes_below_the_root(workdir, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert folder.claim("a/b/c", "llm", "sft", workdir / "root").path == workdir / "root" / "a" / "b" / "c"
    assert folder.claim(str(elsewhere / "run"), "llm", "sft").path == elsewhere / "run"
    assert folder.claim("../sibling", "llm", "sft", workdir / "root").path == workdir / "sibling"


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a/..", " ", "/", "new\nline", "nul\0", "esc\x1b[31m", "rtl\u202egnp", " x"]
)
def test_a_name_that_is_none_is_refused_and_nothing_is_made(workdir, name):
    with pytest.raises(ParamError, match="--project-name"):
        folder.claim(name, "llm", "sft")
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "$(rm -rf x)", "-rf", "{x}", "naïve 模型", "a b", "%s"]
)
def test_a_name_that_means_something_elsewhere_is_only_a_name_here(workdir, name):
    assert folder.claim(name, "llm", "sft").name == name.rpartition("/")[2]
    assert [path.name for path in workdir.iterdir()] == [name]


def test_a_place_where_no_folder_can_be_made_is_told(workdir):
    (workdir / "file").write_text("")
    with pytest.raises(RunError, match="cannot be made"):
        folder.claim("file/run", "llm", "sft")
    with pytest.raises(RunError, match="too long"):
        folder.claim("n" * 300, "llm", "sft")


CLAIMS = """
import sys
from nbtrain.runs.folder import claim
sys.stdin.readline()
for _ in range(10):
    print(claim("same", "llm", "sft").name)
    print(claim(None, "llm", "sft").path)
"""


def test_twenty_processes_that_claim_at_once_never_share_a_folder(workdir):
    racers = [run_python(CLAIMS, stdin=subprocess.PIPE) for _ in range(20)]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    claimed = [line for racer in racers for line in racer.communicate()[0].split()]
    assert len(claimed) == 400
    assert len(set(claimed)) == 400
    assert all(RunFolder(path).path.is_dir() for path in claimed)


HOLDS = """
import sys
from nbtrain.runs.folder import RunFolder, lock
with lock(RunFolder(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_locked_run_is_refused_until_its_holder_is_killed(workdir):
    run = folder.claim("run", "llm", "sft")
    holder = run_python(HOLDS, run.path, stdin=subprocess.PIPE)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match="written by another process"), folder.lock(run):
        pass
    holder.kill()
    holder.communicate()
    with folder.lock(run), pytest.raises(RunError), folder.lock(run):
        pass
    with folder.lock(run):
        pass


FORKS = """
import os, sys, time
from nbtrain.runs.folder import RunFolder, lock
with lock(RunFolder(sys.argv[1])):
    child = os.fork()
    if child == 0:
        print("held", flush=True)  # by the child: it is alive, and what is to be done in it after a fork is done
        sys.stdin.readline()
        os._exit(0)
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_that_outlives_the_holder_does_not_hold_the_lock(workdir):
    run = folder.claim("run", "llm", "sft")
    holder = run_python(FORKS, run.path, stdin=subprocess.PIPE)
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    try:
        with folder.lock(run):
            pass
    finally:
        holder.communicate("go\n")  # comes back when the child has ended too


def test_runs_are_listed_oldest_first_from_the_root_and_its_runs_folder(workdir):
    made(workdir / "runs", "llm-sft-2", born=200)
    made(workdir, "mine", born=100)
    made(workdir / "runs", "llm-sft-1", born=300)
    made(workdir / "deep" / "er", "hidden")
    (workdir / "no-run").mkdir()
    (workdir / "file").write_text("")
    assert [run.name for run in folder.all_runs()] == ["mine", "llm-sft-2", "llm-sft-1"]
    assert folder.all_runs(workdir / "nowhere") == []


def test_a_run_is_found_by_path_name_number_and_the_beginning_of_its_name(workdir):
    first = made(workdir, "alpha", born=1)
    second = made(workdir / "runs", "llm-sft-1", born=2)
    third = made(workdir / "far" / "away", "run")
    assert folder.find("alpha") == folder.find("1") == folder.find("al") == folder.find("./alpha") == first
    assert folder.find("llm-sft-1") == folder.find("2") == folder.find("runs/llm-sft-1") == second
    assert folder.find(third.path) == folder.find("far/away/run") == third


def test_a_name_goes_before_a_number_and_before_the_beginning_of_another(workdir):
    made(workdir, "2", born=1)
    made(workdir, "ab", born=2)
    made(workdir, "abc", born=3)
    assert folder.find("2").name == "2"
    assert folder.find("3").name == "abc"
    assert folder.find("ab").name == "ab"


@pytest.mark.parametrize("given", ["", "none", "9", "0", "-1", "../..", "[a-z]*", "\0"])
def test_a_run_that_is_not_there_is_told_with_the_newest(workdir, given):
    made(workdir, "alpha")
    with pytest.raises(RunError, match="no run") as caught:
        folder.find(given)
    assert "alpha" in caught.value.fix


def test_the_nearest_name_is_offered_and_several_are_listed(workdir):
    made(workdir, "shakespeare-1")
    made(workdir, "shakespeare-2")
    with pytest.raises(RunError, match="Did you mean shakespeare-1"):
        folder.find("shakspeare-1")
    with pytest.raises(RunError, match="any of 2 runs: shakespeare-1, shakespeare-2"):
        folder.find("shake")


def test_what_was_asked_is_written_with_who_gave_it_and_read_back(workdir):
    run = folder.claim("run", "small", "")
    before = time.time()
    params = Small(lr=0.5, tags=("a", "b")).but(data_path="rows.parquet")
    folder.write_params(run, params)
    record = folder.read_params(run)
    assert record["room"] == "small" and record["method"] == ""
    assert record["params"] == {"lr": 0.5, "data_path": "rows.parquet", "tags": ["a", "b"]}
    assert record["provenance"] == {"lr": "user", "tags": "user", "data_path": "auto"}
    assert record["versions"]["numpy"].count(".") == 2
    assert before <= record["created"] <= time.time()
    assert Small(**record["params"]).record() == params.record()


def test_a_secret_is_not_in_what_was_asked_nor_where_it_stands_in_another_value(workdir, monkeypatch):
    from nbtrain import redact

    monkeypatch.setattr(redact, "_known", set())
    redact.remember('canary"quoted')
    run = folder.claim("run", "small", "")
    folder.write_params(run, Small(token="canary-in-token", data_path='https://me:canary"quoted@host/x'))
    text = run.params.read_text()
    assert "canary" not in text
    assert json.loads(text)["params"]["data_path"] == "https://me:[secret]@host/x"


def test_a_value_that_cannot_be_written_is_refused_and_nothing_is_left(workdir):
    run = folder.claim("run", "small", "")
    with pytest.raises(ParamError, match="cannot be written: object is no text"):
        folder.write_params(run, Small(data_path=object()))
    assert list(run.path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "is no run"),
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "without room"),
        ("{}", "without room"),
    ],
)
def test_parameters_that_are_missing_or_torn_are_told(workdir, text, told):
    run = folder.claim("run", "small", "")
    if text is not None:
        run.params.write_text(text)
    with pytest.raises(RunError, match=told):
        folder.read_params(run)


def test_every_path_of_a_run_lies_below_it(workdir, monkeypatch):
    run = RunFolder("run")
    monkeypatch.chdir("/")
    assert run.path == workdir / "run"
    assert run.log == workdir / "run" / "log" / "worker.log"
    assert run.events == workdir / "run" / "events.jsonl"
    assert not run.path.exists()
