"""Is that process still the one we knew? A pid is given again to another process; a pid with its start time is not."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GPUS = Path("/proc/driver/nvidia/gpus")
_BEHIND = 15  # of 19: how far a worker steps back
_SESSION = Path("/proc/self/autogroup")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def start_of(pid: int) -> str | None:
    """When the process started, as text that compares equal for one process only.

    '' where the process lives and the system does not tell; None where there is no such process, or only its zombie.
    """
    if sys.platform == "linux":
        return _start_on_linux(pid)
    if sys.platform == "darwin":
        return _start_on_macos(pid)
    if sys.platform == "win32":
        return _start_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def alive(pid: int, start: str | None = None) -> bool:
    """Whether process `pid` runs and is the one that started at `start` (any, where that is not known)."""
    now = start_of(pid)
    return now is not None and (not start or not now or now == start)


def _start_on_linux(pid: int) -> str | None:
    try:
        # the name in parentheses may hold spaces and parentheses itself: read on behind its last one
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    state, ticks = fields[0], fields[19]
    if state in "ZX":
        return None
    try:
        boot = _BOOT.read_text().strip()  # the ticks count from the start of the machine: two boots may agree in them
    except OSError:
        boot = ""
    return f"{boot}+{ticks}"


def _start_on_macos(pid: int) -> str | None:
    asked = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    state, _, start = asked.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else start.strip()


def _start_on_windows(pid: int) -> str | None:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    # os.kill(pid, 0) would end the process here
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return None
    try:
        code, times = ctypes.c_ulong(), [ctypes.c_ulonglong() for _ in range(4)]
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.GetProcessTimes(handle, *map(ctypes.byref, times))
        return str(times[0].value) if code.value == 259 else None  # STILL_ACTIVE
    finally:
        kernel.CloseHandle(handle)


def memory(pid: int | None = None) -> tuple[int, int]:
    """Bytes that a process holds now, and that it held at most; of this process by default.

    Of another process the second is known on Linux only; elsewhere it is the first.
    """
    import psutil  # type: ignore[import-untyped]

    now = int(psutil.Process(pid).memory_info().rss)
    if sys.platform == "linux":
        # not ru_maxrss: that begins with what the parent held, a notebook's kernel with all its frames
        told = Path(f"/proc/{pid or os.getpid()}/status").read_text(encoding="utf-8", errors="replace")
        return now, max(now, int(told.partition("VmHWM:")[2].split()[0]) * 1024)
    if pid is None and sys.platform == "darwin":
        import resource

        return now, max(now, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return now, now


def take_no_more(room: int | None = None) -> None:
    """Let this process ask for `room` more bytes; what is beyond is refused, and no other process is ended for it.

    By default what is free now. Linux only, and not beside an NVIDIA GPU, whose driver maps more than it ever uses.
    """
    if sys.platform != "linux" or GPUS.is_dir():
        return
    import resource

    import psutil

    told = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    held = int(told.partition("VmData:")[2].split()[0]) * 1024
    wanted = held + (psutil.virtual_memory().available if room is None else room)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def make_ready() -> None:
    """Set up this process for training on a CPU; before torch is imported, or the second half comes too late."""
    # a waiting thread spins, by default for so long that two runs on one machine take ten times as long each
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    _keep_freed_memory()


def give_way() -> None:
    """Let the notebook's own cells go first where they need the cores that a training keeps busy.

    For a process that leads a session. It takes what nobody else wants: alone it is as fast as before.
    """
    with contextlib.suppress(AttributeError, OSError):  # Windows has no such word; a container may not allow it
        os.setpriority(os.PRIO_PROCESS, 0, max(_BEHIND, os.getpriority(os.PRIO_PROCESS, 0)))
    if _SESSION.exists():  # here Linux shares the cores out by session, and only within one by the number above
        with contextlib.suppress(OSError):
            _SESSION.write_text(str(_BEHIND), encoding="ascii")


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA names them; asked without opening one."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [name.strip() for name in allowed.split(",") if name.strip()]
    return [str(place) for place in range(len(list(GPUS.iterdir())))] if GPUS.is_dir() else []


def environment() -> dict[str, str]:
    """The variables of a process that is to train: this one's, and ours."""
    ours = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "MPLBACKEND": "agg",  # a kernel's own backend draws into its cells; there are none here
    }
    # accelerate would set one thread, and half or more of a CPU would stand idle
    return {"OMP_NUM_THREADS": str(cores()), **os.environ, **ours}


def spare_bitsandbytes() -> None:
    """Keep bitsandbytes out of this process, which trains one run that does not need it.

    peft imports it wherever it is installed, and with it torch's compiler: a second, 120 MB, and a line on stderr.
    """
    sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]  # as if it were not installed


def in_few_bits(asked: Mapping[str, Any]) -> bool:
    """Whether a run with these parameters, by name, holds weights or moments in 4 or 8 bits."""
    moments = any(word in str(asked.get("optimizer")) for word in ("bit", "bnb", "paged"))
    unsloth = asked.get("backend") == "unsloth" or bool(asked.get("unsloth"))  # it holds weights so by itself
    return moments or unsloth or asked.get("quantization") in ("int4", "int8")


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed instead of giving it back: training then asks for its pages once.

    Without it each step's large arrays are mapped and cleared anew, 12 to 25 % of a small model's time.
    """
    if sys.platform != "linux":
        return
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library than glibc
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
