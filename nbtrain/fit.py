"""Parameters become a run: the one path that magic, panel, CLI, script and sweep all take."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nbtrain import causes, events, hub, measuring, redact, trainers
from nbtrain.data import columns
from nbtrain.errors import NbtrainError, RunError
from nbtrain.params import Params
from nbtrain.runs import checkpoints, folder, process, ranks, status, together
from nbtrain.runs.active import ActiveRun, SilentRun
from nbtrain.runs.files import atomic_write
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal, story
from nbtrain.runs.record import Record

Sink = Callable[[events.Event], None]
Train = Callable[[Any, ActiveRun], Mapping[str, float]]
_LOOK = 0.25  # seconds between two looks at what is asked
_HASHED = 256 * 2**20  # a larger input is known by size and time alone: hashing it would delay the first step


def prepare(params: Params, *, root: str | os.PathLike[str] = ".") -> RunFolder:
    """Claim a run folder, put the notebook's variables into it, and write down what was asked.

    Args:
        params: of a room; `data_path` may hold rows instead of a path, and other fields functions.
        root: the folder in which a plain name becomes a run.

    Raises:
        DataError: the rows cannot be stored. RunError: the folder cannot be made or locked.
    """
    from nbtrain.data import functions, read

    _remember(params.secrets())
    claimed = folder.claim(params.project_name, params.room, params.method, root)
    with folder.lock(claimed):
        pass  # a file system without locks is told now, not by a worker that can write nothing
    source = getattr(params, "data_path", None)
    if source is not None and not isinstance(source, str):
        stored = read.materialise(source, claimed.data, "train")
        params = params.but(source=params.provenance("data_path"), data_path=str(stored))
    for name, value in params.changed().items():
        if params.options()[name].is_function:
            stored = functions.kept(value, claimed.data / name)
            params = params.but(source=params.provenance(name), **{name: stored})
    folder.write_params(claimed, params)
    with Journal(claimed.events) as journal:  # what was ignored is known here only: params.json has what is left
        for notice in params.notices:
            journal.append(events.Warned(message=notice))
    return claimed


def asked(run: RunFolder) -> Params:
    """The parameters that a run was started with, and who gave each; secrets are not among them."""
    record = folder.read_params(run)
    room = trainers.load(record["room"]).Params
    sources = {name: who for name, who in record["provenance"].items() if who != "default" and name in record["params"]}
    params, _ = room.read({name: record["params"][name] for name in sources}, source=sources)
    return params


def fit(
    run: RunFolder,
    *,
    resume: bool = False,
    sinks: Iterable[Sink] = (),
    secrets: Mapping[str, str] | None = None,
    train: Train | None = None,
) -> str:
    """Train in this process; with --num-processes in others, for which this one waits.

    Args:
        run: a prepared folder.
        resume: go on from the newest verified checkpoint; from the start where there is none.
        sinks: called with each event after the journal has it.
        secrets: values of secret parameters; they are in no file.
        train: what trains; None: the room.

    Returns:
        How it ended: "finished", "stopped" or "failed". What the room raises is a `failed` event, not raised here.
    """
    process.make_ready()
    ranks.begin()
    _remember(secrets or {})
    if train is None and (params := _of_several(run)) is not None:
        return together.train(run, params, resume=resume, sinks=sinks, secrets=secrets)
    task = {"resume": resume, "secrets": secrets or {}, "train": train}
    if not ranks.is_first():
        return _go(SilentRun(run), **task)
    owner = os.getppid() if ranks.supervised() else None
    with folder.lock(run), Journal(run.events) as journal, status.Heartbeat(run, owner):
        ended = _go(ActiveRun(run, journal, sinks=tuple(sinks)), **task)
    return ended if ended == "failed" else status.read(run).state


def _of_several(run: RunFolder) -> Params | None:
    """The parameters of a run whose processes this one is to start, None of any other."""
    try:
        params = asked(run)
    except NbtrainError:  # the run itself tells it
        return None
    alone = params.num_processes == 1 or ranks.count() > 1 or _starts_its_own(params)
    return None if alone else params


def _starts_its_own(params: Params) -> bool:
    """Whether what trains in this process starts others: a sweep its trials, a script of the user's what it likes."""
    return params.use_sweep or hasattr(trainers.load(params.room), "STARTS_PROCESSES")


def _go(active: ActiveRun, *, resume: bool, secrets: Mapping[str, str], train: Train | None) -> str:
    """Train and tell the end; "failed" where this process did, else "finished"."""
    run, began = active.folder, time.time()
    try:
        params = asked(run)
        if secrets:
            params = params.but(source="user", **secrets)
        params = together.met(params, active, starts_its_own=_starts_its_own(params))
        # a wrong name or token is told now, not after hours of training
        repository = hub.target(params, pause=partial(_pause, active)) if ranks.is_first() else ""
        values = _train(params, active, resume, train or trainers.load(params.room).train)
    except ranks.Released:
        pass
    except KeyboardInterrupt:
        active.emit(events.Stopped(step=_step(run), reason="interrupted", checkpoint=_newest(run)))
    except BaseException as error:
        # SystemExit from a library in the middle of a run is a failure like any other
        _fail(active, error)
        return "failed"
    else:
        _write_results(params, active, values, began)
        if active.stopped:
            active.emit(events.Stopped(step=_step(run), reason=active.stopped, checkpoint=_newest(run)))
        else:
            _upload(params, active, repository)
            seconds = round(time.time() - began, 3)
            active.emit(events.Finished(step=_step(run), values=values, seconds=seconds, model="model"))
    return "finished"


