"""The extension: `%load_ext nbtrain`. Loading it is quiet and quick; what takes time is done behind the first cells."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

_SECONDS = 0.1  # the cell that loads the extension goes first
_NAME = "autotrain"
# named, not imported: that alone would cost what loading may take
_RUN, _ANSWER = ("nbtrain.run", "Run"), ("nbtrain.answers", "Answer")

_extensions: dict[int, _Extension] = {}  # by the identity of the shell


def load_ipython_extension(shell: Any) -> None:
    """Add the magic, its completion and the display of runs to a shell; twice does the same as once."""
    if id(shell) not in _extensions:
        _extensions[id(shell)] = _Extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take all of it away again and end the standby; runs go on."""
    extension = _extensions.pop(id(shell), None)
    if extension is not None:
        extension.close()


class _Extension:
    """What is added to one shell, so that all of it can be taken away again."""

    def __init__(self, shell: Any) -> None:
        from nbtrain.notebook import complete
        from nbtrain.notebook.magics import AutotrainMagics
        from nbtrain.notebook.settings import NBTrain

        self.shell = shell
        self.settings = NBTrain(parent=shell)
        self.magics = AutotrainMagics(shell, self.settings)
        shell.configurables.append(self.settings)
        shell.register_magics(self.magics)
        drawn = shell.display_formatter.ipython_display_formatter
        drawn.for_type_by_name(*_RUN, self.magics.draw)
        drawn.for_type_by_name(*_ANSWER, _draw)
        self._uninstall = complete.install(shell, root=lambda: self.settings.runs_folder)
        self.settings.observe(self._standby_changed, "standby")
        self._timer = threading.Timer(_SECONDS, self._get_ready)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """Undo what `__init__` did."""
        self._timer.cancel()
        self.settings.unobserve_all()
        self._uninstall()
        for kind in (_RUN, _ANSWER):
            self.shell.display_formatter.ipython_display_formatter.pop(".".join(kind), None)
        for kind in ("line", "cell"):
            self.shell.magics_manager.magics[kind].pop(_NAME, None)
        self.shell.magics_manager.registry.pop(type(self.magics).__name__, None)
        ours = (self.settings, self.magics)  # IPython lists the magics itself
        self.shell.configurables[:] = [each for each in self.shell.configurables if each not in ours]
        self.magics.close()

    def _get_ready(self) -> None:
        # what is really wrong shows itself, in words, when it is used
        with suppress(Exception):
            self.magics.get_ready()

    def _standby_changed(self, change: Any) -> None:
        from nbtrain.runs import launch

        (launch.warm if change["new"] else launch.cool)()


def _draw(answer: Any) -> None:
    """An answer that stands at the end of a cell."""
    from nbtrain.notebook.answers import Shown

    Shown().whole(answer)
