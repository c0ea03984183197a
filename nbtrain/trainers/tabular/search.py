"""Trials within a number and a time: each is cross-validated, told, and kept, so that a search goes on where it was."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.errors import NbtrainError, RunError, TrainingError
from nbtrain.events import Logged, Saved
from nbtrain.runs import checkpoints
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.record import lower_is_better
from nbtrain.trainers.tabular import estimators, scoring, trials
from nbtrain.trainers.tabular.families import Family
from nbtrain.trainers.tabular.material import Candidate, Material

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

_TRIALS, _GUESSES = "trials.json", "held-out.npz"
_FIRST = 0.5  # share of the time that a lone family's first trial may take, and that auto's first round may
_LEADERS = 3  # families that auto goes on with after its first round
_SLOW = 1.5  # times what it may take: a family that would need more is left out


class _TooSlow(Exception):
    """A family would take far more than its share of the time."""


@dataclass(frozen=True)
class _Turn:
    """What a trial tries. first: of its family. prunable: it may be cut short where it is worse than others were."""

    family: Family
    settings: dict[str, Any]
    first: bool
    prunable: bool


@dataclass(frozen=True)
class _Tried:
    """What the folds gave. seconds: of one fold. whole: all of them were measured."""

    scores: list[float]
    rounds: tuple[int, ...]
    guesses: Array
    seconds: float
    whole: bool


class Search:
    """The trials of one run.

    Args:
        families: one, or several to compare.
        metric: by which one trial is better than another.

    Attributes:
        best: the best trial of each family that has one.
        why: how the search ended, in words.
    """

    def __init__(
        self, params: Any, run: ActiveRun, material: Material, families: Sequence[Family], metric: str
    ) -> None:
        self.params, self.run, self.material, self.metric = params, run, material, metric
        self.families = list(families)
        self.best: dict[str, Candidate] = {}
        self.why = ""
        self.total = trials.planned(params)
        self._began = time.monotonic()
        self._spent = 0.0  # seconds of trials before this process took the run up
        self.study = trials.study(metric)
        if run.resume_from is not None:
            self._take_up(run.resume_from)

    @property
    def done(self) -> int:
        """Trials that have ended."""
        return len(trials.finished(self.study))

    def leader(self) -> Candidate | None:
        """The best trial of all."""
        found: Candidate | None = None
        for candidate in self.best.values():
            if found is None or scoring.better(self.metric, candidate.score, found.score):
                found = candidate
        return found

    def go(self) -> None:
        """Try until all trials are done, the time is up, or a stop is asked."""
        number = self.done
        while number < self.total:
            if self.run.stop_asked():
                self.why = self.run.stopped
                return
            if self.best and self._left() <= 0:
                self.why = f"the time is up (--time-limit {self.params.time_limit})"
                return
            if not self._try(number):
                break
            number += 1
        self.why = self.run.stopped or (
            "all trials are done" if number >= self.total else f"the time is up (--time-limit {self.params.time_limit})"
        )

    def _left(self) -> float:
        """Seconds for trials: of the time limit, less what the last fits will take."""
        last = sum(candidate.seconds for candidate in self.best.values())
        return float(self.params.time_limit) - self._spent - (time.monotonic() - self._began) - last

    def _tried(self) -> list[str]:
        """The family of each trial that has ended."""
        return [trial.user_attrs["family"] for trial in trials.finished(self.study)]

    def _next(self) -> Family:
        """Each family once, then the leaders by turns."""
        tried = self._tried()
        fresh = [family for family in self.families if family.name not in tried]
        if fresh:
            return fresh[0]
        ranked = sorted(self.best.values(), key=lambda each: each.score, reverse=not lower_is_better(self.metric))
        leaders = [candidate.family for candidate in ranked[:_LEADERS]]
        if not leaders:
            raise TrainingError("No family could learn this table.", fix="Look at the notices; name one with --model.")
        return min(leaders, key=lambda family: tried.count(family.name))

    def _try(self, number: int) -> bool:
        """One trial; whether it came to an end."""
        import optuna

        tried, family = self._tried(), self._next()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # a sampler of its own for each trial: what it draws depends on the trials before, not on who drew them
            self.study.sampler = optuna.samplers.TPESampler(seed=self.params.seed + number, n_startup_trials=5)
        own = self.params.model_params or {}
        space = {name: dial for name, dial in family.space.items() if name not in own}
        first = family.name not in tried
        if first:
            self.study.enqueue_trial({f"{family.name}.{name}": dial.start for name, dial in space.items()})
        trial = self.study.ask()
        drawn = {name: dial.ask(trial, f"{family.name}.{name}") for name, dial in space.items()}
        turn = _Turn(family, {**family.fixed, **drawn, **own}, first, tried.count(family.name) >= trials.UNPRUNED)
        began = time.monotonic()
        try:
            found = self._over_folds(trial, turn, self._allowance(first))
        except (_TooSlow, Exception) as error:
            if len(self.families) == 1 or isinstance(error, (MemoryError, NbtrainError)):
                raise
            # one family that cannot take this table does not end a comparison
            why = "it would take too long" if isinstance(error, _TooSlow) else f"{type(error).__name__}: {error}"
            self.run.warn(f"{family.name} is left out: {why.strip()[:200]}")
            found = _Tried([], (), self.material.no_guesses(), 0.0, whole=False)
        if found is None:
            return False
        self._keep(trial, number, turn, found, time.monotonic() - began)
        return True

    def _over_folds(self, trial: Any, turn: _Turn, allowance: float) -> _Tried | None:
        """Cross-validate; None for a trial that was broken off: it is as if it had not been begun."""
        import numpy

        material, began = self.material, time.monotonic()
        guesses, scores, rounds = material.no_guesses(), list[float](), list[list[int]]()
        share = allowance / (len(material.folds) * len(material.goal.targets))
        for place, (rows, held) in enumerate(material.folds):
            grown = self._over_targets(turn, (rows, held), guesses, began + allowance, share)
            if grown is None:
                return None
            rounds.append(grown)
            scores.append(scoring.score(self.metric, material.goal, material.targets[held], guesses[held]))
            trial.report(float(numpy.mean(scores)), place)
            seconds = (time.monotonic() - began) / len(scores)
            if turn.prunable and len(scores) < len(material.folds) and trial.should_prune():
                return _Tried(scores, (), guesses, seconds, whole=False)
            if turn.first and self.best and seconds * len(material.folds) > _SLOW * allowance:
                raise _TooSlow
        means = numpy.round(numpy.mean(rounds, axis=0)).astype(int)
        return _Tried(scores, tuple(map(int, means)) if turn.family.rounds else (), guesses, seconds, whole=True)

    def _over_targets(
        self, turn: _Turn, fold: tuple[Array, Array], guesses: Array, end: float, share: float
    ) -> list[int] | None:
        """Fit to each target of a fold and put its guesses in; the rounds of each, None where the trial is over."""
        material, held, grown = self.material, fold[1], []
        x = material.views.of(turn.family.view).x
        for at, where in enumerate(material.goal.slices()):
            # a family's first trial always counts: its trees are as many as its share of the time allows
            fitted = self._fit(turn, at, fold, time.monotonic() + share if turn.first else end)
            if self.run.stop_asked() or (not turn.first and time.monotonic() >= end):
                return None
            guesses[held, where] = fitted.predict(x[held], where.stop - where.start)
            grown.append(fitted.rounds or 0)
        return grown

    def _allowance(self, first: bool) -> float:
        """Seconds that the next trial may take: a family's first shares with those that wait for theirs."""
        left = max(self._left(), 1.0)
        if not first:
            return left
        tried = self._tried()
        waiting = sum(family.name not in tried for family in self.families)
        return left * _FIRST if len(self.families) == 1 else left / waiting if waiting else left

    def _fit(self, turn: _Turn, at: int, fold: tuple[Array, Array], until: float) -> estimators.Fitted:
        """Fit to one target of one fold."""
        family, settings = turn.family, turn.settings
        view, (rows, held), targets = self.material.views.of(family.view), fold, self.material.targets[:, at]
        setting = estimators.Setting(
            classifies=self.material.goal.classifies,
            seed=self.params.seed,
            threads=self.material.threads,
            categories=view.codes,
            held=(view.x[held], targets[held]),
            halt=lambda: self.run.stop_asked() or time.monotonic() >= until,
        )
        return estimators.fit(family, settings, view.x[rows], targets[rows], setting)

    def _keep(self, trial: Any, number: int, turn: _Turn, found: _Tried, seconds: float) -> None:
        """Write the trial down, and tell of it."""
        from optuna.trial import TrialState

        family, score = turn.family, sum(found.scores) / len(found.scores) if found.scores else math.nan
        about = {"family": family.name, "settings": turn.settings, "rounds": list(found.rounds), "seconds": seconds}
        for name, value in about.items():
            trial.set_user_attr(name, value)
        values = {"seconds": round(seconds, 3)}
        if found.whole and not math.isnan(score):
            self.study.tell(trial, score)
            values = {f"cv_{self.metric}": score} | values
            old = self.best.get(family.name)
            if old is None or scoring.better(self.metric, score, old.score):
                parts = (score, turn.settings, found.rounds, found.guesses, found.seconds)
                self.best[family.name] = Candidate(family, number, *parts)
        else:
            self.study.tell(trial, state=TrialState.PRUNED if found.scores else TrialState.FAIL)
        leader = self.leader()
        values |= {"best": leader.score} if leader else {}
        self._commit(number + 1)
        self.run.emit(Logged(step=number + 1, values=values))
        self.run.emit(Saved(step=number + 1, path=f"checkpoints/checkpoint-{number + 1}"))

    def _commit(self, number: int) -> None:
        import numpy

        checkpoints.room_for(self.run.folder)
        path = self.run.folder.checkpoints / f"checkpoint-{number}"
        path.mkdir(parents=True, exist_ok=True)
        content = [trials.written(trial) for trial in trials.finished(self.study)]
        (path / _TRIALS).write_text(json.dumps(content, indent=1), encoding="utf-8")
        guesses = {name: candidate.guesses for name, candidate in self.best.items()}
        numpy.savez(path / _GUESSES, **guesses)
        checkpoints.commit(path)
        checkpoints.rotate(self.run.folder, 1)

    def _take_up(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            RunError: its rows are not those of the table as it is now.
        """
        import numpy

        content = json.loads((path / _TRIALS).read_text(encoding="utf-8"))
        with numpy.load(path / _GUESSES) as stored:
            guesses = {name: stored[name] for name in stored.files}
        if any(len(each) != len(self.material.targets) for each in guesses.values()):
            what = "The table has other rows than when the run began: its trials cannot be gone on with."
            raise RunError(what, where=str(path), fix="Start a new run.")
        known = {family.name: family for family in self.families}
        for number, record in enumerate(content):
            trial = trials.read(record)
            self.study.add_trial(trial)
            about = trial.user_attrs
            self._spent += about["seconds"]
            old, family = self.best.get(about["family"]), known[about["family"]]
            # one that was cut short has the value of the folds that it came to
            whole = trial.state.name == "COMPLETE"
            if whole and (old is None or scoring.better(self.metric, trial.value, old.score)):
                seconds = about["seconds"] / len(self.material.folds)
                self.best[family.name] = Candidate(
                    family,
                    number,
                    trial.value,
                    about["settings"],
                    tuple(about["rounds"]),
                    guesses[family.name],
                    seconds,
                )