def _fail(active: ActiveRun, error: BaseException) -> None:
    """Tell why this process failed, as the end of the run."""
    run, told = active.folder, causes.told(error, active.folder)
    trace = redact.redact("".join(traceback.format_exception(error)))
    end = (told, trace) if ranks.count() == 1 else together.fallen(run, told, trace)
    if end is not None:
        with contextlib.suppress(OSError):  # on a full disk the journal, which needs less, still says why
            atomic_write(run.error, end[1])
        active.emit(events.Failed(step=_step(run), error=end[0].record()))


def _remember(secrets: Mapping[str, str]) -> None:
    """From here on no text of this process shows them, nor what the environment holds."""
    redact.remember_environment()
    for secret in secrets.values():
        redact.remember(secret)


def _train(params: Any, active: ActiveRun, resume: bool, train: Train) -> Mapping[str, float]:
    if ranks.is_first():
        _begin(params, active, resume)
    active.resume_from = ranks.agreed(active.resume_from)
    measuring.check(params)
    with columns.placed(params):
        if not ranks.is_first():
            ranks.wait()  # until the first has read the data
        values = train(params, active)
    return {**values, **measuring.at_end(params, active, values)}


def _begin(params: Any, active: ActiveRun, resume: bool) -> None:
    """What is seen to before a room is asked, once for all processes."""
    inputs = fingerprint(getattr(params, "data_path", None))
    if resume:
        active.differences = _differences(active.folder, inputs)
        active.resume_from = checkpoints.newest(active.folder)
        if active.resume_from is None and not params.use_sweep:
            active.warn("no verified checkpoint was found: the run starts from the beginning")
            active.emit(events.Resumed(step=0, checkpoint="", differences=active.differences))
    else:
        atomic_write(active.folder.path / "inputs.json", json.dumps(inputs, indent=1))
    if params.log != "none":
        from nbtrain.sinks.trackers import Aside

        active.listen(Aside(params.log, active.folder, params.record(), began=_began(active.folder)))
    if params.max_minutes:
        active.deadline = time.time() + 60 * params.max_minutes


def _began(run: RunFolder) -> float:
    """When the run was made, on the clock: a resumed one is the same run."""
    return run.params.stat().st_mtime


def _upload(params: Any, active: ActiveRun, repository: str) -> None:
    """--push-to-hub; that it does not succeed takes nothing from the run, whose model is on the disk."""
    if not repository:
        return
    active.stage(f"uploading the model to {repository}")
    run, how = active.folder, {"private": params.hub_private, "token": getattr(params, "token", None)}
    try:
        place = hub.push(run, repository, pause=partial(_pause, active), **how)
        active.warn(f"The model was uploaded: {place}")
    except (NbtrainError, KeyboardInterrupt) as error:
        why = " ".join(error.lines()) if isinstance(error, NbtrainError) else "it was interrupted"
        active.warn(f"The model was not uploaded, and is safe in {run.model}: `push {run.name}` tries again; {why}")


def _pause(active: ActiveRun, sentence: str, seconds: float) -> None:
    """Tell that an upload broke off, and let time pass before the next attempt.

    Raises:
        RunError: a stop was asked meanwhile.
    """
    active.warn(sentence)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if active.stop_asked():
            raise RunError("the upload was stopped as asked")
        time.sleep(min(_LOOK, seconds))


def fingerprint(source: object) -> dict[str, dict[str, Any]]:
    """Size and sha256 of each local file that `source` names; nothing for a hub id or the built-in data."""
    path = Path(source).expanduser() if isinstance(source, str) else None
    if path is None or not path.exists():
        return {}
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    found = {}
    for item in files:
        size = item.stat().st_size
        digest = "" if size > _HASHED else hashlib.sha256(item.read_bytes()).hexdigest()
        found[str(item)] = (
            {"bytes": size, "sha256": digest} if digest else {"bytes": size, "changed": item.stat().st_mtime}
        )
    return found


def _differences(run: RunFolder, inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not as it was when the run began: input files, versions of the libraries."""
    record = folder.read_params(run)
    stored = run.path / "inputs.json"
    before = json.loads(stored.read_text()) if stored.exists() else {}
    changed = [f"{path} has changed since the run began" for path in before if inputs.get(path) != before[path]]
    versions = folder.versions()
    moved = [
        f"{name} is {versions.get(name, 'gone')}, was {old}"
        for name, old in record["versions"].items()
        if versions.get(name) != old
    ]
    return (*changed, *moved)


def _write_results(params: Params, active: ActiveRun, values: Mapping[str, float], began: float) -> None:
    from nbtrain import card, export

    run = active.folder
    record = Record.of(story(run.events))
    report = {
        "room": params.room,
        "method": params.method,
        "model": str(params.record().get("model", "")),
        "seconds": round(time.time() - began, 3),
        "steps": record.step,
        "values": dict(values),
        "evaluations": record.evaluations,
        "by_hand": [
            {"step": each.step, "name": each.name, "old": each.old, "new": each.new} for each in record.by_hand
        ],
        "facts": dict(record.facts()),
        **active.report,
    }
    atomic_write(run.report, json.dumps(report, indent=1, default=str))
    export.write(params, run)
    atomic_write(run.card, card.card(active.trained or params, record, run))


def _step(run: RunFolder) -> int:
    return Record.of(story(run.events)).step


def _newest(run: RunFolder) -> str:
    newest = checkpoints.newest(run)
    return str(newest.relative_to(run.path)) if newest else ""
