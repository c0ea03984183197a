"""The book of a sweep: its trials in an Optuna storage, which outlives every process and is shared by machines.

All trials are entered when the book is made, waiting; who is free takes the next, and no two the same. What a trial
tries depends on its number and on the trials that were certainly over before it, never on who was quicker: a sweep
whose workers were killed tries what an undisturbed one tries.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from nbtrain.sweep.space import Dial
from nbtrain.sweep.storage import quiet, storage

_STARTUP = 5  # trials at random before the sampler learns from them
_TELLING = 8  # complete trials before it is said which parameters matter
_ENTERING_SECONDS = 10.0
_PAUSE = 0.5
_DRAWS, _FAR = 8, 1_000_003  # times that values are drawn for one trial, and how far their seeds are apart
FINAL = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
"""Optuna's final states, in our words."""


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
        with quiet():
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
        import optuna

        try:
            if not self._storage.set_trial_state_values(self._id(number), optuna.trial.TrialState.RUNNING):
                return False
        except optuna.exceptions.UpdateFinishedTrialError:  # and through with it already
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

        fixed = dict(proposed or self._drawn(number, start))
        with quiet():
            self._study.sampler = optuna.samplers.PartialFixedSampler(fixed, optuna.samplers.RandomSampler(self.seed))
            trial = optuna.trial.Trial(self._study, self._id(number))
            return {dial.name: dial.suggest(trial) for dial in self.dials}

    def _drawn(self, number: int, start: Mapping[str, Any]) -> dict[str, Any]:
        """What the sampler thinks of for a trial; what an earlier one tried already is drawn again, a few times."""
        import optuna

        trials = self.trials()
        tried = [trial.params for trial in trials[:number]]
        for attempt in range(_DRAWS):
            view, seed = self._view(number, trials), (self.seed + number + attempt * _FAR) % 2**32
            view.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP)
            if number == 0:
                view.enqueue_trial({dial.name: start[dial.name] for dial in self.dials if dial.holds(start[dial.name])})
            trial = view.ask()
            found = {dial.name: dial.suggest(trial) for dial in self.dials}
            if found not in tried:
                break
        return found

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
        if isinstance(self._pruner, optuna.pruners.NopPruner):
            return False
        if self._halving:
            return bool(optuna.trial.Trial(self._study, self._id(number)).should_prune())
        trials = self.trials()
        return bool(self._pruner.prune(self._view(number, trials), trials[number]))

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

        with quiet():
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
        if len(done) < _TELLING or len({trial.value for trial in done}) < 2:
            return {}
        with quiet():
            try:
                return dict(optuna.importance.get_param_importances(self._study))
            except (RuntimeError, ValueError):  # all trials tried the same
                return {}

    def _view(self, number: int, trials: Sequence[Any]) -> Any:
        """What trial `number` may know of all: a study of those that were over before it."""
        import optuna

        with quiet():
            view = optuna.create_study(direction=self.direction)
            known = [trial for trial in trials if trial.number <= number - self.lag]
            view.add_trials([trial for trial in known if trial.state.is_finished()])
        return view

    def _id(self, number: int) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number))


def cause(trial: Any) -> str:
    """Why a trial failed or was pruned, '' where it did neither."""
    lost = "no sign of life from the machine that had it" if trial.state.name == "FAIL" else ""
    return str(trial.user_attrs.get("cause", lost))


def _pruner(name: str) -> Any:
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=_STARTUP - 1, n_warmup_steps=0)
    return optuna.pruners.SuccessiveHalvingPruner(1, 3) if name == "halving" else optuna.pruners.NopPruner()
