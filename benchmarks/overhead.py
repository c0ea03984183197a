"""Goal 4: the time of a step with the journal and the live view on, samples off, against a bare Trainer.

Both arms train the same model on the same rows, in turns of half a second, in one process, with one thread each. The
view follows the journal from a process of its own, as a notebook's kernel does, and stands still while the bare arm
works. That one is transformers' Trainer without anything of ours.
"""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from measure import Line, line, ratios, spread
from settings import HERE
from turns import Turns

BATCH, LENGTH = 4, 32  # rows a step, tokens a row
TURNS = 31  # of each arm
BOUND = 0.02
POINTS = 500  # of the curve, nbtrain's default
# name: hidden size and layers (0: no transformer at all), steps a turn, target
SIZES = {"8 ms": (112, 2, 65, "<= 1.01"), "1 ms": (16, 0, 400, "<= 1.03")}


def measure() -> Iterator[Line]:
    """At two sizes of step."""
    for name, (hidden, layers, steps, target) in SIZES.items():
        bench = Bench(hidden, layers, steps)
        same = Turns(steps).run(one=bench.bare, other=bench.bare)
        found, losses = bench.compare()
        yield line(
            f"4 step with journal and view / bare, {name}",
            found["ours"],
            found["bare"],
            unit="ms",
            target=target,
            spread=spread(ratios(same["one"], same["other"])),
            note=f"loss of the last {bench.every} steps {losses['ours']:.4f} and {losses['bare']:.4f}",
            bound=BOUND,
        )


class Bench:
    """One model and its rows; each training begins with a copy.

    Args:
        layers: of a Llama; 0: an embedding and a head, whose step is hardly more than the Trainer itself.
        steps: of a turn.
    """

    def __init__(self, hidden: int, layers: int, steps: int) -> None:
        import torch
        from datasets import Dataset

        torch.manual_seed(0)
        self.model = _llama(hidden, layers) if layers else _words(hidden)
        self.steps = steps
        self.every = max(1, steps * (TURNS + 1) // POINTS)  # between two points of the curve, in both arms
        rows = torch.randint(64, (BATCH * steps * (TURNS + 1), LENGTH)).tolist()
        self.rows = Dataset.from_dict({"input_ids": rows, "labels": rows})
        self.losses: dict[str, float] = {}

    def compare(self) -> tuple[dict[str, list[float]], dict[str, float]]:
        """Milliseconds a step of both arms, turn by turn; and the losses at the end."""
        from nbtrain.runs.folder import RunFolder

        with tempfile.TemporaryDirectory() as place:
            folder = RunFolder(Path(place))
            command = [sys.executable, str(HERE / "viewer.py"), place]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as viewer:
                assert viewer.stdout is not None
                viewer.stdout.readline()  # it is ready

                def passed(name: str) -> None:
                    viewer.send_signal(signal.SIGCONT if name == "ours" else signal.SIGSTOP)

                turns = Turns(self.steps, passed)
                try:
                    found = turns.run(ours=lambda callback: self.ours(callback, folder), bare=self.bare)
                finally:
                    viewer.kill()
        return found, self.losses

    def bare(self, callback: Any) -> None:
        """Train with transformers' Trainer alone."""
        from transformers import PrinterCallback, Trainer, TrainingArguments

        settings = {
            "per_device_train_batch_size": BATCH, "num_train_epochs": 1, "learning_rate": 3e-5, "seed": 42,
            "warmup_steps": self._steps() // 10, "weight_decay": 0.01, "logging_steps": self.every,
            "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True,
            "dataloader_pin_memory": False, "remove_unused_columns": False, "output_dir": tempfile.gettempdir(),
        }  # fmt: skip
        model, arguments = copy.deepcopy(self.model), TrainingArguments(**settings)
        trainer = Trainer(model=model, args=arguments, train_dataset=self.rows, data_collator=_collate)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(callback)
        trainer.train()
        self.losses["bare"] = _loss(trainer)

    def ours(self, callback: Any, folder: Any, sinks: Iterable[Any] = ()) -> None:
        """The same as nbtrain's rooms do it, with its journal and its status.

        Args:
            sinks: listen to the run, as a tracker does.
        """
        from nbtrain import trainers
        from nbtrain.models import load
        from nbtrain.runs import status
        from nbtrain.runs.active import ActiveRun
        from nbtrain.runs.journal import Journal
        from nbtrain.trainers import _loop
        from nbtrain.trainers.llm import _ways

        asked = {"batch_size": BATCH, "save_strategy": "no", "eval_strategy": "no"}
        params = trainers.load("llm").Params(**asked)
        device = load.device()
        with Journal(folder.events) as journal, status.Heartbeat(folder):
            run = ActiveRun(folder, journal, sinks=sinks)
            precision = load.precision(params, device)
            arguments = _loop.arguments(
                params, run, rows=len(self.rows), device=device, precision=precision, evaluate=False
            )
            data = {"train_dataset": self.rows, "eval_dataset": None}
            way = _ways.Way("padded batches", _collate)
            trainer = _ways.plain_trainer(copy.deepcopy(self.model), None, data, way, arguments)
            trainer.add_callback(callback)
            _loop.train(trainer, params, run, _loop.Told({}))
        self.losses["ours"] = _loss(trainer)

    def _steps(self) -> int:
        return len(self.rows) // BATCH


def _llama(hidden: int, layers: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers}
    return LlamaForCausalLM(LlamaConfig(vocab_size=512, num_attention_heads=2, **shape))


def _words(hidden: int) -> Any:
    """The next word from the one before it."""
    import torch

    class Words(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = torch.nn.Embedding(64, hidden), torch.nn.Linear(hidden, 64)

        def forward(self, input_ids: Any, labels: Any) -> dict[str, Any]:
            scores = self.head(self.words(input_ids[:, :-1]))
            return {"loss": torch.nn.functional.cross_entropy(scores.flatten(0, 1), labels[:, 1:].flatten())}

    return Words()


def _collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    import torch

    ids = torch.tensor([row["input_ids"] for row in rows])
    return {"input_ids": ids, "labels": ids}


def _loss(trainer: Any) -> float:
    """The last point of the curve."""
    return float([each["loss"] for each in trainer.state.log_history if "loss" in each][-1])
