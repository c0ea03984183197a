"""What the tests of the notebook stand on: stored and made-up journals, a reader of pages, a shell to type into."""

import math
import os
import textwrap
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import nbtrain
from nbtrain import events, fit
from nbtrain.runs import status
from nbtrain.runs.journal import story
from nbtrain.runs.record import Record

JOURNALS = Path(__file__).parent / "journals"
BEGIN = 1_795_000_000.0
SCREEN = os.terminal_size((100, 24))  # (columns, lines)


class Page(HTMLParser):
    """The tags of a page with their attributes' names, its text, and what stands in each table."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.tables, self._path = [], "", [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, *sorted(name for name, _ in attributes)))
        self._path.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self._path.pop() == tag, "tags are closed in order"

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self._path.pop()

    def handle_data(self, data):
        if "style" not in self._path:
            self.text += data + "\n"
        if {"td", "th"} & set(self._path):
            self.tables[-1][-1][-1] += data

    def handle_comment(self, data):
        raise AssertionError("a frame has no comments")

    handle_decl = handle_pi = unknown_decl = handle_comment


def made(steps, every=10, values=lambda step: 2 + math.exp(-step / 40)):
    yield events.Started(time=BEGIN, room="llm", method="sft", name="a-run", total_steps=steps, facts={"device": "cpu"})
    for step in range(1, steps + 1):
        time = BEGIN + step
        logged = {"loss": values(step), "learning_rate": 1e-3 * (1 - step / steps), "tokens_per_second": 4800.0}
        yield events.Logged(time=time, step=step, epoch=step / 50, values=logged)
        if step % every == 0:
            yield events.Evaluated(time=time, step=step, values={"loss": 2.2 + math.exp(-step / 40), "perplexity": 9.0})
            sample = {"prompt": "Name a colour.", "output": "Red.", "expected": "Blue."}
            yield events.Sampled(time=time, step=step, samples=(sample, sample))


@pytest.fixture
def page_of():
    """Reads a frame as a browser would."""
    return Page


@pytest.fixture
def a_run():
    """The events of a run that was never trained."""
    return made


@pytest.fixture
def events_of():
    """The events of a stored journal, by its name."""
    return lambda name: story(JOURNALS / f"{name}.jsonl")


@pytest.fixture
def stored(events_of):
    """The record of a stored journal, by its name."""
    return lambda name: Record.of(events_of(name))


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


@pytest.fixture
def screen():
    """Sees that a cell shows its error as one screen in four parts, without a frame of anybody's; gives its text."""

    def see(cell, kind):
        assert type(cell.error) is kind, cell.error
        told = "\n".join(cell.error._render_traceback_())
        assert told in cell.stdout
        assert sum(max(1, len(textwrap.wrap(line, SCREEN.columns))) for line in told.splitlines()) <= SCREEN.lines
        for frame in ("Traceback", 'File "', "site-packages", "----> "):
            assert frame not in cell.stdout
        assert told.startswith(f"{kind.__name__}: ")
        assert "\n  what to do: " in told
        return told

    return see


class _Thread:
    """A worker whose process is this one."""

    def __init__(self, run, secrets, resume):
        status.begin(run, os.getpid())  # as launch does: who looks at once sees no end of before
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


@pytest.fixture
def opened(notebook):
    """Open a panel with a line of the magic."""

    def go(line="llm"):
        cell = notebook(f"p = %autotrain panel {line}\np")
        assert cell.error is None, cell.error
        return notebook["p"]

    return go
