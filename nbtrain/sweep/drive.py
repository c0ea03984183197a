"""The driver of a sweep: it hands trials to workers, watches their journals, and enters how each one ended."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbtrain import events, fit
from nbtrain.errors import NbtrainError, ParamError, nearest
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.sweep import plan, proposals
from nbtrain.sweep.after import Scripts
from nbtrain.sweep.news import News
from nbtrain.sweep.seats import Seats
from nbtrain.sweep.storage import BEAT_SECONDS
from nbtrain.sweep.study import FINAL
from nbtrain.sweep.trial import Trial, spare

_LOOK_SECONDS = 0.05
_LOST = 5  # processes that may die over one trial


class Driver:
    """One sweep while it goes on here.

    Args:
        params: what was asked, of the sweep. run: the sweep's own run.
    """

    def __init__(self, params: Any, run: ActiveRun) -> None:
        self.params, self.run = params, run
        self.metric = plan.metric(params)
        self.study = plan.study(params, run.folder)
        self.owner = f"{platform.node()}:{run.folder.path}"
        self.going: list[Trial] = []
        self._ended: list[tuple[Trial, str, float | None, str]] = []  # entered, and not told yet
        self.seats = Seats(params.sweep_workers)
        self.scripts = Scripts(params.post_trial_script, run)
        self.news = News(params, run, self.study)
        self.proposals = proposals.of(params, run.folder, self.study)
        self._beaten = 0.0

    def go(self) -> dict[str, float]:
        """Search until every trial is in a final state, or a stop is asked; the values of the best one."""
        self.news.start(self.metric)
        self._left = [trial.number for trial in self._own() if trial.state.name == "RUNNING"]
        try:
            while not self.run.stop_asked():
                for trial in list(self.going):
                    self._look(trial)
                self._fill()
                self._tell()  # a seat does not wait for it
                self._beat()
                if not self.going and self.study.over():
                    break
                time.sleep(_LOOK_SECONDS)
            else:
                self._halt()
        finally:
            self._tell()
            self.seats.leave()
            self.proposals.close()
        self.news.over(self.metric)
        self.scripts.wait()
        return self._results()

    def _own(self) -> list[Any]:
        """The trials that this machine took."""
        return [trial for trial in self.study.trials() if trial.user_attrs.get("owner") == self.owner]

    def _fill(self) -> None:
        """Give each free seat a trial: one that was broken off with the driver before this one, else the next."""
        while self.seats.free:
            if self._left:
                self._begin(self._left.pop(0))
                continue
            waiting, going = self.study.waiting(), [trial.number for trial in self.going]
            if not waiting or not self.study.ready(waiting[0], going):
                return
            if self.study.take(waiting[0], self.owner):
                self._begin(waiting[0])

    def _begin(self, number: int) -> None:
        entered = self.study.trials()[number]
        proposed = None if entered.params else self.proposals.propose(number)
        given = self.study.draw(number, self.params.record(), proposed)
        folder = RunFolder(Path(entered.user_attrs.get("run", self.run.folder.path / "trials" / f"trial-{number}")))
        trial = Trial(number, given, folder, self.seats.take())
        try:
            if not folder.params.exists():
                trial = Trial(number, given, self._prepared(given, folder), trial.seat)
        except NbtrainError as error:  # values that do not go together
            self._enter(trial, "failed", None, " ".join(error.lines()))
            return
        self.study.note(number, run=str(trial.folder.path))
        trial.begin(self.params.secrets())
        self.going.append(trial)
        self.news.came(trial)

    def _prepared(self, given: Mapping[str, Any], folder: RunFolder) -> RunFolder:
        return fit.prepare(plan.trial_params(self.params, given, folder.path))

    def _look(self, trial: Trial) -> None:
        """Take the news of a trial in, and enter its end."""
        over = trial.poll()  # before its journal: an end that it tells is in there already
        for place, found in trial.news():
            self._measured(trial, place, found)
        if not over and trial.silence > 60 * self.params.sweep_silence:
            trial.kill()
            minutes = f"{self.params.sweep_silence:g} minutes (--sweep-silence)"
            self._enter(trial, "failed", None, f"it hung: nothing was heard of it for {minutes}")
        elif over and trial.was_broken_off() and trial.lost < _LOST:
            trial.lost += 1
            self.run.warn(f"trial {trial.number} was broken off ({_why(trial)}); it goes on")
            trial.begin(self.params.secrets())
        elif over:
            self._check_metric(trial)
            self._enter(trial, *trial.outcome(self.metric))

    def _measured(self, trial: Trial, place: int, found: events.Evaluated) -> None:
        value = found.values.get(self.metric, math.nan)
        if math.isnan(value):
            return
        self.news.came(trial, value)
        self.proposals.report(trial.number, place, value)
        behind = self.study.report(trial.number, place, value)
        # at its last step there is nothing left to save
        if behind and not trial.pruned and (found.step or 0) < (trial.record.total_steps or math.inf):
            trial.pruned = f"{self.metric} {value:.4g} at its evaluation {place} is behind that of the others"
            trial.ask_to_stop()

    def _check_metric(self, trial: Trial) -> None:
        """The first trial shows what the room measures.

        Raises:
            ParamError: the metric is none of it.
        """
        end, measured, own = trial.record.end, trial.measured(), trial.record.metric
        if not isinstance(end, events.Finished) or self.metric in (*measured, *end.values):
            return
        if own in measured and plan.may_take(self.params, own, self.study.direction):
            self.run.warn(f"This room measures no {self.metric}: trials are compared by {own}.")
            self.metric = own
            self.news.start(own)
        elif self.study.best() is None:
            hint = nearest(self.metric, measured)
            what = f"--sweep-metric {self.params.sweep_metric}: the held-out rows have no {self.metric}.{hint}"
            raise ParamError(what, fix=f"one of {', '.join(measured) or 'none: nothing is evaluated'}")

    def _enter(self, trial: Trial, state: str, value: float | None, cause: str) -> None:
        """A trial has ended: into the book, and its seat is free."""
        if trial in self.going:
            self.going.remove(trial)
        self.seats.give_back(trial.seat)
        if not self.study.tell(trial.number, state, value, cause):
            state, value, cause = "failed", None, "another machine took it over: this one was not heard of"
        self.proposals.tell(trial.number, state, value)
        self._ended.append((trial, state, value, cause))

    def _tell(self) -> None:
        """What ended since the last call, into the journal."""
        for trial, state, value, cause in self._ended:
            tried = self.news.ended(trial, self.metric, state, value, cause)
            self._spare_the_worse()
            self.scripts.run(tried, trial.folder)
        self._ended.clear()

    def _beat(self) -> None:
        """Keep the trials that go on here alive in the book, and see to those of machines that are gone."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            self._beaten = time.monotonic()
            self.study.beat([*self._left, *(trial.number for trial in self.going)])
            self.study.free_stale()
            self.news.ended_elsewhere(self.metric)

    def _halt(self) -> None:
        """Stop the trials that go on; they are taken up again with the sweep."""
        for trial in self.going:
            trial.ask_to_stop()
        for trial in self.going:
            trial.wait()

    def _spare_the_worse(self) -> None:
        """Keep the weights of the best trials only: those of all would fill the disk."""
        ended = [trial for trial in self._own() if trial.state.is_finished() and "run" in trial.user_attrs]
        kept = [trial.number for trial in self.study.ranked()[: self.params.sweep_keep]]
        for trial in ended:
            if trial.number not in kept:
                spare(RunFolder(Path(trial.user_attrs["run"])))

    def _results(self) -> dict[str, float]:
        """The values of the best trial; its model is the sweep's."""
        trials, best = self.study.trials(), self.study.best()
        self.run.report["trials"] = plan.table(self.study)
        values = {word: float(sum(each.state.name == name for each in trials)) for name, word in FINAL.items()}
        if best is None:
            if self.run.stopped:
                return values
            raise plan.all_failed(self.study)
        place, owner = best.user_attrs.get("run", ""), best.user_attrs.get("owner", "")
        if owner.partition(":")[0] == platform.node():
            self.run.trained = plan.adopt(RunFolder(Path(place)), self.run.folder)
        else:
            self.run.warn(f"The best trial's model lies on {owner.partition(':')[0]}: {place}")
        return {self.metric: best.value, "trial": float(best.number), **values}


def _why(trial: Trial) -> str:
    end = trial.record.end
    return str(end.error.get("why", "")) if isinstance(end, events.Failed) else "its driver was gone"
