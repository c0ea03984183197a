"""The classic notebook, whose widgets are those of ipywidgets 7.7.1, as Colab ships it."""

import json
import sys

import pytest

from tests.browser.pages import Lab, serving


class Classic(Lab):
    """A page of the classic notebook, driven as one of JupyterLab is."""

    def show(self):
        self.page.goto(f"{self.address}/notebooks/{self.folder.name}/page.ipynb?token=t")
        self.until(lambda: self.evaluate("return Boolean(window.Jupyter?.notebook?.kernel?.is_connected?.());"), 60)
        self.wait_idle(60)

    def kernel_status(self):
        return self.evaluate(
            """const icon = document.querySelector('#kernel_indicator_icon');
            return icon.classList.contains('kernel_idle_icon') ? 'idle' : 'busy';"""
        )

    def restart(self):
        self.evaluate("Jupyter.notebook.kernel.restart();")
        self.page.wait_for_timeout(2000)
        self.wait_idle(60)

    def select(self, index):
        self.evaluate(f"Jupyter.notebook.select({index});")

    def start(self, index):
        self.evaluate(f"Jupyter.notebook.execute_cells([{index}]);")

    def prompt(self, index):
        number = self.evaluate(f"return Jupyter.notebook.get_cell({index}).input_prompt_number ?? null;")
        return number if isinstance(number, int) else None

    def outputs(self, index):
        return self.evaluate(f"return Jupyter.notebook.get_cell({index}).output_area.toJSON();")

    def source(self, index):
        return self.evaluate(f"return Jupyter.notebook.get_cell({index}).get_text();")

    def cell(self, index):
        return self.page.locator(".cell").nth(index)

    def text(self, index):
        return "\n".join(self.cell(index).locator(".output_wrapper, .widget-area").all_inner_texts())

    def picture(self, name):
        super().picture(f"classic-{name}")

    def save(self):
        self.evaluate("return Jupyter.notebook.save_notebook().then(() => true);")
        return json.loads((self.folder / "page.ipynb").read_text())["cells"]


@pytest.fixture
def kind():
    return Classic


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    folder, home = tmp_path_factory.mktemp("classic"), tmp_path_factory.mktemp("home")
    settings = ["--NotebookApp.token=t", f"--NotebookApp.notebook_dir={folder}", "--ip=127.0.0.1"]
    with serving([sys.executable, "-m", "notebook", *settings], folder, home) as address:
        yield address, folder
