"""Your own script, under the rules of a run: a folder, a journal, a live view, a stop that works, a record.

Data: whatever the script reads; a file, a folder, or a hub id that is fetched for it
Result: what the script writes into the folder that NBTRAIN_MODEL names
Extra: nbtrain[all]
Source: PEP 723 (the dependencies in a script's head)

What the script is told, by environment: NBTRAIN_MODEL, NBTRAIN_DATA, NBTRAIN_SEED, NBTRAIN_MAX_STEPS and
NBTRAIN_MAX_SAMPLES.
What it may tell: a line of JSON with "step" and numbers, {"step": 3, "loss": 1.2}, is a point of the curve; every other
line is kept in its log.
"""

from __future__ import annotations

import ast
import json
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nbtrain.errors import ParamError, RunError, TrainingError
from nbtrain.events import Logged, Started
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic
from nbtrain.params.options import Location
from nbtrain.params.streaming import not_streamed
from nbtrain.redact import redact
from nbtrain.runs import together
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers.generic import _needs
from nbtrain.trainers.generic._child import Child

LARGEST = 100_000_000  # bytes of a script's folder; more is data
CANNOT_REHEARSE = "what a script of your own does is known when it is run"
_TAIL = 12  # lines of the output that are told


class GenericParams(Basic, Base):
    """Parameters of `generic`."""

    stream: bool = not_streamed("the script reads its data by itself: what is streamed, and how, is written there.")
    script_path: Location | None = option(
        None, "script, or folder with a script.py, to run", group="Basic", essential=True
    )
    allow_script: bool = option(
        False, "yes, run this code: it may do whatever you may do; kept in the record", group="Basic", essential=True
    )
    data_path: Location | None = option(
        None, "file, folder or hub data set; the script finds it at NBTRAIN_DATA", group="Data", essential=True
    )
    max_samples: int | None = option(
        None, "for the script to obey: NBTRAIN_MAX_SAMPLES", group="Data", unit="rows", ge=1
    )
    args: dict[str, Any] | None = option(
        None, 'arguments, as JSON: {"lr": 0.1, "verbose": true} becomes --lr 0.1 --verbose', group="Script"
    )
    env: dict[str, str] | None = option(
        None,
        'environment, as JSON: {"MODE": "fast"}; a value $NAME is taken from here, and not written',
        group="Script",
    )
    isolated: bool = option(
        False, "its packages see none of those installed here, only what the script declares", group="Script"
    )
    token: str | None = option(
        None, "hub token, to fetch the data and as HF_TOKEN for the script; never written", group="Hub", secret=True
    )


Params = GenericParams
OBEYS = ("stop",)
STARTS_PROCESSES = True  # the script's, not ours


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Run the script to its end.

    Returns:
        The last values that it told, and its exit status.

    Raises:
        ParamError: there is no script, or it was not allowed. TrainingError: it, or what it needs, failed.
    """
    script = _script(params)
    _refuse_unasked(params, script)
    environment = _needs.environment(params, run)
    run.stage("copying the script")
    place = run.folder.path / "script"
    copied = _copy(script, place)
    if params.data_path:
        run.stage("fetching the data")
        environment["NBTRAIN_DATA"] = _needs.data(params, run.folder.data)
    python = _needs.interpreter(params, copied, run, environment)
    if params.num_processes > 1:
        together.possible(params)
        if "OMP_NUM_THREADS" not in (params.env or {}):
            environment["OMP_NUM_THREADS"] = str(together.threads(params.num_processes))
    run.folder.model.mkdir(exist_ok=True)
    facts = {"script": copied.name, "python": python, "arguments": " ".join(_arguments(params))}
    total = params.max_steps if params.max_steps > 0 else None
    run.emit(Started(room="generic", name=run.folder.name, total_steps=total, facts=facts))
    command = [python, *_started_by(params), copied.name, *_arguments(params)]
    child = Child(command, place, environment, run.folder.log.parent)
    return _followed(child, run)


def _started_by(params: Any) -> list[str]:
    """What of Python's arguments starts the script: itself, or a launcher of several processes."""
    count, backend = str(params.num_processes), params.distributed_backend
    if count == "1":
        return ["-u"]
    if backend in (None, "ddp"):
        # accelerate starts several on GPUs only; what it starts them by does so on a CPU, too
        return ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
    how = [f"--use_{backend}"] if backend in ("fsdp", "deepspeed") else ["--config_file", str(Path(backend).resolve())]
    return ["-m", "accelerate.commands.launch", *how, "--num_processes", count]


