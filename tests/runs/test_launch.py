"""Workers as processes. What they import as `nbtrain.fit` is a stand-in, so that a run takes milliseconds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nbtrain
from nbtrain.errors import RunError
from nbtrain.events import Failed, Stopped
from nbtrain.runs import control, folder, launch, process, status
from nbtrain.runs.journal import story

FIT = """
import json, os, sys, time
from nbtrain.events import Finished, Logged, Started, Stopped
from nbtrain.runs import folder, status
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.journal import Journal

def fit(run, *, resume=False, sinks=(), secrets=None):
    told = {"argv": sys.argv, "orig": sys.orig_argv, "cwd": os.getcwd(), "resume": resume, "secrets": dict(secrets),
            "environment": dict(os.environ), "path": sys.path, "session": os.getsid(0)}
    (run.path / "told.json").write_text(json.dumps(told))
    what = json.loads(run.params.read_text())["what"]
    with folder.lock(run), Journal(run.events) as journal, status.Heartbeat(run):
        active = ActiveRun(run, journal)
        active.emit(Started(room="llm"))
        for step in range(1, 10**9):
            active.emit(Logged(step=step, values={"loss": 1 / step}))
            if step == 3:
                exec(what)
            if active.requests():
                active.emit(Stopped(step=step, reason=active.stopped))
                return "stopped"
            time.sleep(0.01)
        active.emit(Finished(step=step))
    return "finished"
