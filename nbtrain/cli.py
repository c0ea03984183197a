"""The command: `nbtrain llm --trainer sft`. It trains in its own process; one command a room, one flag a field.

Exit codes: 0 the run finished (or the question was answered), 1 it failed, 2 the words were wrong, 3 it was stopped,
130 it was interrupted twice.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from nbtrain import __version__, sweep, verbs
from nbtrain.errors import NbtrainError, ParamError
from nbtrain.params import Params
from nbtrain.params.tokens import take
from nbtrain.plain import visible
from nbtrain.redact import redact
from nbtrain.runs import control, process, status
from nbtrain.runs.folder import RunFolder, read_params
from nbtrain.runs.journal import Tail
from nbtrain.sinks.terminal import Terminal
from nbtrain.sweep.joining import joined
from nbtrain.verbs import Question

FAILED, WRONG_WORDS, INTERRUPTED = 1, 2, 130
CODES = {"finished": 0, "stopped": 3}
COMMAND = "nbtrain"
_LOOK_SECONDS = 0.25


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; the exit code."""
    try:
        return _obey(sys.argv[1:] if arguments is None else arguments)
    except NbtrainError as error:
        _tell(error)
        return WRONG_WORDS if isinstance(error, ParamError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `nbtrain llm --help | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _obey(arguments: list[str]) -> int:
    own, tokens = take(arguments, switches=("--version", "--help"), valued=("--preview-trainer",))
    if "--version" in own:
        return _print(f"nbtrain {__version__}")
    if tokens and isinstance(tokens[0], str) and tokens[0].startswith("--config"):
        return _train(_configured(tokens))
    if not tokens or tokens[0] in ("-h", "help") and len(tokens) == 1:
        return _print(verbs.overview(COMMAND))
    verb, rest = verbs.known(tokens[0]), tokens[1:]
    wants_help = "--help" in own or "-h" in rest[:1] or "--preview-trainer" in own
    if verb in verbs.VERBS:
        if wants_help:
            return _print(verbs.answer("help", Question([verb], COMMAND)))
        return _VERBS[verb](rest) if verb in _VERBS else _print(verbs.answer(verb, Question(rest, COMMAND)))
    if wants_help:
        return _print(verbs.help_of(verb, own.get("--preview-trainer"), COMMAND))
    return _train(verbs.parameters(verb, rest))


def _configured(tokens: list[str]) -> Params:
    """The parameters of `--config FILE`, and those that stand behind it, which go first."""
    from nbtrain import configs

    own, rest = take(tokens, valued=("--config",))
    config = configs.read(own["--config"])
    return verbs.parameters(config.room, rest, before=config.values, told=config.notices)


def _train(params: Params) -> int:
    for notice in params.notices:
        _print(f"Warning: {notice}", file=sys.stderr)
    if not process.in_few_bits(params.record()):
        process.spare_bitsandbytes()
    run = sweep.prepare(params)
    return _ended(run, lambda: sweep.fit(run, sinks=(Terminal(),), secrets=params.secrets()))


def _resume(tokens: list[str]) -> int:
    run = verbs.run_of(tokens, "resume").folder
    if not process.in_few_bits(read_params(run)["params"]):
        process.spare_bitsandbytes()
    return _ended(run, lambda: sweep.fit(run, resume=True, sinks=(Terminal(),)))


def _ended(folder: RunFolder, train: Callable[[], str]) -> int:
    """Train to an end; the exit code. Why it failed is told by the sink, as the last event."""
    with _stops_at_ctrl_c(folder) as interrupts:
        state = train()
    return INTERRUPTED if len(interrupts) > 1 else CODES.get(state, FAILED)


@contextlib.contextmanager
def _stops_at_ctrl_c(folder: RunFolder) -> Iterator[list[int]]:
    """Ctrl-C once: the run finishes its step, saves and ends. Twice: it ends at once. Yields the signals that came."""
    came: list[int] = []

    def interrupted(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt
        control.ask(folder, "stop")
        _print("Stopping after this step, with everything saved; Ctrl-C again ends it at once.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _show(tokens: list[str]) -> int:
    return _print("\n".join(verbs.summary(verbs.run_of(tokens, "show"))))


def _attach(tokens: list[str]) -> int:
    """Tell what a run does until it ends. Ctrl-C leaves it alone and goes."""

    run = verbs.run_of(tokens, "attach")
    tail, terminal = Tail(run.folder.events), Terminal()
    while True:
        state = run.status  # looked at before the journal, so that nothing it wrote until then is missed
        for event in tail.read():
            terminal(event)
        if state in status.ENDED:
            return CODES.get(state, FAILED)
        time.sleep(_LOOK_SECONDS)


def _sweep_worker(tokens: list[str]) -> int:
    return _train(joined(tokens))


_VERBS: dict[str, Callable[[list[str]], int]] = {
    "show": _show, "attach": _attach, "resume": _resume, "sweep-worker": _sweep_worker
}  # fmt: skip


def _tell(error: NbtrainError) -> None:
    _print(redact("\n".join(error.lines())), file=sys.stderr)


def _print(text: str, *, file: Any = None) -> int:
    print(visible(text), file=file or sys.stdout, flush=True)
    return 0