def _followed(child: Child, run: ActiveRun) -> dict[str, float]:
    values: dict[str, float] = {}
    step = 0
    last: list[str] = []
    for line in child.lines(run.stop_asked):
        told = _told(line)
        if told is None:
            last = [*last[1 - _TAIL :], line]
            continue
        step, values = int(told.pop("step")), told
        run.emit(Logged(step=step, values=values))
    status = child.status()
    run.report["exit_status"], run.report["output"] = status, [redact(line) for line in last]
    if status and not run.stopped:
        what = f"the script ended with status {status}" if status > 0 else f"the script was ended by signal {-status}"
        raise TrainingError(
            what, where=f"step {step}", why=" | ".join(last[-3:]), fix=f"its whole output is in {child.log}"
        )
    return values | {"exit_status": float(status)}


def _told(line: str) -> dict[str, float] | None:
    """The values of a line of JSON with a step and numbers, None of any other."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(found, dict) and isinstance(found.get("step"), int)
    if not whole or not all(isinstance(value, (int, float)) for value in found.values()):
        return None
    return found


def _script(params: Any) -> Path:
    if params.script_path is None:
        raise ParamError("generic needs a script", fix="--script-path FILE, or a folder with a script.py")
    path = Path(params.script_path).expanduser().resolve()
    found = path / "script.py" if path.is_dir() else path
    if not found.is_file():
        raise ParamError(f"--script-path: there is no {found}", fix="name a script, or a folder with a script.py")
    try:
        ast.parse(found.read_text(encoding="utf-8"), found.name)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ParamError(f"{found.name} is no Python", where=str(found), why=str(error)) from None
    return found


def _refuse_unasked(params: Any, script: Path) -> None:
    if not params.allow_script:
        raise ParamError(
            f"{script.name} is not run before you allow it",
            why="a script may do whatever you may do: read your files, use your network",
            fix="read it, then add --allow-script",
        )


def _arguments(params: Any) -> list[str]:
    """--name value of each; a switch that is true stands alone, one that is false or null is left out."""
    found: list[str] = []
    for name, value in (params.args or {}).items():
        flag = name if name.startswith("-") else f"--{name}"
        if value is True:
            found.append(flag)
        elif value is not None and value is not False:
            found += [flag, value if isinstance(value, str) else json.dumps(value)]
    return found


def _copy(script: Path, place: Path) -> Path:
    """The script, with what stands beside a script.py, in the run folder: the record of what ran."""
    shutil.rmtree(place, ignore_errors=True)
    whole = script.name == "script.py"
    sources = [path for path in script.parent.rglob("*") if path.is_file()] if whole else [script]
    size = sum(path.stat().st_size for path in sources)
    if size > LARGEST:
        what = f"{script.parent} holds {size / 1e6:,.0f} MB; a script's folder is copied into the run"
        raise ParamError(what, fix="keep data elsewhere and name it by --data-path")
    skipped = shutil.ignore_patterns(".git", "__pycache__", ".venv", "runs")
    if whole:
        shutil.copytree(script.parent, place, ignore=skipped, symlinks=True)
    else:
        place.mkdir(parents=True)
        shutil.copy2(script, place)
        beside = script.parent / "requirements.txt"
        if beside.is_file():
            shutil.copy2(beside, place)
    return place / script.name


def check(params: Any, cache: Path) -> list[str]:
    """What would be run, and with what."""
    script = _script(params)
    wanted = _needs.dependencies(script)
    return [
        f"Script: {script}" + ("" if params.allow_script else " (not allowed yet: --allow-script)"),
        f"Arguments: {shlex.join(_arguments(params)) or 'none'}",
        f"Declared packages: {', '.join(wanted) or 'none'}",
        f"Environment: {', '.join(sorted([*(params.env or {}), 'NBTRAIN_MODEL', 'NBTRAIN_SEED']))}",
        f"Data: {params.data_path or 'none'}",
    ]


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """Nothing that nbtrain could know.

    Raises:
        RunError: always; the script alone knows what it wrote.
    """
    raise RunError("only the script knows how to open what it wrote", where=path)


def predict(params: Any, model: Any, processor: Any, rows: Sequence[Any], **settings: Any) -> list[Any]:
    """As `opened`.

    Raises:
        RunError: always.
    """
    raise RunError("a script of your own has no predict")


def usage(params: Any, path: Path) -> tuple[str, str]:
    """What there is, by name."""
    return "other", "\n".join([f"# {path.name}/ holds what the script wrote:", *_listed(path)])


def _listed(path: Path) -> Iterator[str]:
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    yield from (f"#   {name}" for name in files[:20])
    if len(files) > 20:
        yield f"#   and {len(files) - 20} more"
