"""What can be asked besides training, answered in text: the magic and the command print the same lines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nbtrain import __version__, controls, tools, trainers
from nbtrain.data import columns
from nbtrain.errors import ParamError, RunError, nearest
from nbtrain.params import Params, words
from nbtrain.params.tokens import is_flag
from nbtrain.plain import duration, line, number, visible
from nbtrain.run import Run
from nbtrain.runs import folder, status

VERBS = {
    "check": ("ROOM --name value ...", "read the data and judge every row; nothing is trained"),
    "runs": ("[--all]", "the runs below this folder, newest last"),
    "show": ("ID", "a run as it is now"),
    "attach": ("ID", "watch a run that goes on, also one that was started elsewhere"),
    **controls.USAGE,
    "resume": ("ID", "go on from the newest good checkpoint"),
    "panel": ("ROOM [--name value ...] | ID", "a form for a room, or for a run that there is; in a notebook"),
    "export": ("ID [--to script|yaml|cell|line|command] [FILE]", "what does the same again, as text or into a file"),
    "why": ("[ID]", "why a run failed, with the end of its log; without ID: the last that did"),
    "tools": (tools.USAGE, "one model out of a base and its adapter"),
    "doctor": ("", "what this machine has and what it lacks"),
    "explain": ("[ROOM] NAME", "one parameter: what it does, its values, its default, who reads it"),
    "help": ("[ROOM]", "this text, or all parameters of a room"),
}
"""Each verb: what follows it, and what it does. A room's name is a verb too: it trains."""

_LISTED = 20  # runs; to fold the journals of thousands would take minutes
_TAIL = 40  # lines of a log or a traceback: a screen


def known(verb: str) -> str:
    """The verb or room that `verb` names, in either spelling or by an alias.

    Raises:
        ParamError: there is none; the nearest is named.
    """
    spelled = trainers.command(verb) if isinstance(verb, str) else repr(verb)
    everything = [*trainers.names(), *VERBS]
    if spelled not in everything:
        what = f"there is no verb {line(spelled)!r}.{nearest(spelled, everything)}"
        raise ParamError(what, fix=f"rooms: {', '.join(trainers.names())}; verbs: {', '.join(VERBS)}")
    return spelled


def parameters(
    room: str,
    tokens: Iterable[Any],
    *,
    body: str = "",
    before: Mapping[str, Any] | None = None,
    told: Iterable[str] = (),
    names: words.Names | None = None,
) -> Params:
    """The parameters of a room out of a line, a cell or a command.

    Args:
        body: of a cell.
        before: values of a config, by parameter; the words go before them. told: notices of how it was read.
        names: the user's namespace, None outside a notebook.

    Raises:
        ParamError: the words are wrong, or the values are.
    """
    params_class = trainers.load(room).Params
    rest, notices = words.needless(tokens)
    values = words.read_line(rest, params_class, names, rows=rows)
    more = words.read_body(body, params_class, names, rows=rows)
    twice = values.keys() & more.keys()
    if twice:
        raise ParamError(f"{', '.join(sorted(twice))}: given in the line and in the cell", fix="leave one of them out")
    known = {params_class.field_name(name): value for name, value in (before or {}).items()}
    return params_class.read(known | values | more, notices=[*told, *notices])[0]


def rows(names: words.Names) -> Mapping[str, str]:
    """The variables that hold rows, and what they hold."""
    from nbtrain.data.values import frames

    found = {}
    for frame in frames(names):
        count = "" if frame.rows is None else f"{frame.rows:,} row{'s' * (frame.rows != 1)}; "
        found[frame.name] = f"{count}columns: {line(', '.join(frame.columns))}"
    return found


@dataclass(frozen=True)
class Question:
    """What is asked of a verb that only tells.

    tokens: what follows the verb. command: how nbtrain is called here. names: the user's namespace, None outside a
    notebook. body: of a cell. root: the folder whose runs are meant.
    """

    tokens: list[Any]
    command: str
    names: words.Names | None = None
    body: str = ""
    root: str = "."


def answer(verb: str, question: Question) -> str:
    """The answer of a verb of ANSWERS, fit for a screen."""
    return visible(ANSWERS[verb](question))


def run_of(tokens: list[Any], verb: str, root: str = ".") -> Run:
    """The one run below `root` that the tokens name, or hold.

    Raises:
        ParamError: none or several words. RunError: there is no such run.
    """
    if len(tokens) != 1 or is_flag(tokens[0]):
        raise ParamError(f"{verb} needs a run: {verb} {VERBS[verb][0]}", fix="`runs` lists them")
    return tokens[0] if isinstance(tokens[0], Run) else Run(folder.find(str(tokens[0]), root))


def summary(run: Run) -> list[str]:
    """A run in a few lines: state, progress, the last values, where it lies."""
    record = run.record
    total = f" of {record.total_steps}" if record.total_steps else ""
    lines = [f"{run.name}: {run.status}, step {record.step}{total}"]
    if record.metrics:
        lines.append(", ".join(f"{name} {number(value)}" for name, value in record.metrics.items()))
    if run.best:
        lines.append(f"best {record.metric} {number(run.best[1])} at step {run.best[0]}")
    lines += [f"note: {notice.message}" for notice in record.notices]
    lines += run.error.lines() if run.error else []
    return [*lines, str(run.path)]


