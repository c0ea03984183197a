"""A chat in a cell: one field for questions; below it each question with what the run's model and its base answer.

The field is a widget, the answers are not: they stand in the saved notebook, where a widget would be gone.
"""

from __future__ import annotations

import uuid
from typing import Any

from nbtrain.answers.chat import Pair, Said
from nbtrain.errors import NbtrainError
from nbtrain.notebook.html import Markup, clip, fill, join
from nbtrain.notebook.pieces import header, page, table
from nbtrain.plain import visible

_ANSWER = 1200  # bytes of HTML
_SHOWN = 8  # questions; with them the page stays under 30 kB


def said(found: Said) -> Markup:
    """A question and both answers."""
    rows = [(found.base, clip(found.before, _ANSWER)), (found.run, clip(found.answer, _ANSWER))]
    return join([fill("<h4>$question</h4>", question=clip(found.question, _ANSWER)), table((), rows, kind="said")])


class Talk:
    """The field and the answers in the cell that runs now."""

    def __init__(self, pair: Pair) -> None:
        import ipywidgets
        from IPython.display import display

        self.pair = pair
        self.told: list[Said] = []
        self.name = f"nbtrain-{uuid.uuid4().hex}"
        wide = ipywidgets.Layout(width="520px")
        self.field = ipywidgets.Text(description="Question", placeholder="then Enter", layout=wide)
        self.field.continuous_update = False
        self.button = ipywidgets.Button(description="Ask", tooltip="ask both models")
        self.free = ipywidgets.Button(description="Free memory", tooltip="let go of both models")
        self.field.observe(lambda change: self.ask(change["new"]), "value")
        self.button.on_click(lambda _: self.ask(self.field.value))
        self.free.on_click(lambda _: self.pair.free())
        display(ipywidgets.HBox([self.field, self.button, self.free]))
        display(self.bundle(), raw=True, display_id=self.name)

    def ask(self, question: str) -> None:
        """Ask both models and show what they say; an empty question is none."""
        if not question.strip() or self.button.disabled:
            return
        self.button.disabled, fault = True, ""
        self._show(f"asking {self.pair.base} and {self.pair.run.name} ...")
        try:
            self.told.append(self.pair.ask(question))
        except NbtrainError as error:  # in a callback nobody would see it
            fault = " ".join(error.lines())
        finally:
            self.button.disabled = False
        self.field.value = ""
        self._show(fault)

    def bundle(self, note: str = "") -> dict[str, Any]:
        """What stands below the field."""
        kind = f"beside {self.pair.base}"
        newest = reversed(self.told[-_SHOWN:])
        shown = page(header(self.pair.run.name, kind), fill("<div>$note</div>", note=note), *map(said, newest))
        lines = [note, *(str(each) for each in self.told)] or [f"{self.pair.run.name} {kind}"]
        return {"text/html": str(shown), "text/plain": visible("\n".join(lines))}

    def _show(self, note: str) -> None:
        from IPython.display import display

        display(self.bundle(note), raw=True, display_id=self.name, update=True)
