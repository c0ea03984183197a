"""What this machine has and what it lacks, told before anything is downloaded or trained."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nbtrain import __version__, trainers
from nbtrain.redact import NAMES, redact
from nbtrain.runs import process

State = Literal["fine", "note", "trouble"]
CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
_LITTLE_DISK, _LITTLE_MEMORY = 5, 4  # GB; a checkpoint of a 1 B-parameter model with its optimiser takes about 12
_PATIENCE = 3.0  # seconds for the driver, and for the hub
_NATIVE_BF16 = (8, 0)  # compute capability; below it (T4, P100, V100) bfloat16 is emulated, and slow


class Finding(NamedTuple):
    """One thing that was looked at. state: fine, note (worth knowing) or trouble (something will not work)."""

    subject: str
    state: State
    words: str


def report(*, deep: bool = False) -> list[Finding]:
    """Everything that is worth knowing of this machine.

    Args:
        deep: import torch to ask it for its devices, some seconds; else only when it is loaded already.
    """
    found = devices(deep=deep)
    return [
        Finding("nbtrain", "fine", __version__),
        Finding("runtime", "fine", runtime()),
        Finding("python", "fine", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *found,
        *_together(found),
        _processor(),
        _memory(),
        _disk(),
        *extras(),
        *loaded(),
        network(),
        *_hub(),
    ]


def lines(findings: list[Finding]) -> list[str]:
    """The findings for a screen; those that are not fine say so in words, not only by a mark."""
    width = max((len(each.subject) for each in findings), default=0)
    marks = {"fine": "", "note": "note: ", "trouble": "trouble: "}
    return [f"{each.subject:<{width}}  {marks[each.state]}{each.words}" for each in findings]


def runtime(environment: Mapping[str, str] = os.environ) -> str:
    """Where this runs: Colab, Kaggle, VS Code, Jupyter or a terminal."""
    if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in environment:
        return "Colab"
    if "KAGGLE_KERNEL_RUN_TYPE" in environment:
        return f"Kaggle ({environment['KAGGLE_KERNEL_RUN_TYPE'] or 'unknown kind'})"
    if "ipykernel" not in sys.modules:
        return "a terminal"
    return "VS Code" if "VSCODE_PID" in environment else "Jupyter"


def devices(*, deep: bool = False) -> list[Finding]:
    """The GPUs, and which numbers they compute in."""
    torch = importlib.import_module("torch") if deep and installed("torch") else sys.modules.get("torch")
    # to ask CUDA opens a context, some hundred MB of GPU memory that this process then keeps
    if torch is None or not (deep or torch.cuda.is_initialized() or torch.backends.mps.is_available()):
        return _told_by_driver() or [_unasked_device()]
    if torch.cuda.is_available():
        return [_cuda_device(torch, index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return [Finding("gpu", "fine", "Apple's, through Metal: float32 and float16")]
    if process.GPUS.is_dir():
        why = "it was built without CUDA, or for a newer driver"
        return [Finding("gpu", "trouble", f"there is one, but torch {torch.__version__} cannot use it: {why}")]
    return [Finding("gpu", "note", "none: training runs on the processor")]


def _together(found: list[Finding]) -> list[Finding]:
    """What several GPUs are good for."""
    count = sum(each.subject.startswith("gpu ") for each in found)
    words = f"{count}: a run trains on one of them, with --num-processes {count} on all"
    return [Finding("gpus", "fine", words)] if count > 1 else []


def _cuda_device(torch: Any, index: int) -> Finding:
    found = torch.cuda.get_device_properties(index)
    free, _ = torch.cuda.mem_get_info(index)
    return _gpu(index, found.name, found.total_memory, free, (found.major, found.minor))


def _gpu(index: int, name: str, total: float, free: float, capability: tuple[int, ...]) -> Finding:
    words = f"{name}, {total / 1e9:.0f} GB, {free / 1e9:.1f} GB of it free"
    if capability < _NATIVE_BF16:
        return Finding(f"gpu {index}", "note", f"{words}; it has no bfloat16: use --mixed-precision fp16")
    return Finding(f"gpu {index}", "fine", f"{words}; bfloat16 and float16")


def _told_by_driver() -> list[Finding]:
    """The GPUs as NVIDIA's own program tells of them, which holds no memory of theirs; none where it does not."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=name,memory.total,memory.free,compute_cap", "--format=csv,noheader,nounits"]
    found = []
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=_PATIENCE, check=True).stdout
        for index, line in enumerate(told.strip().splitlines()):
            name, total, free, capability = (part.strip() for part in line.rsplit(",", 3))
            numbers = tuple(map(int, capability.split(".")))
            found.append(_gpu(index, name, float(total) * 2**20, float(free) * 2**20, numbers))
    except (OSError, ValueError, subprocess.SubprocessError):  # an old driver knows no compute_cap
        return []
    return found


def _unasked_device() -> Finding:
    models = [_model_of(each) for each in sorted(process.GPUS.iterdir())] if process.GPUS.is_dir() else []
    if models:
        return Finding("gpu", "fine", ", ".join(models))
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Finding("gpu", "fine", "Apple's, through Metal")
    return Finding("gpu", "note", "none: training runs on the processor")


