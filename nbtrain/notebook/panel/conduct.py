"""The run of a panel: started in the background, watched in the panel's own display, asked for things."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from IPython.display import display

from nbtrain import controls, run
from nbtrain.notebook.html import clip, fill
from nbtrain.notebook.live import Live
from nbtrain.params import Params
from nbtrain.run import Run
from nbtrain.runs import status

_LOOK = 0.1  # seconds between two looks at the run
_LONGEST = 2_000  # bytes of the line in the saved view


class Conduct:
    """What is done with the run that the panel shows.

    Args:
        changed: called when the run begins, pauses, goes on or ends; not always from the thread of the kernel.
        root: the folder in which runs are made. pace: shortest time between two drawings, in seconds.

    Attributes:
        run: the one that is shown, None before the first.
    """

    def __init__(self, changed: Callable[[], None], *, root: str, pace: float) -> None:
        self.run: Run | None = None
        self.closed = False
        self._changed, self._root, self._pace = changed, root, pace
        self._line, self._has_room = "", False
        self._place = f"nbtrain-{uuid.uuid4().hex}"

    @property
    def state(self) -> str:
        """That of the run, '' where there is none."""
        return self.run.status if self.run else ""

    @property
    def trains(self) -> bool:
        """Whether a run is shown that has not ended."""
        return self.run is not None and self.state not in status.ENDED

    def make_room(self) -> None:
        """Make the display in which the run will be shown: only the cell that runs can, a button cannot."""
        display(self._kept(), raw=True, display_id=self._place)
        self._has_room = True

    def keep(self, line: str) -> None:
        """Until there is a run, the saved notebook holds the line that the form says."""
        if self.run is None and line != self._line:
            self._line = line
            if self._has_room:
                display(self._kept(), raw=True, display_id=self._place, update=True)

    def start(self, params: Params, line: str) -> None:
        """Start a run in the background. line: what starts it, kept with the view in the saved notebook.

        Raises:
            NbtrainError: the run cannot be prepared or started.
        """
        self.show(run.start(params, root=self._root), line)

    def show(self, shown: Run, line: str = "") -> None:
        """Show a run: as it is, or as it goes on, where somebody trains it."""
        self.run, self._line = shown, line
        live = Live(shown.folder, display=self._draw, pace=self._pace)
        if not live.look():
            threading.Thread(target=self._follow, args=(live, shown), name="nbtrain-panel", daemon=True).start()

    def ask(self, request: str) -> None:
        """Ask the run for something while it trains.

        Raises:
            RunError: it has ended, or does not obey this.
        """
        if self.run:
            controls.ask(self.run.folder, request)

    def change(self, **values: Any) -> None:
        """Let the run train with these values from its next step on.

        Raises:
            ParamError: no such value. RunError: as `ask`.
        """
        if self.run:
            controls.change(self.run.folder, values)

    def _follow(self, live: Live, shown: Run) -> None:
        state = ""
        while self.run is shown and not self.closed:
            over = live.look()
            if live.record.state != state:
                state = live.record.state
                self._changed()
            if over:
                self._changed()
                return
            time.sleep(_LOOK)

    def _draw(self, bundle: dict[str, Any], again: bool) -> None:
        kept = self._kept()["text/html"] if self._line else ""
        display(bundle | {"text/html": kept + bundle["text/html"]}, raw=True, display_id=self._place, update=True)

    def _kept(self) -> dict[str, Any]:
        """The line, folded: what a reader of the notebook has where no widget is shown."""
        line = clip(self._line, _LONGEST)
        folded = fill(
            '<details class="mathjax_ignore tex2jax_ignore"><summary>This form as a line</summary>'
            "<pre>$line</pre></details>",
            line=line,
        )
        return {"text/html": str(folded), "text/plain": self._line}
