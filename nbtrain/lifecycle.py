"""The lifecycle that users of Oumi and AlignTune know: create, train, evaluate, predict, save, push.

    trainer = nbtrain.create_sft_trainer(model_name="tiny", dataset_name="rows.jsonl", backend="auto", num_epochs=1)
    results = trainer.train()

It is thin: parameters are those of the rooms, and `train` is nbtrain's own, with its live view in a notebook.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nbtrain import hub, peers, trainers
from nbtrain import run as runs
from nbtrain.errors import ParamError, RunError, nearest
from nbtrain.params import Params
from nbtrain.runs import checkpoints
from nbtrain.runs.record import lower_is_better

TASKS = {
    "supervised_fine_tuning": "llm",
    "instruction_following": "llm",
    "chat_completion": "llm",
    "text_generation": "llm",
    "sft": "llm",
}
"""task_type to room; the name of a room is one, too."""


@dataclass(frozen=True)
class TrainingState:
    """How far a training is, read from its run.

    epoch: None until it is known. best_metric: of the best evaluation, None before the first; direction: which values
    of it are better. checkpoint_path: the newest that is whole. elapsed: seconds since the first event.
    """

    step: int = 0
    epoch: float | None = None
    metric: str = "loss"
    best_metric: float | None = None
    best_step: int | None = None
    direction: Literal["minimize", "maximize"] = "minimize"
    checkpoint_path: Path | None = None
    elapsed: float = 0.0


class TrainerBase:
    """One training, from its parameters to its model on the hub.

    Attributes:
        params: what is asked. run: the Run, None before `train`.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        self.run: runs.Run | None = None

    def train(self) -> dict[str, float]:
        """Train to the end; the last evaluation's values and the totals.

        Raises:
            NbtrainError: the run failed; it is the run's own error.
        """
        self.run = runs.train(self.params)
        return dict(getattr(self.run.record.end, "values", None) or self.run.metrics)

    def evaluate(self, data: Any = None) -> dict[str, float]:
        """The saved model, measured on its held-out rows, or on `data`: whatever `data_path` takes."""
        return self._trained.evaluate(data)

    def predict(self, rows: Any, **settings: Any) -> Any:
        """What the model says to one row, or to each of a list; see `Run.predict`."""
        return self._trained.predict(rows, **settings)

    def save_model(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Where the model is; with `path` a copy of it there.

        Raises:
            RunError: there is no model, or something is at `path` already.
        """
        own = Path(os.fspath(self._trained))
        if path is None:
            return own
        target = Path(path).expanduser()
        try:
            shutil.copytree(own, target)
        except FileExistsError:
            raise RunError(f"{target} is there already", fix="give another place, or remove it first") from None
        return target

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload the model with its card; the address. See `hub.push`."""
        return hub.push(self._trained.folder, repo_id, private=private, token=token or self._token)

    @property
    def state(self) -> TrainingState:
        """How far it is."""
        if self.run is None:
            return TrainingState()
        record = self.run.record
        step, best = record.best() or (None, None)
        return TrainingState(
            step=record.step,
            epoch=record.epoch,
            metric=record.metric,
            best_metric=best,
            best_step=step,
            direction="minimize" if lower_is_better(record.metric) else "maximize",
            checkpoint_path=checkpoints.newest(self.run.folder),
            elapsed=(record.last_time or 0.0) - (record.first_time or 0.0),
        )

    @property
    def _token(self) -> str | None:
        return self.params.secrets().get("token")

    @property
    def _trained(self) -> runs.Run:
        if self.run is None:
            raise RunError("nothing has been trained yet", fix="call train() first")
        return self.run


def create_sft_trainer(
    model_name: Any = "tiny",
    dataset_name: Any = "demo",
    *,
    backend: str = "auto",
    task_type: str = "supervised_fine_tuning",
    **parameters: Any,
) -> TrainerBase:
    """A trainer on answers to prompts, or with `task_type` one for the classes or the tokens of a text.

    Args:
        model_name: hub id, folder, Run, or "tiny".
        dataset_name: file, folder, hub id, rows of the notebook, or "demo".
        backend: auto, trl, hf, native or unsloth; for a language model.
        task_type: supervised_fine_tuning, or the name of a room: text_classification, token_classification ...
        parameters: the room's, by our names or by theirs (num_epochs, learning_rate, per_device_batch_size ...).

    Raises:
        ParamError: there is no such task or parameter, or a value is out of range.
    """
    room = TASKS.get(task_type) or trainers.command(task_type)
    if room not in trainers.names():
        known = [*TASKS, *(name.replace("-", "_") for name in trainers.names())]
        fix = f"it is one of {', '.join(known)}"
        raise ParamError(f"there is no task_type {task_type!r} here.{nearest(task_type, known)}", fix=fix)
    own: dict[str, Any] = {"model": model_name, "data_path": dataset_name}
    if room == "llm":
        own |= {"trainer": "sft", "backend": backend}
    elif backend not in ("auto", "hf", "trl"):
        raise ParamError(f"backend {backend!r} trains language models; {room} has one way", fix="leave it out")
    return _created(room, own, parameters)


def create_rl_trainer(
    model_name: Any = "tiny",
    dataset_name: Any = "demo",
    *,
    algorithm: str = "dpo",
    backend: str = "auto",
    **parameters: Any,
) -> TrainerBase:
    """A trainer on preferences or rewards.

    Args:
        model_name, dataset_name, backend, parameters: as `create_sft_trainer` takes them.
        algorithm: dpo, orpo, reward, ppo, grpo: a method of the room llm.

    Raises:
        ParamError: there is no such algorithm or parameter, or a value is out of range.
    """
    trainer, notices = algorithm.strip().lower(), []
    if trainer == "ppo" and backend == "trl":
        backend = "auto"
        notices.append("TRL has no PPO any more: that of nbtrain trains (backend auto).")
    own = {"model": model_name, "data_path": dataset_name, "trainer": trainer, "backend": backend}
    return _created("llm", own, parameters, notices)


def _created(
    room: str, own: Mapping[str, Any], parameters: Mapping[str, Any], notices: Sequence[str] = ()
) -> TrainerBase:
    params_class = trainers.load(room).Params
    values, told = peers.translated(parameters, params_class)
    return TrainerBase(params_class.read({**own, **values}, notices=[*notices, *told])[0])
