"""--sweep-backend wandb: the server of Weights & Biases proposes the values of a trial, and keeps its curve."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from nbtrain.errors import MissingExtra, RunError
from nbtrain.runs import process
from nbtrain.runs.files import atomic_write
from nbtrain.runs.folder import RunFolder
from nbtrain.sweep.space import Dial
from nbtrain.sweep.study import Study

_ANSWER_SECONDS = 120.0
_END_SECONDS = 60.0  # in which what was logged is sent
_FILE = "wandb.json"


class Wandb:
    """The trials of one sweep at wandb, each with a process that talks for it.

    Args:
        params: of the sweep. folder: its own; the name of the search is kept there.

    Raises:
        RunError: the server does not answer, or refuses.
    """

    def __init__(self, params: Any, folder: RunFolder, study: Study) -> None:
        self._params, self._folder, self._dials = params, folder, study.dials
        self._metric = str(params.sweep_metric)
        self._where = {"project": params.wandb_sweep_project or "nbtrain", "entity": params.wandb_sweep_entity}
        self._talkers: dict[int, subprocess.Popen[str]] = {}
        self._endings: list[threading.Thread] = []
        self.id = params.wandb_sweep_id or self._kept() or self._made(study.direction)

    def propose(self, number: int) -> dict[str, Any]:
        """The values of a trial.

        Raises:
            RunError: the server has no more, or proposes others than are searched.
        """
        self._talkers[number] = talker = self._started({"take": self.id})
        given = self._answer(talker, "given")
        missing = [dial.name for dial in self._dials if dial.name not in given]
        if missing:
            what = f"the search {self.id} at wandb proposes {', '.join(given)}, and no {', '.join(missing)}"
            raise RunError(what, fix="give the same names with --sweep-params")
        return {dial.name: _fitting(dial, given[dial.name]) for dial in self._dials}

    def report(self, number: int, place: int, value: float) -> None:
        """A point of the trial's curve."""
        self._tell(number, {"log": {self._metric: value, "evaluation": place}})

    def tell(self, number: int, state: str, value: float | None) -> None:
        """The trial has ended."""
        if state == "complete":
            self._tell(number, {"log": {self._metric: value}})
        self._tell(number, {"end": 1 if state == "failed" else 0})
        talker = self._talkers.pop(number, None)
        if talker is not None:
            # not waited for: a slow server must not hold up the next trial
            ending = threading.Thread(target=_end, args=(talker,), daemon=True)
            ending.start()
            self._endings.append(ending)

    def close(self) -> None:
        """Trials that go on are ended there as failed; those that have ended are sent."""
        for number in list(self._talkers):
            self.tell(number, "failed", None)
        for ending in self._endings:
            ending.join(_END_SECONDS)

    def _kept(self) -> str:
        kept = self._folder.path / _FILE
        return str(json.loads(kept.read_text(encoding="utf-8"))["id"]) if kept.exists() else ""

    def _made(self, direction: str) -> str:
        talker = self._started({"make": settings(self._dials, self._metric, direction)})
        made = str(self._answer(talker, "id"))
        _end(talker)
        atomic_write(self._folder.path / _FILE, json.dumps({"id": made}))
        return made

    def _started(self, asked: Mapping[str, Any]) -> subprocess.Popen[str]:
        self._folder.log.parent.mkdir(exist_ok=True)
        with open(self._folder.log.with_name("wandb.log"), "ab") as log:
            talker = subprocess.Popen(
                [sys.executable, "-P", "-m", "nbtrain.sweep.wandb_agent"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self._folder.path,  # wandb writes its own folder there
                env=process.environment() | {"WANDB_SILENT": "true"},
                start_new_session=True,
            )
        assert talker.stdin is not None
        talker.stdin.write(json.dumps({**asked, **self._where}) + "\n")
        talker.stdin.flush()
        return talker

    def _answer(self, talker: subprocess.Popen[str], name: str) -> Any:
        assert talker.stdout is not None
        patience = threading.Timer(_ANSWER_SECONDS, talker.kill)
        patience.start()
        try:
            said = json.loads(talker.stdout.readline() or "{}")
        finally:
            patience.cancel()
        if name in said:
            return said[name]
        log = self._folder.log.with_name("wandb.log")
        why = said.get("error", "it has no more to try, or did not answer")
        raise RunError(
            "wandb proposes nothing", where=str(log), why=why, fix="`wandb login`, or --sweep-backend optuna"
        )

    def _tell(self, number: int, what: Mapping[str, Any]) -> None:
        talker = self._talkers.get(number)
        if talker is None or talker.stdin is None:  # begun by a driver that is gone
            return
        try:
            talker.stdin.write(json.dumps(what) + "\n")
            talker.stdin.flush()
        except OSError:
            return  # the tracker is gone; the trial goes on, and the book has its values


def _end(talker: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):  # it is dead, and something was still to be said
        if talker.stdin is not None:
            talker.stdin.close()
    try:
        talker.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        talker.kill()
        talker.wait()
    if talker.stdout is not None:
        talker.stdout.close()


def check() -> None:
    """Raise MissingExtra where wandb is not installed."""
    if importlib.util.find_spec("wandb") is None:
        fix = 'pip install "nbtrain[trackers]", or --sweep-backend optuna'
        raise MissingExtra("--sweep-backend wandb needs the package wandb, which is not installed", fix=fix)


def settings(dials: Sequence[Dial], metric: str, direction: str) -> dict[str, Any]:
    """The search in wandb's words."""
    parameters = {dial.name: _range(dial) for dial in dials}
    return {"method": "bayes", "metric": {"name": metric, "goal": direction}, "parameters": parameters}


def _range(dial: Dial) -> dict[str, Any]:
    if dial.values:
        return {"values": list(dial.values)}
    low, high = (int(dial.low), int(dial.high)) if dial.whole else (float(dial.low), float(dial.high))
    found: dict[str, Any] = {"min": low, "max": high}
    if dial.step:
        return {**found, "distribution": "q_uniform", "q": dial.step}
    if dial.log:
        return {**found, "distribution": "q_log_uniform_values" if dial.whole else "log_uniform_values"}
    return {**found, "distribution": "int_uniform" if dial.whole else "uniform"}


def _fitting(dial: Dial, value: Any) -> Any:
    """A proposed value as the parameter takes it: of the listed ones itself, of a range the nearest that it has."""
    if dial.values:
        same = [each for each in dial.values if each == value and isinstance(each, bool) == isinstance(value, bool)]
        if not same:
            raise RunError(f"wandb proposes {dial.name} {value!r}, which is none of {', '.join(map(str, dial.values))}")
        return same[0]
    if dial.step:
        value = dial.low + round((value - dial.low) / dial.step) * dial.step
    value = min(max(value, dial.low), dial.high)
    return round(value) if dial.whole else float(value)
