"""The places of a sweep on this machine: as many as its workers, each with its share of the cores and its GPU."""

from __future__ import annotations

import os

from nbtrain.runs import process
from nbtrain.runs.seat import Seat


class Seats:
    """So many places.

    Attributes:
        free: those where no trial goes on.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.free = [Seat(environment) for environment in shares(count)]
        self._all = list(self.free)

    def take(self) -> Seat:
        """A free place; one that was used before goes first, its process is there."""
        self.free.sort(key=lambda seat: seat.worker is None)
        return self.free.pop(0)

    def give_back(self, seat: Seat) -> None:
        """The trial there has ended."""
        self.free.append(seat)

    def leave(self) -> None:
        """End all processes; a trial that goes on is asked to stop."""
        for seat in self._all:
            seat.leave()


def shares(count: int) -> list[dict[str, str]]:
    """What each of so many processes may use: the cores divided, the GPUs by turns."""
    cores = process.cores()
    # a worker is told to use all cores, and this may be one: its own number is a limit, not a wish
    told = os.environ.get("OMP_NUM_THREADS", "")
    share = max(min(cores // count, int(told) if told.isdecimal() else cores), 1)
    threads = {"OMP_NUM_THREADS": str(share)}
    gpus = process.gpus()
    return [
        threads | ({"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if len(gpus) > 1 else {}) for place in range(count)
    ]
