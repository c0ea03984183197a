"""A room as a form: `%autotrain panel llm`, `nbtrain.panel("llm")`; a run that there is opens in one, too.

The form is made from the room's fields. What stands in it is shown beside it as a line, a cell and a script: that code
is the record, not the state of the widgets.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display

from nbtrain import controls, trainers
from nbtrain.errors import NbtrainError, ParamError, RunError
from nbtrain.notebook.panel.board import Board, Form
from nbtrain.notebook.panel.conduct import Conduct
from nbtrain.notebook.panel.draft import Draft
from nbtrain.notebook.settings import NBTrain
from nbtrain.params import Params
from nbtrain.redact import remember_environment
from nbtrain.run import Run
from nbtrain.runs import folder

__all__ = ["Panel", "panel"]

_ASKS = {"stop": "stop", "save": "save", "sample": "sample", "pause": "pause", "change": "lr"}
"""What each button needs of a run."""


def panel(what: str | Run = "llm", **values: Any) -> Panel:
    """A form for a room, or for what a run was started with.

    Args:
        what: a room; a Run, or the name of one below the runs folder.
        values: of the room's parameters, to begin with.

    Raises:
        RunError: there is no notebook, or no such run. ParamError: a value is wrong.
    """
    shell = get_ipython()
    if shell is None:
        raise RunError("a panel needs a notebook", fix="`nbtrain ROOM --help` lists the parameters for a command")
    remember_environment()  # a variable of it may be in what is typed
    settings = next((each for each in shell.configurables if isinstance(each, NBTrain)), None) or NBTrain(parent=shell)
    if isinstance(what, str) and trainers.command(what) in trainers.names():
        draft = Draft(what, shell.user_ns)
        if values:
            draft.fill(draft.params_class.read(values, source="panel")[0])
        return Panel(draft, shell, settings)
    run = what if isinstance(what, Run) else Run(folder.find(str(what), settings.runs_folder))
    draft = Draft(run.params.room, shell.user_ns)
    draft.fill(run.params.but(source="panel", **values) if values else run.params)
    return Panel(draft, shell, settings, run)


def of(params: Params) -> Panel:
    """A form that begins with these parameters."""
    return panel(params.room, **{name: getattr(params, name) for name in params.given()})


class Panel:
    """A form, its code and its run. It is shown where it stands as the last value of a cell.

    Args:
        run: one to show below, as it is or goes on.
    """

    def __init__(self, draft: Draft, shell: Any, settings: NBTrain, run: Run | None = None) -> None:
        self.draft, self._shell = draft, shell
        self.conduct = Conduct(self._run_changed, root=settings.runs_folder, pace=settings.refresh)
        self.form = Form(draft, self.update)
        doc = (sys.modules[draft.params_class.__module__].__doc__ or "").strip().split("\n")[0]
        self.board = Board(self.form, f"{draft.room}{f': as {run.name} was started' if run else ''}", doc)
        self._begin, self._error, self._code_of_run = run, "", False
        self._reading = draft.read()
        self.form.arrange()
        self._on("train", self.train)
        for name in ("stop", "save", "sample"):
            self._on(name, lambda name=name: self.conduct.ask(name))
        self._on("pause", lambda: self.conduct.ask("go" if self.conduct.state == "paused" else "pause"))
        self._on("change", lambda: self.conduct.change(lr=self.board.rate.value.strip()))
        shell.events.register("post_run_cell", self._cell_has_run)
        self.update()

    @property
    def run(self) -> Run | None:
        """The run that the panel has started, or shows."""
        return self.conduct.run

    @property
    def params(self) -> Params | None:
        """What the form says; None where something in it is wrong."""
        return self.draft.read().params

    def train(self) -> None:
        """Start a run in the background with what the form says.

        Raises:
            NbtrainError: it cannot be started; a ParamError: something in the form is wrong.
        """
        reading = self._reading = self.draft.read()  # a cell may have changed what a name means
        if reading.params is None:
            raise ParamError("the form is not ready", why="; ".join(reading.faults.values()), fix="mend what is marked")
        if self.run and self.conduct.trains:
            raise RunError(f"{self.run.name} is {self.conduct.state}", fix="stop it first, or open another panel")
        self.board.say("starting ...")
        self.conduct.start(reading.params, reading.line)
        self._show_script()

    def update(self) -> None:
        """Show what the draft means: faults under their fields, the code, what the buttons can do."""
        reading = self._reading = self.draft.read()
        self._error, self._code_of_run = "", False
        self.form.tell(reading)
        self.board.code.show(line=reading.line, cell=reading.cell, script=reading.script)
        if reading.params is not None:
            self.conduct.keep(reading.line)
        self._show_buttons()

    def close(self) -> None:
        """Take the form away; its run goes on."""
        self.conduct.closed = True
        self._shell.events.unregister("post_run_cell", self._cell_has_run)
        self.board.widget.close()

    def _ipython_display_(self) -> None:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.board.widget.model_id}
        # as ipywidgets shows itself, but in words of use where no widget is shown: a saved page, GitHub
        told = f"The form of {self._reading.line}"
        display({"application/vnd.jupyter.widget-view+json": view, "text/plain": told}, raw=True)
        self.conduct.make_room()
        if self._begin is not None and self.run is None:
            self.conduct.show(self._begin)
            self._show_buttons()

    def _on(self, name: str, act: Callable[[], None]) -> None:
        """Let a button do something; what goes wrong is told below it."""

        def clicked(button: Any) -> None:
            try:
                act()
                self._error = ""
            except NbtrainError as error:
                self._error = ". ".join(error.lines())
            self._show_buttons()

        self.board.buttons[name].on_click(clicked)

    def _run_changed(self) -> None:
        try:
            if self._code_of_run:
                self._show_script()
        except NbtrainError as error:  # here nobody would hear of it
            self._error = ". ".join(error.lines())
        self._show_buttons()

    def _show_script(self) -> None:
        """The script of the run itself: it finds the rows that came from the notebook, and tells of changes."""
        if self.run:
            self._code_of_run = True
            self.board.code.show(script=self.run.export("script"))

    def _show_buttons(self) -> None:
        """Which buttons can be used, and why the others cannot."""
        run, trains, faults = self.run, self.conduct.trains, self._reading.faults
        refused = controls.refusals(run.folder) if run else {}
        self.board.buttons["train"].disabled = trains or bool(faults)
        for name, request in _ASKS.items():
            self.board.buttons[name].disabled = not trains or bool(refused.get(request))
        self.board.rate.disabled = self.board.buttons["change"].disabled
        self.board.buttons["pause"].description = "Go on" if self.conduct.state == "paused" else "Pause"
        if self._error:
            self.board.say(self._error, fault=True)
        elif trains and run:
            self.board.say(f"Train is off: {run.name} is {self.conduct.state}.")
        elif faults:
            fields = ", ".join(name.replace("_", " ") for name in faults if name) or "the form"
            whole = f" {faults['']}" if "" in faults else ""
            self.board.say(f"Train is off: see {fields}.{whole}", fault=True)
        else:
            ready = f"{run.name}: {self.conduct.state}. Train starts another run." if run else "Ready to train."
            self.board.say(" ".join([ready, *self._reading.notices]))

    def _cell_has_run(self, result: Any = None) -> None:
        self.form.refresh()
