"""The magics %autotrain and %%autotrain: words in, a run and its one output back."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from nbtrain.errors import NbtrainError, ParamError, RunError
from nbtrain.redact import remember_environment

if TYPE_CHECKING:
    from nbtrain.notebook.live import Live
    from nbtrain.notebook.panel import Panel
    from nbtrain.notebook.settings import NBTrain
    from nbtrain.params import Params
    from nbtrain.run import Run
    from nbtrain.verbs import Question

COMMAND = "%autotrain"
SWITCHES = {
    "room": ("--background", "--in-process", "--help"),
    "attach": ("--background",),
    "resume": ("--background",),
    "sweep-worker": ("--background",),
}
VALUED = {
    "room": ("--into", "--preview-trainer"),
    **dict.fromkeys(("attach", "resume", "show", "sweep-worker"), ("--into",)),
}


@magics_class
class AutotrainMagics(Magics):
    """The one magic of nbtrain, as a line and as a cell."""

    def __init__(self, shell: Any, settings: NBTrain) -> None:
        super().__init__(shell)
        self.settings = settings
        self.closed = False
        self._cell, self._shown = -1, set[Path]()  # the number of a cell, and the runs that it has shown

    @no_var_expand
    @line_cell_magic
    def autotrain(self, line: str, cell: str | None = None) -> Run | Panel | None:
        """Train a model in this cell, or ask about runs.

            %autotrain llm --trainer sft --df frame --epochs 1      train; the curve is drawn here
            run = %autotrain llm --trainer sft                      the run comes back
            %autotrain llm --trainer sft --background               the cell is free at once
            %autotrain llm --help                                   every parameter
            %autotrain panel llm                                    the same as a form
            %autotrain help                                         every verb: check, runs, show, attach, stop ...

            %%autotrain llm --into run
            trainer = "sft"
            data = frame

        $name and {expression} become their values, single quotes keep them as they are. An interrupt stops the run
        after its step, with everything saved; a second one ends it at once.
        """
        try:
            return self._obey(line, cell or "")
        except NbtrainError as error:
            fault = error.with_traceback(None)
        # outside of the handler: the frames of the first raise would hold what training held, GPU memory too
        raise fault from None

    def draw(self, run: Run) -> None:
        """Draw a run as it is now; nothing where this cell shows it already: one run is one output."""
        from nbtrain.notebook.live import watch

        if run.path not in self._in_this_cell():
            self._in_this_cell().add(run.path)
            watch(run.folder, follow=False)

    def train(self, params: Params, *, background: bool = False, in_process: bool = False, into: str = "") -> Run:
        """Train with a live view in the cell that runs now; the run is in the variable `into` at once.

        Raises:
            NbtrainError: the run failed, and was waited for.
        """
        from nbtrain import sweep
        from nbtrain.run import Run, start

        root = self.settings.runs_folder
        if not in_process:
            return self._follow(start(params, root=root), background, into)
        run = Run(sweep.prepare(params, root=root))
        view = self._view(run, into)
        sweep.fit(run.folder, sinks=(lambda event: view.look(),), secrets=params.secrets())
        view.look()
        return _whole(run)

    def get_ready(self) -> None:
        """Load what the first run and the first completion need, and start the standby; takes a second or two."""
        from nbtrain import run, trainers

        run.watcher = self.train
        for name in ("nbtrain.verbs", "nbtrain.notebook.live", "nbtrain.notebook.panel"):
            importlib.import_module(name)
        for room in trainers.names():
            trainers.load(room)
        self.warm()

    def warm(self) -> None:
        """Have a worker ready for the next run, where the settings want one."""
        if self.settings.standby and not self.closed:
            from nbtrain.runs import launch

            launch.warm()

    def close(self) -> None:
        """End what goes on in the background; runs go on."""
        self.closed = True
        if "nbtrain.run" in sys.modules:
            sys.modules["nbtrain.run"].watcher = None
        if "nbtrain.runs.launch" in sys.modules:
            sys.modules["nbtrain.runs.launch"].cool()

    def _obey(self, line: str, cell: str) -> Run | Panel | None:
        from nbtrain import verbs
        from nbtrain.params import words
        from nbtrain.sweep import joining

        remember_environment()  # a variable of it may be in what the user wrote, and so in an error
        tokens, silent = words.split(line, self.shell.user_ns)
        verb = verbs.known(tokens[0]) if tokens and tokens[0] != "--help" else "help"
        kind = verb if verb in verbs.VERBS else "room"
        own, rest = words.take(tokens[1:], switches=("--help", *SWITCHES.get(kind, ())), valued=VALUED.get(kind, ()))
        if cell.strip() and kind not in ("room", *verbs.OF_DATA):
            raise ParamError(f"{verb} has no use for the lines of a cell", fix=f"write {COMMAND} {verb} on one line")
        if kind == "room" and own.keys() & {"--help", "--preview-trainer"}:
            return _tell(verbs.help_of(verb, own.get("--preview-trainer"), COMMAND))
        if "--help" in own:
            return _tell(verbs.answer("help", verbs.Question([verb], COMMAND)))
        if verb == "panel":
            return self._panel(rest)
        if verb in verbs.ANSWERS:
            root = self.settings.runs_folder
            return _answer(verb, verbs.Question(rest, COMMAND, self.shell.user_ns, cell, root))
        into = _variable(own.get("--into", ""))
        background = "--background" in own
        if kind == "room":
            params = verbs.parameters(verb, rest, body=cell, names=self.shell.user_ns)
            run = self.train(params, background=background, in_process="--in-process" in own, into=into)
        elif verb == "sweep-worker":
            run = self.train(joining.joined(rest), background=background, into=into)
        else:
            run = verbs.run_of(rest, verb, self.settings.runs_folder)
            run = self._again(run, verb, background, into)
        if silent:
            self._in_this_cell().add(run.path)
        return run

    def _panel(self, tokens: list[Any]) -> Panel:
        """A form for a room, with what the line says of it filled in, or for a run."""
        from nbtrain import trainers, verbs
        from nbtrain.notebook.panel import of, panel

        if tokens and isinstance(tokens[0], str) and trainers.command(tokens[0]) in trainers.names():
            return of(verbs.parameters(tokens[0], tokens[1:], names=self.shell.user_ns))
        return panel(verbs.run_of(tokens, "panel", self.settings.runs_folder))

    def _again(self, run: Run, verb: str, background: bool, into: str) -> Run:
        """A run that there is already: shown, watched or gone on with."""
        if verb == "resume":
            run.resume()
        if verb != "show":
            return self._follow(run, background, into)
        self.draw(run)
        self._keep(run, into)
        return run

    def _follow(self, run: Run, background: bool, into: str) -> Run:
        from nbtrain.notebook.live import watch

        if background:
            self._keep(run, into)
            watch(run.folder, until=lambda: self.closed, pace=self.settings.refresh)
            return run
        self._view(run, into).follow(run.worker)
        self.warm()
        return _whole(run)

    def _view(self, run: Run, into: str) -> Live:
        from nbtrain.notebook.live import Live

        self._keep(run, into)
        return Live(run.folder, pace=self.settings.refresh)

    def _keep(self, run: Run, into: str) -> None:
        """Before anything can go wrong: the run is in its variable, and this cell need not draw it again."""
        if into:
            self.shell.user_ns[into] = run
        self._in_this_cell().add(run.path)

    def _in_this_cell(self) -> set[Path]:
        """The runs that the cell which runs now has shown."""
        if self._cell != self.shell.execution_count:
            self._cell, self._shown = self.shell.execution_count, set()
        return self._shown


def _whole(run: Run) -> Run:
    """The run, unless it failed: then its error is raised, so that no failure looks like a result."""
    if run.status == "failed":
        raise run.error or RunError(f"the run {run.name} failed", fix=f"`why {run.name}` shows more")
    return run


def _variable(name: object) -> str:
    if not isinstance(name, str) or (name and not name.isidentifier()):
        raise ParamError(f"--into is the name of a variable; found {name!r}")
    return name


def _answer(verb: str, question: Question) -> None:
    """Answer in the cell; what takes its time is drawn while it grows."""
    from nbtrain import verbs
    from nbtrain.notebook.answers import Shown, opens_a_field

    if verb == "chat" and opens_a_field(question):
        return
    shown = Shown()
    shown.whole(verbs.ANSWERS[verb](replace(question, news=shown.growing)))


def _tell(text: str) -> None:
    print(text)
