"""A notebook to type into: a real IPython shell, in which only the training itself is stood in for."""

import threading

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import nbtrain
from nbtrain import events, fit


class Cell:
    """What a cell left behind."""

    def __init__(self, result, captured):
        self.result = result.result
        self.error = result.error_in_exec or result.error_before_exec
        self.stdout, self.stderr = captured.stdout, captured.stderr
        self.bundles = [output.data for output in captured.outputs]
        self.updates = [output.update for output in captured.outputs]


class Notebook:
    """A shell that a test types into."""

    def __init__(self, shell):
        self.shell = shell

    def __call__(self, text):
        with capture_output() as captured:
            result = self.shell.run_cell(text, store_history=True)
        return Cell(result, captured)

    def __getitem__(self, name):
        return self.shell.user_ns[name]

    def __setitem__(self, name, value):
        self.shell.user_ns[name] = value

    def magics(self):
        return self.shell.magics_manager.magics


@pytest.fixture
def shell(workdir, monkeypatch):
    monkeypatch.setenv("NBTRAIN_STANDBY", "0")
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.kernel = object()  # as in a kernel, displays go to the cell
    yield shell
    nbtrain.unload_ipython_extension(shell)
    InteractiveShell.clear_instance()


@pytest.fixture
def notebook(shell):
    shell.run_line_magic("load_ext", "nbtrain")
    return Notebook(shell)


class _Thread:
    """A worker whose process is this one."""

    def __init__(self, run, secrets, resume):
        self._thread = threading.Thread(target=fit.fit, args=(run,), kwargs={"secrets": secrets, "resume": resume})
        self._thread.start()

    def wait(self, timeout=None):
        self._thread.join(timeout)


@pytest.fixture
def train(monkeypatch):
    """Stands in for the training of `llm` and for its process."""

    def plant(body=None, steps=3):
        def fake(params, run):
            run.emit(events.Started(step=0, room="llm", method=params.trainer, name=run.folder.name, total_steps=steps))
            for step in range(1, steps + 1):
                run.emit(events.Logged(step=step, values={"loss": 3.0 - step / steps}))
                if body:
                    body(params, run)
                if "stop" in run.requests():
                    break
            run.folder.model.mkdir(exist_ok=True)
            return {"loss": 0.5}

        monkeypatch.setattr("nbtrain.trainers.llm.train", fake)

    def launch(run, secrets=None, *, resume=False):
        return _Thread(run, secrets or {}, resume)

    monkeypatch.setattr("nbtrain.runs.launch.launch", launch)
    plant()
    return plant