def overview(command: str) -> str:
    """All rooms and verbs, each with a line."""
    rooms = [(f"{room} --name value ...", f"train; `{room} --help` lists its parameters") for room in trainers.names()]
    verbs = [(f"{verb} {rest}".rstrip(), what) for verb, (rest, what) in VERBS.items()]
    lines = [f"  {command} {usage}\n      {what}" for usage, what in rooms + verbs]
    return "\n".join([f"nbtrain {__version__}: train models from a notebook cell or a terminal", "", *lines])


def help_of(room: str, method: str | None, command: str) -> str:
    """All parameters of a room, or those that one of its methods reads."""
    from nbtrain.params.help import help_text

    return help_text(trainers.load(room).Params, method, command=command)


def _help(asked: Question) -> str:
    if not asked.tokens:
        return overview(asked.command)
    word = known(asked.tokens[0])
    if word in VERBS:
        usage, what = VERBS[word]
        return f"{asked.command} {word} {usage}".rstrip() + f"\n  {what}"
    return help_of(word, None, asked.command)


def _explain(asked: Question) -> str:
    from nbtrain.params.help import explain

    if len(asked.tokens) not in (1, 2):
        raise ParamError("explain needs the name of a parameter: explain lora_r, or explain llm lora_r")
    rooms = [known(asked.tokens[0])] if len(asked.tokens) == 2 else trainers.names()
    texts, faults = [], []
    for room in rooms:
        try:
            texts.append(explain(trainers.load(room).Params, str(asked.tokens[-1])))
        except ParamError as error:
            faults.append(error)
    if not texts:
        raise faults[0]
    return "\n".join(dict.fromkeys(texts))


def _doctor(asked: Question) -> str:
    from nbtrain import doctor

    return "\n".join(doctor.lines(doctor.report()))


def _runs(asked: Question) -> str:
    own, rest = words.take(asked.tokens, switches=("--all",))
    if rest:
        raise ParamError(f"runs does not know {line(rest[0])!r}", fix="it takes --all, or nothing")
    there = folder.all_runs(asked.root)
    shown = there if own else there[-_LISTED:]
    if not there:
        return f"no runs in {Path(asked.root).resolve()}"
    table = [("name", "state", "step", "best", "age"), *(_row(Run(each)) for each in shown)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    more = len(there) - len(shown)
    return "\n".join([*lines, *([f"and {more} older ones: runs --all"] if more else [])])


def _row(run: Run) -> tuple[str, ...]:
    record = run.record
    step = f"{record.step}/{record.total_steps}" if record.total_steps else str(record.step)
    age = duration(time.time() - run.folder.params.stat().st_mtime)
    best = f"{record.metric} {number(run.best[1])}" if run.best else "-"
    return line(run.name), run.status, step, best, age


def _control(verb: str, asked: Question) -> str:
    run = run_of(asked.tokens[:1], verb, asked.root)
    return controls.answer(run.folder, verb, asked.tokens[1:])


def _panel(asked: Question) -> str:
    raise ParamError("a panel needs a notebook", fix="`ROOM --help` lists what can be given here")


def _export(asked: Question) -> str:
    own, rest = words.take(asked.tokens, valued=("--to",))
    run = run_of(rest[:1], "export", asked.root)
    text = run.export(own.get("--to", "script"))
    if len(rest) < 2:
        return text.rstrip("\n")
    path = Path(os.fspath(rest[1])).expanduser()
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise RunError(f"{path} is there already", fix="give another name, or remove it first") from None
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}", fix="give another place") from None
    return f"written: {path}"


def _why(asked: Question) -> str:
    if asked.tokens:
        run = run_of(asked.tokens, "why", asked.root)
    else:
        failed = (each for each in reversed(folder.all_runs(asked.root)) if status.read(each).state == "failed")
        found = next(failed, None)
        if found is None:
            return "no run below this folder has failed"
        run = Run(found)
    if run.error is None:
        return f"{run.name} has not failed: it is {run.status}"
    lines = [f"{run.name} failed at step {run.record.step}", *run.error.lines()]
    for path in (run.folder.error, run.folder.log):
        if path.exists() and path.stat().st_size:
            lines += ["", f"the end of {path}:", *_end(path)]
    return "\n".join(lines)


def _end(path: Path) -> list[str]:
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - 200 * _TAIL, 0))
        text = file.read().decode("utf-8", "replace")
    return [f"  {each}" for each in text.splitlines()[-_TAIL:]]


def _check(asked: Question) -> str:
    import tempfile

    if not asked.tokens:
        raise ParamError(f"check needs a room: check {VERBS['check'][0]}", fix=f"rooms: {', '.join(trainers.names())}")
    room = known(asked.tokens[0])
    params: Any = parameters(room, asked.tokens[1:], body=asked.body, names=asked.names)
    with tempfile.TemporaryDirectory(prefix="nbtrain-", ignore_cleanup_errors=True) as cache, columns.placed(params):
        return "\n".join([*params.notices, *trainers.load(room).check(params, Path(cache))])


ANSWERS: dict[str, Callable[[Question], str]] = {
    "check": _check,
    "runs": _runs,
    **{verb: partial(_control, verb) for verb in controls.USAGE},
    "panel": _panel,
    "export": _export,
    "why": _why,
    "tools": lambda asked: tools.answer(asked.tokens),
    "doctor": _doctor,
    "explain": _explain,
    "help": _help,
}
