"""The road of a room whose model is a body with a head: judged rows, the model, its training, the saved model.

A room makes a `Job` from its rows and calls `fit`; what is special about it is in the functions of the job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nbtrain.data import check as judge
from nbtrain.data import read
from nbtrain.errors import ModelError
from nbtrain.models import load
from nbtrain.models.adapters import QUANTISED
from nbtrain.models.headed import reopened
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _feed, _loop
from nbtrain.trainers._watched import LOOKED_AT as LOOKED_AT  # rooms that show rows ask how many there are at least
from nbtrain.trainers._watched import Watched, fuller

COMPARED = 4  # rows that the saved model is asked, too
SAME = 1e-2  # of the largest output: what merging an adapter and rounding may change

Found = Sequence[Any]
"""What the model says to each row, in their order; `Job.rows` makes it of a batch."""


def _logits(outputs: Any, batch: Mapping[str, Any]) -> Found:
    return list(outputs.logits.float().cpu().numpy())


@dataclass(frozen=True)
class Job:
    """What is trained, and how it is looked at.

    auto: class of transformers: AutoModelForSequenceClassification ... config: its config, with what the head needs.
    task: of peft's task types, "" where it knows none.
    tiny: the folder that `--model tiny` means. processor: saved with the model: a tokenizer, an image processor.
    train, valid: datasets; valid None where nothing is held out.
    collate: rows to a batch with "labels"; "tokens" in it, an int, are counted and not given to the model.
    measure: what the model says to the held-out rows to the values of an evaluation; the loss is added.
    metric: of those values, by which one evaluation is better than another.
    show: what the model says to the first rows of `shown` to samples.
    loss: (outputs, labels, num_items_in_batch) to the mean loss of a batch, in place of the model's own.
    logged: what is told with each loss of the training.
    rows: the outputs of a batch, and the batch, to what `measure` and `show` get for each of its rows.
    ready: a model that was just opened, before it is trained or an adapter is merged into it.
    conclude: the trained model and what it says to the held-out rows, where the training came to its end.
    finish: the trained model before it is saved, also where the training was stopped.
    new_head: whether what is no body is a new head, trained whole beside an adapter.
    by_tokens: whether `loss` is the mean over all labels of a step, however many batches it takes; else over a batch.
    without: parts that get no adapter, by name.
    """

    auto: str
    config: Any
    train: Any
    valid: Any
    collate: Callable[[list[Mapping[str, Any]]], dict[str, Any]]
    measure: Callable[[Found], Mapping[str, float]]
    show: Callable[[Found], tuple[Mapping[str, Any], ...]]
    metric: str = "loss"
    task: str = ""
    tiny: Path | None = None
    processor: Any = None
    loss: Callable[..., Any] | None = None
    logged: Callable[[], Mapping[str, float]] = dict
    rows: Callable[[Any, Mapping[str, Any]], Found] = _logits
    ready: Callable[[Any], None] = lambda model: None
    conclude: Callable[[Any, Found], None] = lambda model, found: None
    finish: Callable[[Any], None] = lambda model: None
    new_head: bool = True
    by_tokens: bool = False
    without: Sequence[str] = ()

    @property
    def shown(self) -> Any:
        """The rows that samples are taken from."""
        return self.valid if self.valid is not None else self.train


def begin(params: Any) -> None:
    """No bars in a cell, and the seed set."""
    import datasets
    from transformers import set_seed
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    set_seed(params.seed)


def judged(params: Any, run: ActiveRun, splits: read.Splits, form: judge.Form) -> read.Splits:
    """The rows that can be used; what was found is told."""
    for notice in splits.notices:
        run.warn(notice)
    run.stage("checking the rows")
    splits, report = judge.check(splits, form, on_bad_rows=params.on_bad_rows)
    run.warn("\n".join(report.lines()))
    return splits


def place(params: Any, tiny: Path | None, run: ActiveRun | None = None, *, better: str = "") -> str:
    """Where the model is.

    Args:
        tiny: the folder that `--model tiny` means.
        run: is told of a model to use in earnest, where nobody has chosen one.
        better: its hub id.
    """
    if params.model != "tiny" or tiny is None:
        return load.resolve(params.model)
    if run is not None and better and "model" not in params.given():
        run.warn(f"The built-in tiny model is trained: it shows how all works. For good results: --model {better}.")
    return str(tiny)


def fit(params: Any, run: ActiveRun, job: Job) -> dict[str, float]:
    """Train, save and see that what was saved opens and says the same.

    Returns:
        The last evaluation's values, or with --best-model the best one's, and the totals.
    """
    from transformers import set_seed

    run.prepared()
    run.stage("loading the model")
    set_seed(params.seed)  # what the data took must not change how a head begins
    parts = {"whole": head(job) if job.new_head else (), "without": job.without}
    model = load.headed_model(params, job.auto, config=job.config, task=job.task, tiny=job.tiny, tell=run.warn, **parts)
    job.ready(model)
    run.stage("preparing")
    trainer, facts = _trainer(params, run, model, job)
    watched = Watched(trainer, run, job)
    trainer.evaluation_loop = watched.evaluate
    values = _loop.train(trainer, params, run, _loop.Told(facts, watched.take, metric=job.metric))
    vars(model).pop("save_pretrained", None)
    if job.valid is not None and not run.stopped:
        run.stage("measuring the trained model")
        job.conclude(model, watched.look(job.valid))
    job.finish(model)
    expected = watched.look(job.shown.select(range(min(COMPARED, len(job.shown)))))
    run.stage("saving the model")
    _save(params, run, model, job)
    if not run.stopped:
        run.stage("opening the saved model")
        _verify(params, run, job, expected)
    return values


def head(job: Job) -> list[str]:
    """The parts of the model that are not its body, by name: they are trained whole, also beside an adapter."""
    import torch
    import transformers

    with torch.device("meta"):
        model = getattr(transformers, job.auto).from_config(job.config)
    parts = model.named_children()
    return [name for name, part in parts if name != model.base_model_prefix and any(True for _ in part.parameters())]


def _trainer(params: Any, run: ActiveRun, model: Any, job: Job) -> tuple[Any, dict[str, Any]]:
    """The Trainer, and what is known at the start."""
    import torch
    from transformers import Trainer, TrainingArguments

    counts, device = load.parameter_counts(model), load.device()
    if device.note:
        run.warn(device.note)
    precision = load.precision(params, device)
    rows, count = _feed.drawn(job.train, params, run)
    held = job.valid is not None
    arguments = _loop.arguments(params, run, rows=count, device=device, precision=precision, evaluate=held)
    trainer = Trainer(
        model=model,
        # only a mean over labels is divided by those of all processes
        args=TrainingArguments(**arguments, average_tokens_across_devices=job.by_tokens),
        data_collator=job.collate,
        train_dataset=rows,
        eval_dataset=job.valid,
        processing_class=job.processor,
        compute_loss_func=job.loss,
    )
    # a Trainer takes the loss of a model that may be told of accumulation as divided already; most with a head take no
    # notice, and accumulated batches would count in full
    trainer.loss_is_scaled_for_ga, trainer.model_accepts_loss_kwargs = job.by_tokens, False
    trainer.log = fuller(trainer.log, job.logged)
    if not params.peft:
        # by default with the names that older versions gave, which a Trainer does not find again in the model: what
        # goes on from a checkpoint, or takes the best one, would keep other weights in their places
        model.save_pretrained = partial(model.save_pretrained, save_original_format=False)
    if hasattr(job.train, "at_epoch"):
        trainer.add_callback(_epochs(job.train))
    return trainer, {
        "model": params.model,
        **counts,
        "device": device.kind,
        "dtype": "bf16" if precision.bf16 else "fp16" if precision.fp16 else "fp32",
        "threads": torch.get_num_threads(),
        **_loop.together(params),
        **({} if count is None else {"rows": count}),
        "valid_rows": len(job.valid) if job.valid is not None else 0,
    }


def _epochs(rows: Any) -> Any:
    """Tells rows that change from epoch to epoch which it is, also where a run goes on in the middle of one.

    accelerate would tell them too, but not there: behind the batches that it leaves out it asks the sampler only.
    """
    from transformers import TrainerCallback

    class Epochs(TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            rows.at_epoch(int(state.epoch + 1e-6))

    return Epochs()


def _save(params: Any, run: ActiveRun, model: Any, job: Job) -> None:
    reopen = reopened(params, job.auto, job.config, tiny=job.tiny)

    def made_ready(name: str, dtype: Any) -> Any:
        whole = reopen(name, dtype)
        job.ready(whole)
        return whole

    load.save(model, job.processor, run.folder.model, params, reopen=made_ready)
    if params.peft and not params.merge_adapter:
        model.config.save_pretrained(run.folder.model)  # an adapter does not say what the outputs of its head mean


def _verify(params: Any, run: ActiveRun, job: Job, expected: Found) -> None:
    """Open what was saved and ask it some rows.

    Raises:
        ModelError: it cannot be opened, or says something else than the trained model.
    """
    import numpy
    import torch

    precision = load.precision(params, load.device())
    model = load.saved_headed(job.auto, run.folder.model, trust_remote_code=params.trust_remote_code)
    rows = job.shown.select(range(len(expected)))  # as they stand: rows that are trained on may be changed at random
    batch = job.collate([rows[row] for row in range(len(rows))])
    batch.pop("tokens", None)
    with torch.no_grad():
        # with a loss of the job's own, labels are none of the model's: so a Trainer has it, too
        given = {name: value for name, value in batch.items() if job.loss is None or name != "labels"}
        found = job.rows(model(**given), batch)
    for one, other in zip(found, expected, strict=True):
        one, other = numpy.asarray(one, dtype=float), numpy.asarray(other, dtype=float)
        if not numpy.isfinite(one).all():
            raise ModelError(
                f"{run.folder.model}: the saved model gives no numbers.", fix="lower --lr and train again."
            )
        exact = precision == load.Precision(torch.float32) and params.quantization not in QUANTISED
        if exact and numpy.abs(one - other).max() > SAME * max(1.0, float(numpy.abs(other).max())):
            raise ModelError(f"{run.folder.model}: the saved model says something else than the trained one.")


def check(
    params: Any,
    splits: read.Splits,
    form: judge.Form,
    more: Callable[[read.Splits, Any], list[str]] = lambda splits, form: [],
    **shown: Any,
) -> list[str]:
    """What judging the rows finds, for a screen; what a run would stop at is told with everything else.

    Args:
        more: lines of the room's own, of the rows that can be used.
        shown: more of `judge.Findings`, rendered and boxed.
    """
    kept, report = judge.check(splits, form, on_bad_rows="skip")
    lines = [f"Data: {splits.origin}", *splits.notices, *report.lines(), *more(kept, form)]
    return judge.Findings(lines, report=report, splits=kept, **shown)


def longest(params: Any, config: Any, processor: Any = None) -> int:
    """Tokens of the longest row: no more than --max-seq-length, nor than the model has places for."""
    asked = min(params.max_seq_length, getattr(processor, "model_max_length", None) or params.max_seq_length)
    return min(asked, places(config) or asked)


def places(config: Any) -> int:
    """Tokens that a model has places for, 0 where it has them for any number."""
    text = config.get_text_config()
    count = int(getattr(text, "max_position_embeddings", None) or 0)
    if text.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet", "xmod", "longformer"):
        count -= (text.pad_token_id or 0) + 1  # these count their places from behind that of the padding
    return count
