"""A hub of one's own, and nbtrain beside it in a process that knows no other."""

from __future__ import annotations

import hashlib
import os
import re
import runpy
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

HANDLER = runpy.run_path(str(Path(__file__).with_name("protocol.py")))["Handler"]
TOKEN = "hf_" + "Canary7Q" * 4


@dataclass
class Fault:
    """A request that is answered badly.

    method, path: of the request; path is a regular expression. times: how often. status: the answer; 0: the connection
    is cut after `after` bytes of the body. message: what the hub says. headers: of the answer.
    """

    method: str
    path: str
    status: int = 0
    times: int = 1
    after: int = 1000
    message: str = "broken"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Repository:
    """files: place to content. private: whether only its owner sees it. commits: their messages."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr((self.commits, sorted(self.files))).encode()).hexdigest()


class Hub:
    """The server and what it knows.

    tokens: token to what whoami says of it. repositories: by owner/name. stored: sha256 to content of large files.
    seen: (method, path, body) of every request. faults: taken in turn. part: bytes; larger files come in parts.
    """

    def __init__(self, part: int = 200_000) -> None:
        self.tokens: dict[str, dict[str, Any]] = {}
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.parts: dict[str, bytes] = {}
        self.seen: list[tuple[str, str, bytes]] = []
        self.faults: list[Fault] = []
        self.part = part
        self.lock = threading.RLock()
        hub = self

        class Handler(HANDLER):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def user(self, token: str, name: str, *, role: str = "write", **more: Any) -> None:
        """Let `token` be one of `name`'s. more: orgs, fineGrained, as whoami gives them."""
        access = {"displayName": "test", "role": role, "fineGrained": more.pop("fineGrained", None)}
        auth = {"type": "access_token", "accessToken": {k: v for k, v in access.items() if v is not None}}
        self.tokens[token] = {"type": "user", "name": name, "orgs": [], "auth": auth, **more}

    def make(self, name: str, *, private: bool = True) -> Repository:
        self.repositories[name] = Repository(private)
        return self.repositories[name]

    def requests(self, method: str, path: str = "") -> list[str]:
        """The paths of the requests that were made."""
        return [each for verb, each, _ in self.seen if verb == method and re.search(path, each)]


@pytest.fixture
def hub():
    made = Hub()
    made.user(TOKEN, "somebody")
    yield made
    made.close()


@pytest.fixture
def fault(hub):
    """Let the hub answer a request badly; see `Fault`."""
    return lambda *what, **how: hub.faults.append(Fault(*what, **how))


@pytest.fixture
def near(hub, monkeypatch, tmp_path):
    """The client of this process speaks to our hub."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    for name, value in {"ENDPOINT": hub.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    close_session()  # the one that there is may know that it is offline
    yield hub
    close_session()


@pytest.fixture
def nbtrain(hub, tmp_path):
    """Run Python, or nbtrain's command, in a process whose hub is ours; what it said, and its exit code."""

    def run(*arguments: str, python: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        settings = {
            "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HOME": str(tmp_path / "hub-home"), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = ["-c", python] if python else ["-m", "nbtrain"]
        return subprocess.run(
            [sys.executable, *command, *arguments],
            env=kept | settings | environment, cwd=tmp_path, capture_output=True, text=True, timeout=240,
        )  # fmt: skip

    return run
