"""What a model in training says to rows: at each evaluation, and for the samples between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nbtrain.runs import ranks
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._samples import undisturbed

if TYPE_CHECKING:
    from nbtrain.trainers._encoder import Found, Job

LOOKED_AT = 64  # rows for samples between two evaluations, and before the first


class Watched:
    """What the model in training says to rows, and what the last evaluation saw."""

    def __init__(self, trainer: Any, run: ActiveRun, job: Job) -> None:
        self.trainer, self.run, self.job = trainer, run, job
        self._seen: tuple[int, Found] = (-1, ())

    def evaluate(self, dataloader: Any, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> Any:
        """transformers' evaluation loop, but one that a stop ends and that keeps what the model said."""
        from transformers.trainer_utils import EvalLoopOutput

        loss, found = self._through(dataloader, self.run.stop_agreed)
        values = {"loss": loss}
        if not self.run.stopped:
            values |= self.job.measure(found)
            self._seen = (self.trainer.state.global_step, found)
        named = {f"{metric_key_prefix}_{name}": float(value) for name, value in values.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=named, num_samples=len(found))

    def take(self, step: int) -> tuple[Mapping[str, Any], ...]:
        """Samples of the model as it is after `step` steps."""
        at, found = self._seen
        rows = self.job.shown
        return self.job.show(found if at == step else self.look(rows.select(range(min(LOOKED_AT, len(rows))))))

    def look(self, rows: Any) -> Found:
        """What the model says to these rows now."""
        return self._through(self.trainer.get_eval_dataloader(rows), self.run.stop_asked)[1]

    def _through(self, dataloader: Any, stopped: Callable[[], bool]) -> tuple[float, Found]:
        """(mean loss of a row, what the model says to each)."""
        total, found = 0.0, list[Any]()
        with undisturbed(self.trainer.model):
            for batch in dataloader:
                batch.pop("tokens", None)
                # a loss of the job's own takes the labels out
                loss, outputs = self.trainer.compute_loss(self.trainer.model, dict(batch), return_outputs=True)
                rows = self.job.rows(outputs, batch)
                total += float(loss) * len(rows)
                found += rows
                if stopped():
                    break
        return total / max(len(found), 1), found


def fuller(log: Callable[..., None], more: Callable[[], Mapping[str, float]]) -> Callable[..., None]:
    """A Trainer's `log`, which tells with each loss what `more` gives; of several processes the mean."""

    def told(logs: dict[str, float], *rest: Any) -> None:
        if "loss" in logs:
            found = ranks.each(dict(more()))
            logs = logs | {name: sum(each[name] for each in found) / len(found) for name in found[0]}
        log(logs, *rest)

    return told
