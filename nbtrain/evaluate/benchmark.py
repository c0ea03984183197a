"""--eval-benchmark: tasks of EleutherAI's lm-evaluation-harness, for whoever has installed it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from nbtrain.errors import MissingExtra, ParamError, nearest

_ASIDE = re.compile("stderr|sample_len")  # numbers beside the values


def check(asked: str, room: str) -> None:
    """Refuse what cannot be measured.

    Raises:
        ParamError: the room's models do not go on writing, or there is no such task or folder.
        MissingExtra: the harness is not installed.
    """
    if room != "llm":
        raise ParamError(f"--eval-benchmark measures language models; a model of {room} is none", fix="leave it out")
    if importlib.util.find_spec("lm_eval") is None:
        what = "--eval-benchmark needs the lm-evaluation-harness, which is not installed"
        raise MissingExtra(what, fix='pip install "nbtrain[benchmarks]"')
    _manager(asked)


def measured(asked: str, model: Path, *, batch_size: int, device: str) -> dict[str, float]:
    """The values of the tasks, each as task_metric.

    Args:
        asked: names of tasks with commas, behind FOLDER: where they are the user's own.
        model: the folder of a saved model.
    """
    import lm_eval

    manager, tasks = _manager(asked)
    found: Any = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model)},
        tasks=tasks,
        task_manager=manager,
        batch_size=batch_size,
        device=device,
    )
    return {
        f"{task}_{name.partition(',')[0]}": float(value)
        for task, values in found["results"].items()
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not _ASIDE.search(name)
    }


def _manager(asked: str) -> tuple[Any, list[str]]:
    """What finds tasks, and the names of those that are asked for."""
    from lm_eval.tasks import TaskManager

    folder, colon, names = asked.rpartition(":")
    if colon and not Path(folder).expanduser().is_dir():
        raise ParamError(f"--eval-benchmark: there is no folder {folder}", fix="write FOLDER:task, or the task alone")
    manager = TaskManager(include_path=str(Path(folder).expanduser()) if colon else None)
    tasks = [name.strip() for name in names.split(",") if name.strip()]
    for name in tasks:
        if name not in manager.all_tasks:
            raise ParamError(f"--eval-benchmark: there is no task {name!r}.{nearest(name, manager.all_tasks)}")
    return manager, tasks
