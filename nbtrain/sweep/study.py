"""The book of a sweep: its trials in an Optuna storage, which outlives every process and is shared by machines.

All trials are entered when the book is made, waiting; who is free takes the next, and no two the same. What a trial
tries depends on its number and on the trials that were certainly over before it, never on who was quicker: a sweep
whose workers were killed tries what an undisturbed one tries.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nbtrain.errors import MissingExtra, ParamError, RunError, nearest
from nbtrain.sweep.space import Dial

BEAT_SECONDS, _GRACE_SECONDS = 20, 90  # a machine that is silent for so long is gone
_RETRIES = 2  # of a trial whose machine is gone
_STARTUP = 5  # trials at random before the sampler learns from them
_ENTERING_SECONDS = 10.0
_ATTEMPTS, _PAUSE = 5, 0.5  # at making the tables of a new database, where others make them at the same time
FINAL = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
"""Optuna's final states, in our words."""
PASSWORD = "NBTRAIN_SWEEP_PASSWORD"


class Study:
    """The trials of one sweep.

    Args:
        url: of the storage. name: of the sweep in it.
        lag: trial k learns from the trials up to k - lag only; those that run beside it are not waited for.
        pruner: median, halving or none.
    """

    def __init__(self, url: str, name: str, dials: Sequence[Dial], *, seed: int, lag: int, pruner: str) -> None:
        self.url, self.name, self.dials, self.seed, self.lag = url, name, list(dials), seed, lag
        self._halving = pruner == "halving"
        self._pruner = _pruner(pruner)
        self._storage = storage(url)
        self._study: Any = None

    def open(self, *, trials: int, direction: str, about: Mapping[str, Any]) -> None:
        """Make the book with so many waiting trials, or open it where it is there.

        Args:
            direction: minimize or maximize. about: what another machine needs to know, as plain data.
        """
        import optuna

        settings = {"study_name": self.name, "storage": self._storage, "pruner": self._pruner}
        patience = 0.0
        with _quiet():
            try:
                self._study = optuna.create_study(direction=direction, **settings)
            except optuna.exceptions.DuplicatedStudyError:
                self._study, patience = optuna.load_study(**settings), _ENTERING_SECONDS
        until = time.monotonic() + patience  # another machine may be entering the trials just now
        while len(self.trials()) < self.about.get("trials", trials) and time.monotonic() < until:
            time.sleep(_PAUSE)
        if "trials" not in self.about:
            for key, value in {**about, "trials": trials}.items():
                self._study.set_user_attr(key, value)
        for _ in range(self.about["trials"] - len(self.trials())):
            self._study.enqueue_trial({})

    @property
    def direction(self) -> str:
        """minimize or maximize."""
        return str(self._study.direction.name.lower())

    @property
    def about(self) -> dict[str, Any]:
        """What was said when the book was made."""
        return dict(self._study.user_attrs)

    def trials(self) -> list[Any]:
        """All trials as they are now, by number."""
        return list(self._study.get_trials(deepcopy=False))

    def waiting(self) -> list[int]:
        """The numbers that nobody has taken yet."""
        return [trial.number for trial in self.trials() if trial.state.name == "WAITING"]

    def over(self) -> bool:
        """Whether every trial is in a final state."""
        return all(trial.state.is_finished() for trial in self.trials())

    def take(self, number: int, owner: str) -> bool:
        """Take a waiting trial; False where another was quicker."""
        from optuna.trial import TrialState

        if not self._storage.set_trial_state_values(self._id(number), TrialState.RUNNING):
            return False
        self.beat([number])
        self.note(number, owner=owner)
        return True

    def draw(self, number: int, start: Mapping[str, Any], proposed: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a trial tries; asked again, the same.

        Args:
            start: values that the first trial tries, as far as they are in their ranges.
            proposed: by another sampler; they are entered as they are.
        """
        import optuna

        fixed = dict(proposed or {})
        if not fixed:
            view = self._view(number)
            view.sampler = optuna.samplers.TPESampler(seed=(self.seed + number) % 2**32, n_startup_trials=_STARTUP)
            if number == 0:
                view.enqueue_trial({dial.name: start[dial.name] for dial in self.dials if dial.holds(start[dial.name])})
            drawn = view.ask()
            fixed = {dial.name: dial.suggest(drawn) for dial in self.dials}
        with _quiet():
            self._study.sampler = optuna.samplers.PartialFixedSampler(fixed, optuna.samplers.RandomSampler(self.seed))
            trial = optuna.trial.Trial(self._study, self._id(number))
            return {dial.name: dial.suggest(trial) for dial in self.dials}

    def note(self, number: int, **facts: Any) -> None:
        """Write facts of a trial down: who has it, in which folder, why it failed."""
        for name, value in facts.items():
            self._storage.set_trial_user_attr(self._id(number), name, value)

    def report(self, number: int, step: int, value: float) -> bool:
        """A value on the way; whether the trial is to be ended early.

        Args:
            step: evaluations of this trial, from 1.
        """
        import optuna

        try:
            self._storage.set_trial_intermediate_value(self._id(number), step, value)
        except optuna.exceptions.UpdateFinishedTrialError:  # it was given up as lost meanwhile
            return True
        if self._halving:
            return bool(optuna.trial.Trial(self._study, self._id(number)).should_prune())
        return bool(self._pruner.prune(self._view(number), self.trials()[number]))

    def tell(self, number: int, state: str, value: float | None = None, cause: str = "") -> bool:
        """Enter how a trial ended: complete, pruned or failed, and why. False where that was entered already."""
        import optuna

        final = next(name for name, word in FINAL.items() if word == state)
        values = None if value is None or state != "complete" else [value]
        try:
            if cause:
                self.note(number, cause=cause)
            return bool(self._storage.set_trial_state_values(self._id(number), optuna.trial.TrialState[final], values))
        except optuna.exceptions.UpdateFinishedTrialError:
            return False

    def beat(self, numbers: Sequence[int]) -> None:
        """Say that these trials are worked on; each at least every BEAT_SECONDS."""
        for number in numbers:
            self._storage.record_heartbeat(self._id(number))

    def free_stale(self) -> None:
        """Have the trials of machines that are gone fail, and enter them anew."""
        import optuna

        with _quiet():
            optuna.storages.fail_stale_trials(self._study)

    def ready(self, number: int, own: Sequence[int]) -> bool:
        """Whether all trials that this one learns from are over, but for those of other machines.

        Args:
            own: numbers of the trials that go on here.
        """
        return all(other > number - self.lag for other in own)

    def best(self) -> Any | None:
        """The best complete trial, None before the first."""
        return next(iter(self.ranked()), None)

    def ranked(self) -> list[Any]:
        """The complete trials, the best first; of equals the one with the lower number."""
        done = [trial for trial in self.trials() if trial.state.name == "COMPLETE"]
        sign = 1 if self.direction == "minimize" else -1
        return sorted(done, key=lambda trial: (sign * trial.value, trial.number))

    def importance(self) -> dict[str, float]:
        """How much of the metric each parameter decides, adding up to 1; empty before that can be told."""
        import optuna

        done = [trial for trial in self.trials() if trial.state.name == "COMPLETE"]
        if len(done) < _STARTUP or len({trial.value for trial in done}) < 2:
            return {}
        with _quiet():
            try:
                return dict(optuna.importance.get_param_importances(self._study))
            except (RuntimeError, ValueError):  # all trials tried the same
                return {}

    def _view(self, number: int) -> Any:
        """What trial `number` may know: a study of the trials that were over before it."""
        import optuna

        with _quiet():
            view = optuna.create_study(direction=self.direction)
            known = [trial for trial in self.trials() if trial.number <= number - self.lag]
            view.add_trials([trial for trial in known if trial.state.is_finished()])
        return view

    def _id(self, number: int) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number))


def cause(trial: Any) -> str:
    """Why a trial failed or was pruned, '' where it did neither."""
    lost = "no sign of life from the machine that had it" if trial.state.name == "FAIL" else ""
    return str(trial.user_attrs.get("cause", lost))


def storage(url: str) -> Any:
    """The database at `url`, its tables made where they are missing.

    Raises:
        MissingExtra: Optuna is not installed. ParamError: the URL has a password. RunError: it cannot be opened.
    """
    try:
        import optuna
        from sqlalchemy.exc import ArgumentError, SQLAlchemyError
    except ImportError as error:
        fix = 'pip install "nbtrain[sweep]"'
        raise MissingExtra(f"A sweep needs {error.name}, which is not installed", fix=fix) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    failed = f"the storage of the sweep cannot be opened: {shown(url)}"
    for attempt in range(_ATTEMPTS):
        try:
            with _quiet():
                return optuna.storages.RDBStorage(
                    _with_password(url),
                    heartbeat_interval=BEAT_SECONDS,
                    grace_period=_GRACE_SECONDS,
                    heartbeat_stale_trial_callback=_enter_anew,
                )
        except (ArgumentError, ImportError) as error:
            raise RunError(failed, why=str(error), fix="an SQLAlchemy URL, as sqlite:////shared/sweep.db") from None
        except SQLAlchemyError as error:
            why = str(error).split("\n")[0]
        time.sleep(_PAUSE * attempt)
    raise RunError(failed, why=why, fix="look whether the database is there and takes connections")


def known(url: str, name: str | None) -> tuple[str, dict[str, Any]]:
    """The sweep that is meant, and what was said when it was made.

    Args:
        name: of the sweep; None where the storage has one only.

    Raises:
        ParamError: there is none of this name, or there are several.
    """
    book = storage(url)
    there = [each.study_name for each in book.get_all_studies()]
    if name is None and len(there) != 1:
        what = f"{shown(url)} holds {len(there)} sweeps" if there else f"{shown(url)} holds no sweep"
        raise ParamError(what, fix=f"name one with --study: {', '.join(there[-8:])}" if there else "look at the URL")
    wanted = there[0] if name is None else name
    if wanted not in there:
        raise ParamError(f"{shown(url)} has no sweep {wanted!r}.{nearest(wanted, there)}")
    return wanted, dict(book.get_study_user_attrs(book.get_study_id_from_name(wanted)))


def shown(url: str) -> str:
    """The URL without what stands for a password."""
    before, at, after = url.rpartition("@")
    head, colon, _ = before.rpartition(":")
    return f"{head}:***@{after}" if at and colon and "//" in head and not head.endswith("//") else url


def check_url(url: str) -> None:
    """Raise ParamError where the URL holds a password: it is written into files."""
    if shown(url) != url:
        fix = f"leave it out, and set {PASSWORD} in the environment of each machine"
        raise ParamError("--sweep-storage has a password in it, which would stand in files", where=shown(url), fix=fix)


def _with_password(url: str) -> Any:
    password = os.environ.get(PASSWORD)
    if not password:
        return url
    from sqlalchemy.engine import make_url

    made = make_url(url)
    return made.set(password=password).render_as_string(hide_password=False) if made.username else url


def _pruner(name: str) -> Any:
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=_STARTUP - 1, n_warmup_steps=0)
    return optuna.pruners.SuccessiveHalvingPruner(1, 3) if name == "halving" else optuna.pruners.NopPruner()


def _enter_anew(study: Any, trial: Any) -> None:
    """A trial whose machine is gone waits again, with the values that it had, but for nobody."""
    import optuna

    tries = trial.user_attrs.get("tries", 0) + 1
    if tries > _RETRIES:
        return
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"tries": tries, "again": trial.number},
        )
    )


@contextmanager
def _quiet() -> Iterator[None]:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
