"""Goal 4: the time of a step with the journal and the live view on, samples off, against a bare Trainer.

Both arms train the same model on the same rows in the same way, block by block in turn, in one process of one thread;
the view follows the journal from a process of its own, as a notebook's kernel does. The bare arm is transformers'
Trainer without any callback of ours and without a curve on the screen.
"""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import Line, alternate, line, same
from settings import HERE

BATCH, LENGTH = 4, 32  # rows a step, tokens a row
EVERY = 10  # steps between two points of the curve, of both arms: what a run of 5,000 steps has by default
WARM = 30  # steps at the beginning of a block that do not count
BOUND = 0.02
# hidden size, layers, steps a block, target
SIZES = {"8 ms": (160, 3, 250, "<= 1.01"), "1 ms": (16, 1, 1000, "<= 1.03")}
BLOCKS = 9


def measure() -> Iterator[Line]:
    """At two sizes of step."""
    import torch

    torch.set_num_threads(1)
    for name, (hidden, layers, steps, target) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            yield _measure(Bench(hidden, layers, steps, Path(folder)), name, target)


def _measure(bench: Bench, name: str, target: str) -> Line:
    noise = same(lambda: bench.bare()[0], BLOCKS)
    ours, bare = alternate(bench.ours, bench.bare, BLOCKS)
    note = f"loss of the last {EVERY} steps {ours[0][1]:.4f} and {bare[0][1]:.4f}"
    return line(
        f"4 step with journal and view / bare, {name}",
        [seconds for seconds, _ in ours],
        [seconds for seconds, _ in bare],
        unit="ms",
        target=target,
        spread=noise,
        note=note,
        bound=BOUND,
    )


class Bench:
    """One model and its rows; each block trains a copy from the start.

    Args:
        steps: of a block.
        folder: for runs.
    """

    def __init__(self, hidden: int, layers: int, steps: int, folder: Path) -> None:
        import torch
        from datasets import Dataset
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        shape = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers}
        self.model = LlamaForCausalLM(LlamaConfig(vocab_size=512, num_attention_heads=2, **shape))
        rows = torch.randint(512, (BATCH * steps, LENGTH)).tolist()
        self.rows = Dataset.from_dict({"input_ids": rows, "labels": rows})
        self.steps = steps
        self.places = (folder / f"run-{number}" for number in itertools.count())

    def bare(self) -> tuple[float, float]:
        """Milliseconds a step and the mean loss, of transformers' Trainer alone."""
        from transformers import PrinterCallback, Trainer, TrainingArguments

        place = next(self.places)
        arguments = {**self._arguments(place), "output_dir": str(place)}
        trainer = Trainer(
            model=self._model(), args=TrainingArguments(**arguments), train_dataset=self.rows, data_collator=_collate
        )
        trainer.remove_callback(PrinterCallback)
        times = _timed(trainer)
        trainer.train()
        return _step(times), _loss(trainer)

    def ours(self) -> tuple[float, float]:
        """The same as nbtrain's rooms do it, with its journal, its status and a view that follows it."""
        from nbtrain.runs import status
        from nbtrain.runs.active import ActiveRun
        from nbtrain.runs.folder import RunFolder
        from nbtrain.runs.journal import Journal

        folder = RunFolder(next(self.places))
        folder.path.mkdir()
        viewer = subprocess.Popen([sys.executable, str(HERE / "viewer.py"), str(folder.path)], stdout=subprocess.PIPE)
        assert viewer.stdout is not None
        viewer.stdout.readline()  # it is ready
        with Journal(folder.events) as journal, status.Heartbeat(folder):
            times, loss = self._train(ActiveRun(folder, journal))
        viewer.terminate()
        viewer.wait()
        return _step(times), loss

    def _train(self, run: Any) -> tuple[list[float], float]:
        from nbtrain import trainers
        from nbtrain.models import load
        from nbtrain.trainers import _loop
        from nbtrain.trainers.llm import _ways

        params = trainers.load("llm").Params(**self._params())
        device = load.device()
        model = self._model()
        arguments = _loop.arguments(
            params, run, rows=len(self.rows), device=device, precision=load.precision(params, device), evaluate=False
        )
        data = {"train_dataset": self.rows, "eval_dataset": None}
        trainer = _ways.plain_trainer(model, None, data, _ways.Way("padded", _collate), arguments)
        times = _timed(trainer)
        _loop.train(trainer, params, run, facts={}, take=None)
        return times, _loss(trainer)

    def _params(self) -> dict[str, Any]:
        return {
            "batch_size": BATCH, "logging_steps": EVERY, "save_strategy": "no", "eval_strategy": "no", "trainer": "sft",
        }  # fmt: skip

    def _arguments(self, place: Path) -> dict[str, Any]:
        """Of the bare arm: the same training."""
        return {
            "per_device_train_batch_size": BATCH, "num_train_epochs": 1, "learning_rate": 3e-5, "seed": 42,
            "warmup_steps": self.steps // 10, "weight_decay": 0.01, "logging_steps": EVERY, "save_strategy": "no",
            "report_to": "none", "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False,
            "remove_unused_columns": False,
        }  # fmt: skip

    def _model(self) -> Any:
        return copy.deepcopy(self.model)


def _collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    import torch

    ids = torch.tensor([row["input_ids"] for row in rows])
    return {"input_ids": ids, "labels": ids}


def _timed(trainer: Any) -> list[float]:
    """The list in which the ends of the steps will stand."""
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    trainer.add_callback(Clock())
    return times


def _loss(trainer: Any) -> float:
    """Mean of the last EVERY steps."""
    return [each["loss"] for each in trainer.state.log_history if "loss" in each][-1]


def _step(times: list[float]) -> float:
    return 1000 * (times[-1] - times[WARM]) / (len(times) - 1 - WARM)
