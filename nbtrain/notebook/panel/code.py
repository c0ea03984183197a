"""The same run as a line, a cell and a script, each with a button that copies it."""

from __future__ import annotations

from typing import Any

import ipywidgets

from nbtrain.notebook import html
from nbtrain.notebook.html import Markup, fill

_TITLES = {"line": "As a line", "cell": "As a cell", "script": "As a script"}
# the clipboard is closed to pages that came over plain HTTP: there the selection is copied
_COPY = (
    "const c=this.parentElement.parentElement.querySelector('pre'),s=getSelection(),r=document.createRange();"
    "r.selectNodeContents(c);s.removeAllRanges();s.addRange(r);"
    "const told=ok=>{this.nextElementSibling.textContent=ok?'copied':'select the text and copy it'};"
    "if(navigator.clipboard)navigator.clipboard.writeText(c.textContent).then(()=>told(1),"
    "()=>told(document.execCommand('copy')));else told(document.execCommand('copy'))"
)


class Code:
    """Three texts beside the form."""

    def __init__(self) -> None:
        self._boxes = {name: html.widget(Markup()) for name in _TITLES}
        self._texts: dict[str, str] = {}
        self.widget = ipywidgets.VBox(list(self._boxes.values()), layout=ipywidgets.Layout(flex="1 1 340px"))

    def show(self, **texts: str) -> None:
        """Show these texts, by name: line, cell, script."""
        for name, text in texts.items():
            if self._texts.get(name) != text:
                self._texts[name] = text
                self._boxes[name].value = _box(_TITLES[name], text)

    def __getitem__(self, name: str) -> str:
        return self._texts.get(name, "")

    @property
    def boxes(self) -> Any:
        """By name, the widget that shows it."""
        return self._boxes


def _box(title: str, text: str) -> Markup:
    return fill(
        '<div class="code mathjax_ignore tex2jax_ignore"><div><b>$title</b> '
        '<button type="button" aria-label="Copy: $title" onclick="$copy">Copy</button> '
        '<span class="muted" role="status"></span></div>'
        '<pre tabindex="0" aria-label="$title">$text</pre></div>',
        title=title,
        copy=_COPY,
        text=text,
    )
