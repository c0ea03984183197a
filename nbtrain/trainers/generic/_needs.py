"""What a script of the user needs around it: an environment without our secrets, its data, its packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbtrain.errors import DataError, ParamError, TrainingError
from nbtrain.redact import remember
from nbtrain.runs.active import ActiveRun

KEPT = (
    "PATH", "HOME", "USER", "LANG", "TMPDIR", "TEMP", "SYSTEMROOT", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_OFFLINE", "SSL_CERT_FILE", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "http_proxy",
    "https_proxy", "no_proxy",
)  # fmt: skip
"""What a script sees of the environment besides what --env gives it: no token, no key."""
_HEAD = re.compile(r"(?m)^# /// script\s*$\n(?P<body>(?:^#(?: .*)?$\n)+?)^# ///\s*$")


def environment(params: Any, run: ActiveRun) -> dict[str, str]:
    """What the script sees: little of ours, and what it is told.

    Raises:
        ParamError: --env names a variable that is not set here.
    """
    found = {name: os.environ[name] for name in KEPT if name in os.environ}
    found |= {name: value for name, value in os.environ.items() if name.startswith("LC_")}
    for name, value in (params.env or {}).items():
        if value.startswith("$"):
            if value[1:] not in os.environ:
                raise ParamError(f"--env {name}: the variable {value[1:]} is not set", fix=f"export {value[1:]}=...")
            value = os.environ[value[1:]]
            remember(value)
        found[name] = value
    told = {"SEED": params.seed, "MAX_STEPS": params.max_steps if params.max_steps > 0 else None}
    told |= {"MAX_SAMPLES": params.max_samples, "MODEL": run.folder.model.resolve()}
    found |= {f"NBTRAIN_{name}": str(value) for name, value in told.items() if value is not None}
    return found | ({"HF_TOKEN": params.token} if params.token else {})


def data(params: Any, folder: Path) -> str:
    """Where the data is: a path as it stands; a data set of the hub, fetched into the run folder."""
    path = Path(params.data_path).expanduser()
    if path.exists():
        return str(path.resolve())
    if path.is_absolute() or params.data_path.count("/") > 1 or params.data_path.startswith((".", "~")):
        raise DataError(f"there is no file or folder {params.data_path}", fix="name one, or a data set of the hub")
    try:
        from huggingface_hub import snapshot_download

        return snapshot_download(params.data_path, repo_type="dataset", token=params.token, local_dir=folder)
    except (ImportError, OSError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise DataError(f"the data set {params.data_path} cannot be fetched", why=first) from None


def dependencies(script: Path) -> list[str]:
    """What the script declares: in its head, as PEP 723 has it, or in a requirements.txt beside it."""
    head = _HEAD.search(script.read_text(encoding="utf-8"))
    if head:
        body = "\n".join(line[2:] if line.startswith("# ") else line[1:] for line in head["body"].splitlines())
        try:
            return [str(each) for each in tomllib.loads(body).get("dependencies", [])]
        except tomllib.TOMLDecodeError as error:
            raise ParamError(f"the head of {script.name} is no TOML", why=str(error)) from None
    beside = script.parent / "requirements.txt"
    lines = beside.read_text(encoding="utf-8").splitlines() if beside.is_file() else []
    return [line.split(" #")[0].strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def interpreter(params: Any, script: Path, run: ActiveRun, seen: Mapping[str, str]) -> str:
    """The Python that runs the script: this one, or that of an environment with what it declares.

    Args:
        seen: the environment of the script.

    Raises:
        TrainingError: what it declares cannot be installed.
    """
    wanted = dependencies(script)
    if not wanted and not params.isolated:
        return sys.executable
    run.stage("making the script's environment")
    home = run.folder.path / "environment"
    python = str(home / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    shared = [] if params.isolated else ["--system-site-packages"]
    commands = [[sys.executable, "-m", "venv", *shared, str(home)]]
    if wanted:
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        commands.append([*pip, *wanted])
    for command in commands:
        done = subprocess.run(command, env=dict(seen), capture_output=True, text=True, errors="replace")
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise TrainingError(
                f"what {script.name} declares cannot be installed: {', '.join(wanted)}",
                why=next((line for line in lines if "ERROR" in line), lines[-1] if lines else ""),
                fix="see that the names are right and the network can be reached",
            )
    return python