"""


@pytest.fixture(autouse=True)
def stand_in(workdir, monkeypatch, tmp_path_factory):
    """A package nbtrain whose worker and runs are the true ones, and whose fit is the one above."""
    place = tmp_path_factory.mktemp("stand-in")
    (place / "nbtrain").mkdir()
    for file in Path(nbtrain.__file__).parent.iterdir():
        if file.name != "fit.py":
            (place / "nbtrain" / file.name).symlink_to(file)
    (place / "nbtrain" / "fit.py").write_text(FIT)
    monkeypatch.setenv("PYTHONPATH", str(place))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    yield
    launch.cool()
    for worker in launch._workers.values():
        worker.kill()
        worker.wait(20)
    launch._workers.clear()


@pytest.fixture
def light(monkeypatch):
    """A standby that has nothing heavy to import is ready at once."""
    place = Path(os.environ["PYTHONPATH"])
    for name in ("torch", "transformers", "peft", "datasets"):
        (place / f"{name}.py").write_text("import sys; print('noise'); sys.stderr.write('noise')")


def prepared(what="pass", name="run"):
    run = folder.claim(name, "llm", "sft")
    run.params.write_text(json.dumps({"what": what}))
    return run


def going(run, steps=1):
    until = time.monotonic() + 60
    while not (run.events.exists() and len(story(run.events)) > steps) and time.monotonic() < until:
        time.sleep(0.01)
    assert len(story(run.events)) > steps
    return run


def told(run):
    return json.loads((run.path / "told.json").read_text())


def test_a_worker_trains_in_its_own_session_and_is_stopped_as_asked():
    run = prepared()
    worker = launch.launch(run)
    going(run)
    assert worker.poll() is None and worker.cause() == ""
    now = status.read(run)
    assert (now.state, now.pid) == ("running", worker.pid)
    assert told(run)["session"] == worker.pid != os.getsid(0)
    worker.stop()
    assert worker.wait(30) == 3
    assert worker.cause() == "stopped" and status.read(run).state == "stopped"


@pytest.mark.parametrize(
    ("what", "code", "kind", "cause"),
    [
        ("os._exit(0)", 0, "WorkerDied", "exit 0 in the middle of the run"),
        ("os._exit(5)", 5, "WorkerDied", "exit 5 before the run could say why"),
        ("sys.exit(0)", 1, "TrainingError", "SystemExit"),
        ("os.kill(os.getpid(), 9)", -9, "WorkerDied", "killed by SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", -11, "WorkerDied", "killed by SIGSEGV"),
        ("raise ValueError('of the room')", 1, "TrainingError", "of the room"),
    ],
)
def test_a_run_that_breaks_off_is_failed_everywhere_and_says_why(what, code, kind, cause):
    run = prepared(what)
    worker = launch.launch(run)
    assert worker.wait(30) == code
    assert cause in worker.cause()
    now, end = status.stored(run), story(run.events)[-1]
    assert now.state == "failed" and cause in now.cause
    assert isinstance(end, Failed) and end.error["kind"] == kind
    assert cause in end.error["why"] or cause in end.error["what"]


def test_a_crash_in_native_code_leaves_the_python_frames_in_the_log():
    run = prepared("import ctypes; ctypes.string_at(0)")
    launch.launch(run).wait(30)
    assert "Segmentation fault" in run.log.read_text() and 'fit.py", line' in run.log.read_text()


def test_a_worker_that_is_killed_takes_its_children_along():
    run = prepared("import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True)")
    worker = launch.launch(run)
    going(run, 6)
    child = int(run.log.read_text())
    assert process.alive(child)
    worker.kill()
    assert worker.wait(30) == -9
    until = time.monotonic() + 20
    while process.alive(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not process.alive(child)


def test_a_secret_travels_neither_as_an_argument_nor_in_the_environment_and_is_masked_in_the_log():
    run = prepared("print('my token is ' + secrets['token']); sys.stderr.write(secrets['token']); sys.exit()")
    launch.launch(run, {"token": "canary-0123456789"}).wait(30)
    seen = told(run)
    assert seen.pop("secrets") == {"token": "canary-0123456789"}
    assert "canary" not in json.dumps(seen)
    (run.path / "told.json").unlink()
    assert "my token is [secret]" in run.log.read_text()
    for file in run.path.rglob("*"):
        assert file.is_dir() or b"canary" not in file.read_bytes()


def test_a_module_in_the_users_folder_does_not_stand_in_for_pythons_own(workdir):
    (workdir / "logging.py").write_text("raise SystemExit('not me')")
    run = prepared("sys.exit()")
    launch.launch(run).wait(30)
    assert told(run)["cwd"] == str(workdir)
    assert str(workdir) not in told(run)["path"] and "" not in told(run)["path"]


def test_a_worker_has_all_cores_unless_the_user_says_otherwise_and_no_telemetry(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    first = prepared("sys.exit()")
    launch.launch(first).wait(30)
    environment = told(first)["environment"]
    assert environment["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))
    assert environment["HF_HUB_DISABLE_TELEMETRY"] == environment["PYTHONUNBUFFERED"] == "1"
    assert environment["TOKENIZERS_PARALLELISM"] == "false"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    second = prepared("sys.exit()")
    launch.launch(second).wait(30)
    assert told(second)["environment"]["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_to_end_asks_to_stop(number):
    run = prepared()
    worker = launch.launch(run)
    going(run)
    os.kill(worker.pid, number)
    assert worker.wait(30) == 3 and status.read(run).state == "stopped"


def test_the_second_signal_ends_it():
    run = prepared("time.sleep(60)")
    worker = launch.launch(run)
    going(run, 3)
    os.kill(worker.pid, signal.SIGTERM)
    until = time.monotonic() + 20
    while not (run.control / "stop").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert worker.poll() is None
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(30) == -15 and "SIGTERM" in worker.cause()


def test_a_signal_to_a_forked_child_does_not_stop_the_run():
    run = prepared(
        "ready, told = os.pipe(); child = os.fork()\n"
        "if child == 0: os.write(told, b'1'); time.sleep(60)\n"
        "os.read(ready, 1); os.kill(child, 15); code = os.waitpid(child, 0)[1]\n"
        "print('child', os.waitstatus_to_exitcode(code), flush=True)"
    )
    worker = launch.launch(run)
    going(run, 10)
    assert run.log.read_text() == "child -15\n"
    assert worker.poll() is None and status.read(run).state == "running"


def test_a_run_that_is_being_trained_is_not_launched_again():
    run = prepared()
    worker = launch.launch(run)
    going(run)
    with pytest.raises(RunError, match=f"trained already, by process {worker.pid}"):
        launch.launch(run, resume=True)
    assert status.read(run).pid == worker.pid and worker.poll() is None


def test_a_resumed_run_is_told_so_and_an_old_request_to_stop_is_void():
    run = prepared()
    launch.launch(run).kill()
    launch._workers[run.path].wait(30)
    control.ask(run, "stop")
    before = len(story(run.events))
    worker = launch.launch(run, resume=True)
    going(run, before + 5)
    assert worker.poll() is None and told(run)["resume"] is True
    assert status.read(run).cause == ""


KERNEL = """
import sys, time
from nbtrain.runs import launch
from nbtrain.runs.folder import RunFolder
launch.warm()
worker = launch.launch(RunFolder(sys.argv[1]))
if sys.argv[2] == "warm":
    launch.warm()