def _model_of(gpu: Path) -> str:
    try:
        found = re.search(r"^Model:\s*(.+)$", (gpu / "information").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else "an NVIDIA GPU"


def _processor() -> Finding:
    usable = process.cores()
    return Finding("processor", "fine", f"{usable} core{'s' * (usable != 1)} to use, of {os.cpu_count()}")


def memory() -> tuple[int, int]:
    """Bytes of memory that this machine, or the container it is, has and has free."""
    import psutil

    seen = psutil.virtual_memory()
    total, free = seen.total, seen.available
    try:  # a container's own limit is lower than what the machine has
        limit = int(CGROUP_MEMORY.read_text())
        total, free = min(total, limit), min(free, limit)
    except (OSError, ValueError):
        pass
    return total, free


def _memory() -> Finding:
    total, free = memory()
    words = f"{free / 1e9:.1f} GB free of {total / 1e9:.1f}"
    return Finding("memory", "note" if free < _LITTLE_MEMORY * 1e9 else "fine", words)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding("disk", "note" if free < _LITTLE_DISK else "fine", f"{free:.1f} GB free where runs are written")


def extras() -> list[Finding]:
    """Each extra: whole, or what it lacks and the line that mends it."""
    return [_extra(name) for name in extra_names() if name not in ("all", "dev")]


def _extra(name: str) -> Finding:
    faults = []
    for each in needed(name):
        version = installed(each.name)
        if version is None:
            faults.append(each.name)
        elif not each.specifier.contains(version, prereleases=True):
            faults.append(f"{each.name} {version} (needs {each.specifier})")
    if not faults:
        return Finding(f"[{name}]", "fine", ", ".join(f"{each.name} {installed(each.name)}" for each in needed(name)))
    return Finding(f"[{name}]", "note", f"lacks {', '.join(faults)}: {pip_line(name)}")


def pip_line(extra: str) -> str:
    """What installs an extra, as it is typed here."""
    return f'{"%" if "ipykernel" in sys.modules else ""}pip install "nbtrain[{extra}]"'


def loaded() -> list[Finding]:
    """The packages that are in memory in another version than on the disk, or in one too old: only a restart helps."""
    wanted = {canonicalize_name(each.name): each for extra in extra_names() if extra != "dev" for each in needed(extra)}
    found = []
    for name, requirement in wanted.items():
        module = sys.modules.get(name.replace("-", "_"))
        running, lying = getattr(module, "__version__", None), installed(name)
        if not isinstance(running, str) or running == lying:
            continue
        old = not requirement.specifier.contains(running.split("+")[0], prereleases=True)
        words = f"{running} is loaded, {lying or 'none'} is installed: restart the kernel"
        found.append(Finding(name, "trouble" if old else "note", words))
    return found


def network(environment: Mapping[str, str] = os.environ) -> Finding:
    """Whether the hub answers; it is asked for nothing."""
    import time
    import urllib.error
    import urllib.request

    if _offline(environment):
        return Finding("network", "note", "not asked: HF_HUB_OFFLINE is set, and only what is cached is used")
    place, begin = environment.get("HF_ENDPOINT") or "https://huggingface.co", time.monotonic()
    try:
        with urllib.request.urlopen(urllib.request.Request(place, method="HEAD"), timeout=_PATIENCE):
            pass
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError) as error:
        why = redact(str(getattr(error, "reason", error)))
        return Finding("network", "note", f"{redact(place)} does not answer ({why}): only what is cached can be used")
    return Finding("network", "fine", f"{redact(place)} answers, in {time.monotonic() - begin:.1f} s")


def _offline(environment: Mapping[str, str]) -> bool:
    return environment.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def _hub() -> list[Finding]:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    file = Path(os.environ.get("HF_TOKEN_PATH", home / "token")).expanduser()
    named = [name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)]
    logged_in = f"${named[0]}" if named else "a stored login" if file.is_file() else ""
    offline = _offline(os.environ)
    words = f"logged in through {logged_in}" if logged_in else "not logged in: gated models and pushing need HF_TOKEN"
    hub = Finding("hub", "fine" if logged_in else "note", words + ("; offline (HF_HUB_OFFLINE)" if offline else ""))
    others = sorted(name for name, value in os.environ.items() if value and NAMES.search(name) and name not in named)
    return [hub, Finding("secrets", "fine", f"{', '.join(others)} (values are never shown)")] if others else [hub]


def installed(package: str) -> str | None:
    """The version on the disk, None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def extra_names() -> tuple[str, ...]:
    """The extras that nbtrain declares."""
    try:
        return tuple(importlib.metadata.metadata("nbtrain").get_all("Provides-Extra") or ())
    except importlib.metadata.PackageNotFoundError:  # a checkout on the path, never installed
        return ()


@cache
def needed(extra: str) -> tuple[Requirement, ...]:
    """The packages of an extra; one that it takes from another extra is spelled out."""
    if extra not in extra_names():
        return ()
    found = []
    for each in map(Requirement, importlib.metadata.requires("nbtrain") or ()):
        if each.marker is None or not each.marker.evaluate({"extra": extra}):
            continue
        if canonicalize_name(each.name) == "nbtrain":
            found += [inner for other in sorted(each.extras) for inner in needed(other)]
        else:
            found.append(each)
    return tuple(found)


def extra_of(room: str) -> str:
    """The extra that a room's docstring names under `Extra:`, '' where it needs none."""
    found = re.search(r"Extra:\s*nbtrain\[([\w-]+)\]", trainers.load(room).__doc__ or "")
    return found[1] if found else ""
