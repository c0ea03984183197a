"""The curves of a run for TensorBoard: `tensorboard --logdir RUN/tensorboard`."""

from __future__ import annotations

from pathlib import Path

from nbtrain import events
from nbtrain.errors import MissingExtra

_PREFIX = {events.Logged: "train", events.Evaluated: "eval"}


class TensorBoard:
    """A sink that writes training values as train/NAME and evaluations as eval/NAME.

    Args:
        folder: of the event files; a run that is resumed adds one.

    Raises:
        MissingExtra: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError:
            fix = "pip install tensorboard, or leave --log out: the run keeps its curves without it"
            raise MissingExtra("--log tensorboard needs tensorboard, which is not installed", fix=fix) from None
        self._writer = Writer(str(folder))

    def __call__(self, event: events.Event) -> None:
        """Write what the event measured."""
        if isinstance(event, (events.Logged, events.Evaluated)):
            for name, value in event.values.items():
                self._writer.add_scalar(f"{_PREFIX[type(event)]}/{name}", value, step=event.step or 0)
        if isinstance(event, (events.Evaluated, events.Finished, events.Stopped, events.Failed)):
            self._writer.flush()