print(worker.pid, launch._standby and launch._standby.child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("standby", ["cold", "warm"])
def test_training_goes_on_when_its_kernel_is_killed_and_a_new_kernel_attaches(light, standby):
    run = prepared()
    kernel = subprocess.Popen([sys.executable, "-c", KERNEL, str(run.path), standby], stdout=subprocess.PIPE, text=True)
    pid, waiting = kernel.stdout.readline().split()
    going(run)
    kernel.kill()
    kernel.communicate()
    steps = len(story(run.events))
    going(run, steps + 10)
    worker = launch.attach(run)
    assert worker.pid == int(pid) and worker.poll() is None
    if standby == "warm":
        until = time.monotonic() + 30
        while process.alive(int(waiting)) and time.monotonic() < until:
            time.sleep(0.01)
        assert not process.alive(int(waiting))  # nobody needs it any more
    worker.stop()
    assert worker.wait(30) == 3
    assert launch.attach(run) is None


def test_the_death_of_a_worker_that_another_kernel_started_is_written_down(light):
    run = prepared()
    kernel = subprocess.Popen([sys.executable, "-c", KERNEL, str(run.path), "cold"], stdout=subprocess.PIPE, text=True)
    kernel.stdout.readline()
    going(run)
    worker = launch.attach(run)
    kernel.kill()
    kernel.communicate()
    os.killpg(worker.pid, signal.SIGKILL)
    assert worker.wait(30) == 1
    assert worker.cause().startswith(status.GONE)
    assert isinstance(story(run.events)[-1], Failed)


def test_a_worker_that_another_kernel_started_and_that_is_killed_here_has_stopped(light):
    run = prepared()
    kernel = subprocess.Popen([sys.executable, "-c", KERNEL, str(run.path), "cold"], stdout=subprocess.PIPE, text=True)
    kernel.stdout.readline()
    going(run)
    launch.attach(run).kill()
    kernel.kill()
    kernel.communicate()
    assert launch.attach(run) is None
    assert isinstance(story(run.events)[-1], Stopped) and status.read(run).state == "stopped"


def test_a_run_that_died_while_nobody_looked_gets_its_end_when_somebody_does():
    run = prepared()
    worker = launch.launch(run)
    going(run)
    os.killpg(worker.pid, signal.SIGKILL)
    launch._workers.pop(run.path)._child.wait()
    assert not isinstance(story(run.events)[-1], Failed)
    assert launch.attach(run) is None
    assert isinstance(story(run.events)[-1], Failed)


def test_a_standby_is_quiet_and_takes_the_next_run(light, workdir, monkeypatch, capfd):
    launch.warm()
    assert launch.is_warm(60)
    waiting = launch._standby.child.pid
    launch.warm()
    assert launch._standby.child.pid == waiting
    (workdir / "below").mkdir()
    monkeypatch.chdir(workdir / "below")
    monkeypatch.setenv("HF_TOKEN", "canary-0123456789")
    monkeypatch.setenv("MY_OWN", "1")
    run = prepared("print(os.environ['HF_TOKEN'], flush=True); os.system('echo native'); sys.exit()")
    worker = launch.launch(run, {"token": "other-0123456789"})
    assert worker.pid == waiting and not launch.is_warm()
    worker.wait(30)
    seen = told(run)
    assert seen["cwd"] == str(workdir / "below") and seen["environment"]["MY_OWN"] == "1"
    assert seen["secrets"] == {"token": "other-0123456789"}
    assert run.log.read_text().startswith("[secret]\nnative\n") and "noise" not in run.log.read_text()
    assert capfd.readouterr() == ("", "")


def test_a_standby_takes_a_run_before_it_is_ready():
    run = prepared("sys.exit()")
    (Path(os.environ["PYTHONPATH"]) / "torch.py").write_text("import time; time.sleep(1)")
    (Path(os.environ["PYTHONPATH"]) / "transformers.py").write_text("raise OSError('broken')")
    for name in ("peft", "datasets"):
        (Path(os.environ["PYTHONPATH"]) / f"{name}.py").write_text("")
    launch.warm()
    waiting = launch._standby.child.pid
    assert not launch.is_warm()
    worker = launch.launch(run)
    assert worker.pid == waiting
    assert worker.wait(30) == 1 and "SystemExit" in worker.cause()


@pytest.mark.parametrize("name", ["HF_HOME", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTHONPATH"])
def test_a_standby_that_imported_under_other_settings_is_not_taken(light, monkeypatch, name):
    launch.warm()
    waiting = launch._standby.child
    monkeypatch.setenv(name, os.environ.get(name, "") + os.pathsep + "7")
    run = prepared("sys.exit()")
    worker = launch.launch(run)
    assert worker.pid != waiting.pid
    assert waiting.poll() is not None
    worker.wait(30)
    assert told(run)["environment"][name].endswith("7")


def test_a_standby_from_before_an_installation_is_not_taken(light, monkeypatch):
    launch.warm()
    waiting = launch._standby.child
    monkeypatch.setattr(launch, "_packages", lambda: (0,))
    assert launch.launch(prepared("sys.exit()")).pid != waiting.pid


def test_a_standby_that_died_is_not_taken(light):
    launch.warm()
    assert launch.is_warm(60)
    launch._standby.child.kill()
    launch._standby.child.wait()
    assert not launch.is_warm()
    run = prepared("sys.exit()")
    assert launch.launch(run).wait(30) == 1
    assert "SystemExit" in status.read(run).cause


def test_a_standby_is_off_by_a_setting_and_ended_when_told(light, monkeypatch):
    monkeypatch.setenv("NBTRAIN_STANDBY", "0")
    launch.warm()
    assert launch._standby is None
    monkeypatch.delenv("NBTRAIN_STANDBY")
    launch.warm()
    child = launch._standby.child
    launch.cool()
    assert child.poll() is not None and launch._standby is None
    launch.cool()


def test_a_worker_that_cannot_even_start_says_what_is_in_its_log():
    (Path(os.environ["PYTHONPATH"]) / "nbtrain" / "redact.py").unlink()
    run = prepared()
    worker = launch.launch(run)
    assert worker.wait(30) == 1
    assert "ModuleNotFoundError: No module named 'nbtrain.redact'" in worker.cause()
    assert status.read(run).state == "failed"


def test_a_folder_that_is_gone_when_the_worker_looks_is_no_success(workdir, monkeypatch):
    (workdir / "gone").mkdir()
    monkeypatch.chdir(workdir / "gone")
    run = prepared(name=str(workdir / "run"))
    monkeypatch.setattr(launch.os, "getcwd", lambda: str(workdir / "never"))
    worker = launch.launch(run)
    assert worker.wait(30) == 1 and "never" in worker.cause()


def test_a_worker_that_its_user_ends_at_once_has_stopped_and_not_failed(light):
    run = prepared()
    worker = launch.launch(run)
    going(run)
    worker.kill()
    worker.wait(30)
    assert status.read(run).state == "stopped"
    end = story(run.events)[-1]
    assert (end.kind, end.reason) == ("stopped", "ended at once, as asked")
