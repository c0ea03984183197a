"""A server of notebooks, and one of them in a page of JupyterLab, driven as a user would."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from nbtrain.runs.folder import all_runs

PICTURES = Path(__file__).parent / "screenshots"


def notebook(*sources):
    """The text of a notebook with one code cell a source."""
    cells = [
        {"cell_type": "code", "id": f"c{i}", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
        for i, source in enumerate(sources)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


class Lab:
    """One running server, its folder, and the page that shows a notebook of it."""

    def __init__(self, page, address, folder):
        self.page, self.address, self.folder = page, address, folder
        self.dialogs = []
        page.on("dialog", self._dismiss)

    def open(self, *sources):
        """Open a notebook with these cells, after one that loads the extension, and wait until that is done."""
        (self.folder / "page.ipynb").write_text(notebook("%load_ext nbtrain", *sources))
        self.show()
        self.run(0)

    def show(self):
        """Load the page, or load it again."""
        self.page.goto(f"{self.address}/lab/tree/{self.folder.name}/page.ipynb?token=t&reset")
        self.wait_idle(90)

    def _dismiss(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def evaluate(self, body):
        """The value of a JavaScript function's body."""
        return self.page.evaluate("() => {" + body + "}")

    def command(self, name, arguments="{}"):
        """Start one of JupyterLab's commands; what it returns is not waited for."""
        self.evaluate(f"jupyterapp.commands.execute('{name}', {arguments});")

    def kernel_status(self):
        return self.evaluate(
            "return window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status ?? 'none';"
        )

    def wait_idle(self, seconds=60):
        self.until(lambda: self.kernel_status() == "idle", seconds)

    def restart(self):
        """Restart the kernel, and wait until it can be used."""
        self.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart();")
        self.page.wait_for_timeout(1000)
        self.wait_idle(60)

    def until(self, holds, seconds=30):
        """Wait until `holds()` is true and return its value; fails with a picture of the page."""
        end = time.time() + seconds
        while time.time() < end:
            value = holds()
            if value:
                return value
            self.page.wait_for_timeout(100)
        self.picture("timeout")
        pytest.fail(f"not within {seconds} s; the page reads:\n{self.page.inner_text('body')[-3000:]}")

    def select(self, index):
        self.evaluate(f"jupyterapp.shell.currentWidget.content.activeCellIndex = {index};")

    def start(self, index):
        """Run one cell and come back at once."""
        self.select(index)
        self.command("notebook:run-cell")

    def run(self, index, seconds=60):
        """Run one cell and wait until the kernel is idle again."""
        before = self.prompt(index)
        self.start(index)
        self.until(lambda: self.prompt(index) not in (before, None), seconds)
        self.wait_idle(seconds)

    def prompt(self, index):
        """The number of the cell's last finished execution."""
        return self.evaluate(
            f"return jupyterapp.shell.currentWidget.content.widgets[{index}].model.sharedModel.execution_count;"
        )

    def outputs(self, index):
        """The cell's outputs as they would be saved."""
        return self.evaluate(f"return jupyterapp.shell.currentWidget.content.widgets[{index}].model.outputs.toJSON();")

    def source(self, index):
        """The cell's text, as it stands in the editor."""
        return self.evaluate(
            f"return jupyterapp.shell.currentWidget.content.widgets[{index}].model.sharedModel.getSource();"
        )

    def complete(self, index):
        """Press Tab at the end of a cell's text; what is offered, or the text where there was one way to go on."""
        self.select(index)
        self.command("notebook:enter-edit-mode")
        self.page.wait_for_timeout(200)
        self.page.keyboard.press("Control+End")
        before, offers = self.source(index), self.page.locator(".jp-Completer:visible .jp-Completer-match")
        for turn in range(150):
            if turn % 15 == 0:  # JupyterLab drops an answer that took longer than a second
                self.page.keyboard.press("Tab")
            self.page.wait_for_timeout(100)
            if offers.count() or self.source(index) != before:
                break
        self.picture(f"completion-{index}")
        found = offers.all_inner_texts() or [self.source(index)]
        self.page.keyboard.press("Escape")
        self.until(lambda: not offers.count())
        return found

    def cell(self, index):
        """The cell's element on the page."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def text(self, index):
        """What the cell's output area reads."""
        area = self.cell(index).locator(".jp-OutputArea")
        return "\n".join(area.all_inner_texts())

    def weakest_contrast(self, index, within=".nbtrain"):
        """The lowest contrast of any text in a cell's output with what is behind it, and that text."""
        return self.evaluate(
            f"""const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[{index}];
            const numbers = color => {{
                const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
                return [r, g, b, a];
            }};
            const light = rgb => {{
                const [r, g, b] = rgb.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                return .2126 * r + .7152 * g + .0722 * b;
            }};
            const over = (top, share, below) => below.map((v, i) => share * top[i] + (1 - share) * v);
            let weakest = [99, ''];
            const texts = document.createTreeWalker(cell.querySelector('{within}'), NodeFilter.SHOW_TEXT);
            while (texts.nextNode()) {{
                const text = texts.currentNode.data.trim(), own = texts.currentNode.parentElement;
                if (!text || own.closest('style, title, desc, [disabled]') || !own.getClientRects().length) continue;
                const chain = [];
                for (let each = own; each; each = each.parentElement) chain.push(getComputedStyle(each));
                let behind = [255, 255, 255], strength = 1;
                for (const style of [...chain].reverse()) {{
                    const [r, g, b, a] = numbers(style.backgroundColor);
                    behind = over([r, g, b], a, behind);
                }}
                for (const style of chain) strength *= Number(style.opacity);
                const [r, g, b, a] = numbers(own instanceof SVGElement ? chain[0].fill : chain[0].color);
                const levels = [light(over([r, g, b], a * strength, behind)), light(behind)].sort((x, y) => y - x);
                const ratio = (levels[0] + .05) / (levels[1] + .05);
                if (ratio < weakest[0]) weakest = [ratio, text];
            }}
            return weakest;"""
        )

    def runs(self):
        """The run folders below the notebook's own."""
        return all_runs(self.folder)

    def save(self):
        """Save the notebook and return the cells of the file."""
        self.evaluate("return jupyterapp.commands.execute('docmanager:save').then(() => true);")
        return json.loads((self.folder / "page.ipynb").read_text())["cells"]

    def pictures(self):
        """The folder of the pictures."""
        PICTURES.mkdir(exist_ok=True)
        return PICTURES

    def picture(self, name):
        PICTURES.mkdir(exist_ok=True)
        self.page.screenshot(path=str(PICTURES / f"{name}.png"))


@contextlib.contextmanager
def serving(command, folder, home):
    """The address of a server of notebooks, as long as it runs; its settings are those of `home`."""
    port = _free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home),
        "IPYTHONDIR": str(home / "ipython"),
    }
    environment.pop("CI", None)
    with (folder.parent / f"server-{port}.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--no-browser", "--allow-root", f"--port={port}"],
            cwd=folder, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/api?token=t", timeout=1).read()
            break
        except OSError:
            assert process.poll() is None, "the server ended while starting"
            time.sleep(0.2)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
