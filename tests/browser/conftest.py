"""A real JupyterLab in a real Chromium. Skipped only where there is no browser, never in CI."""

import json
import os
import shutil
import sys
import urllib.request

import pytest

from nbtrain.runs import launch
from nbtrain.runs.folder import all_runs
from tests.browser.pages import PICTURES, Lab, serving

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def chromium():
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have a browser: install chromium")
        pytest.skip("no browser is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    home = tmp_path_factory.mktemp("home")
    (home / "labconfig").mkdir()
    disabled = {"@jupyterlab/apputils-extension:announcements": True}  # its question would lie over what is looked at
    (home / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": disabled}))
    command = [sys.executable, "-m", "jupyterlab", "--expose-app-in-browser", "--LabApp.news_url="]
    with serving([*command, "--IdentityProvider.token=t", f"--ServerApp.root_dir={folder}"], folder, home) as address:
        yield address, folder


@pytest.fixture
def kind():
    """How pages of the server are driven."""
    return Lab


@pytest.fixture
def lab(chromium, server, kind, request):
    """A page of the shared server, with a folder and a kernel of its own; no run outlives the test."""
    address, root = server
    folder = root / request.node.name
    folder.mkdir()
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    yield kind(page, address, folder)
    context.close()
    for session in _ask(f"{address}/api/sessions"):
        _ask(f"{address}/api/sessions/{session['id']}", "DELETE")
    for run in all_runs(folder):
        worker = launch.attach(run)
        if worker is not None:
            worker.kill()


@pytest.fixture
def pictures():
    """The folder of the pictures."""
    PICTURES.mkdir(exist_ok=True)
    return PICTURES


@pytest.fixture
def audit():
    """What axe-core finds against WCAG 2.2 A and AA in a part of a page: a line a fault."""
    from axe_playwright_python.sync_playwright import Axe

    def go(page, within):
        rules = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
        options = {"runOnly": rules, "resultTypes": ["violations"]}
        found = Axe().run(page, {"include": [[within]]}, options).response["violations"]
        return [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"]]

    return go


def _ask(address, method="GET"):
    request = urllib.request.Request(address, method=method, headers={"Authorization": "token t"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")
