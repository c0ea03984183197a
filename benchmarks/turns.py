"""Two trainings in one process that take turns, some steps each, so that both meet the same machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

WARM = 5  # steps at the beginning of a turn that are not timed: the caches are the other's


class Turns:
    """Hands the turn from one training to the other.

    Args:
        steps: of a turn.
        passed: called with the name of the arm that is about to work.
    """

    def __init__(self, steps: int, passed: Callable[[str], None] = lambda name: None) -> None:
        self.steps, self.passed = steps, passed
        self.times: dict[str, list[float]] = {}
        self._turn = threading.Condition()
        self._whose = ""

    def run(self, **arms: Callable[[Any], None]) -> dict[str, list[float]]:
        """Run the arms, each called with a callback for its Trainer; milliseconds a step, by arm, a figure a turn."""
        self.times = {name: [] for name in arms}
        threads = []
        faults: list[BaseException] = []
        for name, train in arms.items():
            thread = threading.Thread(target=self._arm, args=(name, train, faults), daemon=True)
            thread.start()
            threads.append(thread)
            with self._turn:  # it gets ready, up to its first step, before the next one begins to
                self._turn.wait_for(lambda: self._whose == "ready" or faults)
                self._whose = ""
        self._pass_on("")
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]
        return self.times

    def _arm(self, name: str, train: Callable[[Any], None], faults: list[BaseException]) -> None:
        import torch

        torch.set_num_threads(1)
        try:
            train(self._callback(name))
        except BaseException as fault:
            faults.append(fault)
        with self._turn:
            others = [each for each in self.times if each != name]
            self._whose = others[0]
            self._turn.notify_all()

    def _callback(self, name: str) -> Any:
        from transformers import TrainerCallback

        turns, begun = self, [0.0]

        class Turn(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                done = state.global_step
                if done % turns.steps == 0:
                    if done:
                        turns.times[name].append(1000 * (time.perf_counter() - begun[0]) / (turns.steps - WARM))
                    turns._wait(name, first=not done)
                elif done % turns.steps == WARM:
                    begun[0] = time.perf_counter()

        return Turn()

    def _wait(self, name: str, *, first: bool) -> None:
        with self._turn:
            if first:
                self._whose = "ready"
                self._turn.notify_all()
            else:
                self._pass_on(name)
            self._turn.wait_for(lambda: self._whose == name)
        self.passed(name)

    def _pass_on(self, name: str) -> None:
        names = list(self.times)
        with self._turn:
            self._whose = names[(names.index(name) + 1) % len(names)] if name else names[0]
            self._turn.notify_all()
