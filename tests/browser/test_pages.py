"""A notebook that was run without a front end, as others show it: exported, on GitHub, in VS Code and in Colab."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import nbformat
import pytest

pytestmark = pytest.mark.browser

ROWS = "rows = [{'text': f'Sentence {n} says the same as sentence {n % 5}.'} for n in range(40)]"
TRAIN = "run = %autotrain llm --df rows --max-steps $steps --max-seq-length 64 --sample-max-new-tokens 8"
LOOK = ["%autotrain check llm --df rows", "%autotrain runs", "%autotrain compare pages-1 pages-2", "run"]
# how each marks its dark pages, and its colours
KINDS = {
    "vscode-light": ('<body data-vscode-theme-kind="vscode-light" style="%s">', "background:#fff;color:#333"),
    "vscode-dark": ('<body data-vscode-theme-kind="vscode-dark" style="%s">', "background:#1e1e1e;color:#ccc"),
    "colab-dark": ('<html theme="dark"><body style="%s">', "background:#383838;color:#e3e3e3"),
}
SETTLED = "() => document.readyState === 'complete'"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook that papermill ran, with a parameter of its own."""
    folder = tmp_path_factory.mktemp("pages")
    sources = ["%load_ext nbtrain", ROWS, *([f"{TRAIN} --project-name pages-{n}" for n in (1, 2)]), *LOOK]
    cells = [nbformat.v4.new_code_cell("steps = 900", metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "page.ipynb")
    words = ["-m", "papermill", "page.ipynb", "done.ipynb", "-p", "steps", "6", "--no-progress-bar"]
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "done.ipynb"


@pytest.fixture
def page(chromium):
    """An empty page."""
    context = chromium.new_context(viewport={"width": 1100, "height": 900})
    yield context.new_page()
    context.close()


def views(notebook):
    """The HTML of every output of a notebook that has one."""
    outputs = [each for cell in nbformat.read(notebook, 4).cells for each in cell.get("outputs", [])]
    return [each["data"]["text/html"] for each in outputs if "text/html" in each.get("data", {})]


def test_papermill_sets_the_parameter_and_a_run_is_one_output(executed):
    cells = [cell for cell in nbformat.read(executed, 4).cells if cell.cell_type == "code"]
    for cell in (each for each in cells if each.source.startswith("run = ")):
        (output,) = cell.outputs
        assert set(output.data) == {"text/html", "text/plain", "image/png"}
        assert "6 of 6" in output.data["text/html"] and len(json.dumps(output)) < 60_000


def test_papermill_fails_where_a_run_fails(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in ("%load_ext nbtrain", "%autotrain llm --df missing")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "page.ipynb")
    words = ["-m", "papermill", "page.ipynb", "done.ipynb", "--kernel", "python3", "--no-progress-bar"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    said = [output.get("evalue", "") for output in nbformat.read(tmp_path / "done.ipynb", 4).cells[-1].outputs]
    assert any("missing" in each for each in said)


class Kept(HTMLParser):
    """What GitHub leaves of a page: no drawing, style, script or fold; text, tables and pictures."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.text, self._out = [], 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self._out += tag in ("svg", "style", "script")

    def handle_endtag(self, tag):
        self._out -= tag in ("svg", "style", "script")

    def handle_data(self, data):
        if not self._out and data.strip():
            self.text.append(data.strip())


def test_the_numbers_stand_without_drawing_and_style(executed):
    shown = views(executed)
    assert len(shown) == 2 + len(LOOK)
    run = Kept(shown[0]).text
    assert "6 of 6" in run and "finished" in run
    assert any(re.fullmatch(r"\d\.\d+", each) for each in run), "the loss is a number in a table"
    for view in shown:
        assert len(" ".join(Kept(view).text)) > 40, "something is said without the drawing"


def test_an_exported_page_shows_the_view_and_is_accessible(executed, page, audit, pictures):
    words = ["-m", "nbconvert", "--to", "html", executed.name]
    subprocess.run([sys.executable, *words], cwd=executed.parent, capture_output=True, check=True, timeout=120)
    page.goto(executed.with_suffix(".html").as_uri())
    page.wait_for_function(SETTLED)
    assert page.locator(".nbtrain svg path").count() > 4
    page.screenshot(path=pictures / "exported.png", full_page=True)
    assert audit(page, ".nbtrain") == []


@pytest.mark.parametrize("kind", KINDS)
def test_other_front_ends_draw_it_in_their_own_colours(executed, page, audit, pictures, kind):
    body, colours = KINDS[kind]
    page.set_content(body % colours + "".join(f"<main>{view}</main>" for view in views(executed)))
    colours = page.evaluate(
        "() => ['--train', '--bad'].map(name => "
        "getComputedStyle(document.querySelector('.nbtrain')).getPropertyValue(name).trim())"
    )
    assert colours == (["#1a66b0", "#b3261e"] if kind.endswith("light") else ["#6cb2f5", "#ff8a80"])
    page.screenshot(path=pictures / f"{kind}.png", full_page=True)
    assert audit(page, ".nbtrain") == []
