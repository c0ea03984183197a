"""The user's own script: run when allowed, with what it declares, told from outside and telling what it does."""

import json
import os
import sys
import zipfile

import pytest

from nbtrain import trainers
from nbtrain.cli import main
from nbtrain.errors import DataError, ParamError
from nbtrain.run import Run
from nbtrain.trainers.generic import _needs

SCRIPT = """
import json, os, pathlib, sys

print("hello from the script", sys.argv[1:])
for step in range(1, 4):
    print(json.dumps({"step": step, "loss": 1 / step}), flush=True)
folder = pathlib.Path(os.environ["NBTRAIN_MODEL"])
(folder / "weights.txt").write_text(os.environ["NBTRAIN_SEED"] + os.environ.get("MODE", ""))
(folder / "seen.json").write_text(json.dumps(dict(os.environ)))
"""


@pytest.fixture
def script(workdir):
    path = workdir / "mine.py"
    path.write_text(SCRIPT)
    return path


def trained(*words):
    code = main(["generic", *words, "--project-name", "a-run"])
    return code, Run("a-run")


def test_a_script_runs_when_it_is_allowed_and_its_numbers_are_the_curve(script):
    given = ["--args", '{"lr": 0.5, "verbose": true, "quiet": false}', "--env", '{"MODE": "fast"}', "--seed", "7"]
    code, run = trained("--script-path", str(script), "--allow-script", *given)
    assert code == 0 and run.status == "finished"
    assert run.record.series["loss"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert (run.folder.model / "weights.txt").read_text() == "7fast"
    report = json.loads(run.folder.report.read_text())
    assert report["exit_status"] == 0
    assert report["output"] == ["hello from the script ['--lr', '0.5', '--verbose']"]
    assert "hello from the script" in (run.folder.log.parent / "script.log").read_text()
    assert "weights.txt" in run.folder.card.read_text()


def test_nothing_runs_before_it_is_allowed(script, capsys):
    code, run = trained("--script-path", str(script))
    assert code == 1 and run.status == "failed"
    assert "--allow-script" in run.error.fix
    assert not list(run.folder.path.glob("script/*"))


def test_a_script_sees_no_secret_but_the_one_it_is_given(script, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "canary-of-the-environment")
    monkeypatch.setenv("ITS_KEY", "canary-that-is-handed-on")
    code, run = trained("--script-path", str(script), "--allow-script", "--env", '{"KEY": "$ITS_KEY"}')
    assert code == 0
    seen = json.loads((run.folder.model / "seen.json").read_text())
    assert seen["KEY"] == "canary-that-is-handed-on"
    assert "WANDB_API_KEY" not in seen
    written = [path for path in run.folder.path.rglob("*") if path.is_file() and path.name != "seen.json"]
    assert not [path.name for path in written if b"canary" in path.read_bytes()]


def test_a_script_that_fails_is_a_run_that_failed(workdir):
    (workdir / "bad.py").write_text("import sys\nprint('before')\nsys.exit('no such animal')\n")
    code, run = trained("--script-path", "bad.py", "--allow-script")
    assert code == 1 and run.status == "failed"
    assert "status 1" in run.error.what and "no such animal" in run.error.why


def test_a_script_that_is_asked_to_stop_may_put_its_things_away(workdir):
    (workdir / "slow.py").write_text(
        "import os, pathlib, time\n"
        "try:\n"
        '    print(\'{"step": 1, "loss": 2.0}\', flush=True)\n'
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    (pathlib.Path(os.environ['NBTRAIN_MODEL']) / 'half.txt').write_text('half')\n"
    )
    code, run = trained("--script-path", "slow.py", "--allow-script", "--max-minutes", "0.02")
    assert code == 3 and run.status == "stopped"
    assert (run.folder.model / "half.txt").read_text() == "half"


def test_what_stands_beside_a_script_goes_with_it(workdir):
    folder = workdir / "mine"
    folder.mkdir()
    (folder / "helper.py").write_text("ANSWER = 42\n")
    (folder / "script.py").write_text("import helper\nprint('answer', helper.ANSWER)\n")
    code, run = trained("--script-path", "mine", "--allow-script")
    assert code == 0
    assert json.loads(run.folder.report.read_text())["output"] == ["answer 42"]
    assert (run.folder.path / "script" / "helper.py").exists()


def test_declared_packages_get_an_environment_of_their_own(workdir):
    wheel = workdir / "animal-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("animal.py", 'SOUND = "moo"')
        made.writestr("animal-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: animal\nVersion: 1.0\n")
        made.writestr("animal-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr("animal-1.0.dist-info/RECORD", "")
    (workdir / "loud.py").write_text(
        f'# /// script\n# dependencies = ["animal @ {wheel.as_uri()}"]\n# ///\n'
        "import animal, sys\nprint(animal.SOUND, sys.prefix)\n"
    )
    code, run = trained("--script-path", "loud.py", "--allow-script")
    assert code == 0, run.error
    said = json.loads(run.folder.report.read_text())["output"][0]
    assert said.startswith("moo ") and str(run.folder.path / "environment") in said
    assert said.split(" ", 1)[1] != sys.prefix


def test_dependencies_are_read_from_the_head_or_the_file_beside(workdir):
    (workdir / "a.py").write_text('# /// script\n# dependencies = [\n#   "one>=1",\n#   "two",\n# ]\n# ///\n')
    assert _needs.dependencies(workdir / "a.py") == ["one>=1", "two"]
    (workdir / "b.py").write_text("")
    assert _needs.dependencies(workdir / "b.py") == []
    (workdir / "requirements.txt").write_text("# mine\nthree==3  # exactly\n\n")
    assert _needs.dependencies(workdir / "b.py") == ["three==3"]


def test_what_cannot_be_run_is_told_before_anything_is(workdir):
    room = trainers.load("generic")
    (workdir / "torn.py").write_text("def f(:\n")
    for given, told in [
        ({}, "generic needs a script"),
        ({"script_path": "nowhere.py"}, "there is no"),
        ({"script_path": "torn.py"}, "is no Python"),
    ]:
        with pytest.raises(ParamError, match=told):
            room.check(room.Params(**given), workdir)
    with pytest.raises(DataError, match="no file or folder"):
        _needs.data(room.Params(data_path=os.path.join(".", "nothing")), workdir)


def test_the_script_that_was_exported_runs_the_same(script, tmp_path):
    code, run = trained("--script-path", str(script), "--allow-script")
    assert code == 0
    assert "allow_script=True" in run.export("script") and "script_path=" in run.export("script")


def test_a_script_that_is_taken_up_again_begins_anew_and_says_so_once(workdir):
    (workdir / "twice.py").write_text(
        "import pathlib, sys\n"
        "first = not pathlib.Path('../seen').exists()\n"
        "pathlib.Path('../seen').touch()\n"
        'print(\'{"step": 1, "loss": 2.0}\')\n'
        "sys.exit(int(first))\n"
    )
    code, run = trained("--script-path", "twice.py", "--allow-script")
    assert code == 1
    assert main(["resume", "a-run"]) == 0
    assert Run("a-run").status == "finished"
    assert len(Run("a-run").record.resumed) == 1
