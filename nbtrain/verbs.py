"""What can be asked besides training, answered in text: the magic and the command print the same lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nbtrain import __version__, controls, hub, tools, trainers
from nbtrain.answers import Answer
from nbtrain.errors import ParamError, RunError, nearest
from nbtrain.params import Params, words
from nbtrain.params.tokens import is_flag
from nbtrain.plain import line, number, visible
from nbtrain.run import Run
from nbtrain.runs import folder
from nbtrain.sweep import joining, news

VERBS = {
    "check": ("ROOM --name value ...", "read the data and judge every row; nothing is trained"),
    "plan": ("ROOM --name value ...", "memory, time and disk of a run, and what makes it fit; three steps are tried"),
    "lr-find": (
        "ROOM --name value ... [--steps N] [--lowest RATE] [--highest RATE]",
        "the loss at learning rates that rise from step to step, and what that suggests; no model is changed",
    ),
    "runs": ("[--all]", "the runs below this folder, newest last"),
    "compare": ("ID ID ...", "runs beside each other: curves, parameters that differ, samples"),
    "chat": ("ID [QUESTION]", "what a finished language model answers, beside the model that it was made of"),
    "show": ("ID", "a run as it is now"),
    "attach": ("ID", "watch a run that goes on, also one that was started elsewhere"),
    **controls.USAGE,
    "resume": ("ID", "go on from the newest good checkpoint"),
    "panel": ("ROOM [--name value ...] | ID", "a form for a room, or for a run that there is; in a notebook"),
    "push": (hub.USAGE, "put the model of a run on the hub, or what an upload that broke off left to do"),
    "export": ("ID [--to script|yaml|cell|line|command] [FILE]", "what does the same again, as text or into a file"),
    "why": ("[ID]", "why a run failed, with the end of its log; without ID: the last that did"),
    "sweep-worker": (joining.USAGE, "take part in a sweep that goes on, also from another machine"),
    "tools": (tools.USAGE, "one model out of a base and its adapter"),
    "doctor": ("", "what this machine has and what it lacks"),
    "explain": ("[ROOM] NAME", "one parameter: what it does, its values, its default, who reads it"),
    "help": ("[ROOM]", "this text, or all parameters of a room"),
}
"""Each verb: what follows it, and what it does. A room's name is a verb too: it trains."""

OF_DATA = ("check", "plan", "lr-find")
"""The verbs that take a room and its parameters, in a line or a cell."""


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
    notebook. body: of a cell. root: the folder whose runs are meant. news: called with what is known so far of an
    answer that takes its time.
    """

    tokens: list[Any]
    command: str
    names: words.Names | None = None
    body: str = ""
    root: str = "."
    news: Callable[[Answer], object] | None = None


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
    lines += [*news.lines(record), *(f"note: {notice.message}" for notice in record.notices)]
    return [*lines, *(run.error.lines() if run.error else []), str(run.path)]


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


def _runs(asked: Question) -> Answer:
    from nbtrain.answers.runs import listed

    own, rest = words.take(asked.tokens, switches=("--all",))
    if rest:
        raise ParamError(f"runs does not know {line(rest[0])!r}", fix="it takes --all, or nothing")
    return listed(asked.root, everything="--all" in own)


def _compare(asked: Question) -> Answer:
    from nbtrain.answers.compare import compare

    return compare(*(run_of([token], "compare", asked.root) for token in asked.tokens))


def _chat(asked: Question) -> Answer:
    from nbtrain.answers.chat import Pair

    pair = Pair(run_of(asked.tokens[:1], "chat", asked.root))
    return pair.ask(" ".join(map(str, asked.tokens[1:])))


def _plan(asked: Question) -> Answer:
    from nbtrain.answers.plan import plan

    return plan(_of_data("plan", asked))


def _lr_find(asked: Question) -> Answer:
    from nbtrain.answers import rates

    own, rest = words.take(asked.tokens, valued=rates.FLAGS)
    params = _of_data("lr-find", replace(asked, tokens=rest))
    return rates.lr_find(params, news=asked.news, **rates.settings(own))


def _of_data(verb: str, asked: Question) -> Any:
    """The parameters of the room that follows a verb of OF_DATA."""
    if not asked.tokens:
        raise ParamError(f"{verb} needs a room: {verb} {VERBS[verb][0]}", fix=f"rooms: {', '.join(trainers.names())}")
    return parameters(known(asked.tokens[0]), asked.tokens[1:], body=asked.body, names=asked.names)


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
    from nbtrain.answers import why

    run = run_of(asked.tokens, "why", asked.root) if asked.tokens else why.last_failed(asked.root)
    return "\n".join(why.lines(run)) if run else "no run below this folder has failed"


def _check(asked: Question) -> str | Answer:
    from nbtrain.answers.check import check

    return check(_of_data("check", asked))


ANSWERS: dict[str, Callable[[Question], str | Answer]] = {
    "check": _check,
    "plan": _plan,
    "lr-find": _lr_find,
    "runs": _runs,
    "compare": _compare,
    "chat": _chat,
    **{verb: partial(_control, verb) for verb in controls.USAGE},
    "panel": _panel,
    "push": lambda asked: hub.answer(asked.tokens, asked.root),
    "export": _export,
    "why": _why,
    "tools": lambda asked: tools.answer(asked.tokens),
    "doctor": _doctor,
    "explain": _explain,
    "help": _help,
}
