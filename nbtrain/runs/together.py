"""The processes of one run: started, watched, and ended together.

Each is a worker of its own, in the session of this process, so that whoever ends that one ends them all. The first of
them (rank 0) does what a run does alone: it holds the lock, writes the journal, obeys what is asked. This process
imports nothing heavy, looks on, and tells how a run ended whose processes could not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nbtrain.errors import NbtrainError, ParamError, WorkerDied, from_record
from nbtrain.events import Event
from nbtrain.runs import backends, ending, launch, process, ranks, status
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.files import atomic_write
from nbtrain.runs.folder import RunFolder, read_params
from nbtrain.runs.journal import Tail

_LOOK_SECONDS = 0.1
_LEAVE_SECONDS = 20.0  # that the others may take when the first has told the end
_FINE = (None, ending.CODES["finished"], ending.CODES["stopped"])  # exit codes, None: it runs

Sink = Callable[[Event], None]


def train(
    run: RunFolder,
    params: Any,
    *,
    resume: bool = False,
    sinks: Iterable[Sink] = (),
    secrets: Mapping[str, str] | None = None,
) -> str:
    """Train in `params.num_processes` processes, and wait for them.

    Args:
        resume, sinks, secrets: as `fit.fit` has them.

    Returns:
        How it ended: "finished", "stopped" or "failed".
    """
    status.begin(run, os.getpid())
    audience = _Audience(run, sinks)
    try:
        possible(params)
        status.write(run, stage=f"starting {params.num_processes} processes")
        with Team(run, params.num_processes, resume=resume, secrets=dict(secrets or {})) as team:
            fault = team.follow(audience.tell)
        if fault is not None:
            ending.fail(run, fault)
    except KeyboardInterrupt:
        ending.stop(run, "interrupted")
    except NbtrainError as error:
        ending.fail(run, error)
    status.write(run, pid=None, pid_start=None)
    audience.tell()
    return status.read(run).state


def possible(params: Any) -> None:
    """See that so many processes can train on this machine.

    Raises:
        ParamError, MissingExtra: they cannot.
    """
    backends.possible(params.distributed_backend)
    count, gpus = params.num_processes, process.gpus()
    if gpus and count > len(gpus):
        raise ParamError(
            f"--num-processes {count} needs {count} GPUs, and {len(gpus)} can be seen here",
            fix=f"--num-processes {len(gpus)}; more --gradient-accumulation gives the same steps.",
        )


def met(params: Any, run: ActiveRun, *, starts_its_own: bool) -> Any:
    """Meet the other processes, if there are any; the parameters, for as many as there are, whoever started them.

    Args:
        starts_its_own: whether what is to be trained starts processes itself.

    Raises:
        ParamError: what is asked is not for several, or for several only.
    """
    count, asked = ranks.count(), params.distributed_backend
    if count == 1:
        if asked and params.num_processes == 1:
            raise ParamError(
                f"--distributed-backend {asked} is for several processes, and one trains",
                fix="say how many, --num-processes 2, or leave it out.",
            )
        return params
    ranks.join(params.ddp_timeout)
    if starts_its_own:
        raise ParamError(f"what {run.folder.name} trains starts its processes itself", fix="start it without torchrun.")
    backends.set_up(asked, run.folder, write=ranks.is_first())
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    if not process.gpus() and here > process.cores():
        run.warn(f"{here} processes share {process.cores()} cores: as many processes as cores are as fast.")
    return params if params.num_processes == count else params.but(num_processes=count)


def fallen(run: RunFolder, error: NbtrainError, trace: str) -> tuple[NbtrainError, str] | None:
    """One of several processes fell: what ended the run, and its trace, where this one is to tell; else None.

    Raises:
        NbtrainError: `error`, in a process that is not the first and that nobody of ours looks after.
    """
    ranks.report(run, error, trace)
    if ranks.supervised():
        return None
    if not ranks.is_first():
        ranks.leave()
        ending.awaited(run)  # torchrun would end the first before it can tell
        raise error
    said = ranks.reported_by_another(run)
    return (error, trace) if said is None else (from_record(said["error"]), str(said["trace"]))


class Team:
    """The processes, while it is open; when it is left, none of them goes on.

    Args:
        count: how many.
        resume, secrets: as a worker is told.
    """

    def __init__(self, run: RunFolder, count: int, *, resume: bool, secrets: dict[str, str]) -> None:
        self.run, self.count = run, count
        self._task = {"folder": str(run.path), "secrets": secrets, "resume": resume, "cwd": os.getcwd()}
        self._ranks: list[subprocess.Popen[bytes]] = []
        self._place = Path()  # where they meet

    def __enter__(self) -> Team:
        ranks.forget(self.run)
        self._place = Path(tempfile.mkdtemp(prefix="nbtrain-"))
        task = self._task | {"few_bits": process.in_few_bits(read_params(self.run)["params"])}
        line = json.dumps(task).encode() + b"\n"
        self.run.log.parent.mkdir(exist_ok=True)
        with open(self.run.log, "ab") as log:
            for number in range(self.count):
                # while the first reads the data, the others import what they will need
                arguments = ["--rank", "--warm"] if number and not task["few_bits"] else ["--rank"]
                told = environment(number, self.count, self._place)
                child = launch.start(arguments, stdout=subprocess.DEVNULL, stderr=log, environment=told)
                self._ranks.append(child)
                assert child.stdin is not None
                child.stdin.write(line)  # and stays open: a rank ends when it is closed
                child.stdin.flush()
        return self

    def __exit__(self, *fault: object) -> None:
        for child in self._ranks:
            child.kill()
        for child in self._ranks:
            child.wait()
            assert child.stdin is not None
            child.stdin.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def follow(self, meanwhile: Callable[[], object]) -> NbtrainError | None:
        """Wait for the end; why it is none that the run could tell itself, None where it could.

        Args:
            meanwhile: called again and again.
        """
        until = None
        while until is None or time.monotonic() < until:
            codes = [child.poll() for child in self._ranks]
            meanwhile()
            ended = status.stored(self.run).state in status.ENDED
            if not ended and (codes[0] is not None or any(code not in _FINE for code in codes)):
                return self._fault(codes)
            if ended and None not in codes:
                return None
            if ended and until is None and codes[0] is not None:
                until = time.monotonic() + _LEAVE_SECONDS
            time.sleep(_LOOK_SECONDS)
        return None

    def _fault(self, codes: list[int | None]) -> NbtrainError:
        """What ended the run: of several that fell one that could not say why took the others along; else the first."""
        fallen = {at: ranks.reported(self.run, at) for at, code in enumerate(codes) if code not in _FINE}
        fallen = fallen or {0: ranks.reported(self.run, 0)}
        first, said = min(fallen.items(), key=lambda each: float(each[1]["time"]) if each[1] else 0.0)
        who = f"process {first} of {self.count} (from 0)"
        if said is None:
            died = ending.died(self.run, codes[first])
            return WorkerDied(f"{who} that trained {self.run.name} died", where=died.where, why=died.why, fix=died.fix)
        atomic_write(self.run.error, str(said["trace"]))
        error = from_record(said["error"])
        error.where = f"{error.where}, {who}" if error.where else who
        return error


def threads(count: int) -> int:
    """What each of so many processes has of this one's threads."""
    told, cores = os.environ.get("OMP_NUM_THREADS", ""), process.cores()
    return max(min(cores, int(told) if told.isdecimal() else cores) // count, 1)


def environment(number: int, count: int, place: Path) -> dict[str, str]:
    """What torchrun tells a process; the others are found over a file in `place`: a port may be taken meanwhile."""
    found = {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": str(threads(count)),
        ranks.MEETING: str(place / "meeting"),
    }
    if sys.platform == "linux":
        # else gloo looks for the address of this machine's name, which a machine without a network has not
        found["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    return found


class _Audience:
    """Those that are told of each event, as the journal has it. One that raises is told no more."""

    def __init__(self, run: RunFolder, sinks: Iterable[Sink]) -> None:
        self._tail, self._sinks = Tail(run.events), list(sinks)
        self._tail.read()  # what was before is known

    def tell(self) -> None:
        """Tell what is new."""
        for event in self._tail.read() if self._sinks else ():
            for sink in list(self._sinks):
                try:
                    sink(event)
                except Exception:
                    self._sinks.remove(sink)
