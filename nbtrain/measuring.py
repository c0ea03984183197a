"""A saved model measured by name: at the end of a run that asks for it, and by `run.evaluate(metrics=...)`."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from nbtrain import trainers
from nbtrain.data import functions
from nbtrain.errors import NbtrainError, ParamError, RunError
from nbtrain.evaluate import benchmark, bertscore, metrics
from nbtrain.evaluate.examples import Examples
from nbtrain.evaluate.metrics import BERTSCORE, PERPLEXITY
from nbtrain.events import Evaluated
from nbtrain.models import load
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.files import atomic_write
from nbtrain.runs.journal import story
from nbtrain.runs.record import Record

Function = Callable[[list[Any], list[Any]], Any]
_OTHER = "test_"  # before the name of a value that was measured on other rows than the held-out ones
_TINY_ENCODER = load.TINY.parent / "text"


def check(params: Any) -> None:
    """What cannot be measured is refused before anything is trained.

    Raises:
        ParamError: a metric that does not exist, or does not fit the room. MissingExtra: of a benchmark.
    """
    if not params.use_enhanced_eval:
        return
    _chosen(params, params.eval_metrics)
    if params.eval_function is not None:
        functions.load(params.eval_function)
    if params.eval_benchmark:
        benchmark.check(params.eval_benchmark, params.room)


def at_end(params: Any, run: ActiveRun, values: Mapping[str, float]) -> dict[str, float]:
    """The values of the enhanced evaluation, told as an evaluation of the last step; {} where none was asked.

    The model is trained and saved: what goes wrong here is told, and the run is what it is.

    Args:
        values: what the room gave at the end of its training.
    """
    if not params.use_enhanced_eval or params.use_sweep or run.stopped:
        return {}
    run.stage("measuring the saved model")
    data = params.eval_dataset_path
    keep = run.folder.predictions if params.eval_save_predictions else None
    try:
        asked = [*(params.eval_metrics or ()), *([params.eval_function] if params.eval_function else ())]
        found = measure(params, run.folder.model, data, asked or None, values=values, keep=keep)
        if params.eval_benchmark:
            how = {"batch_size": params.eval_batch_size, "device": load.device().kind}
            found |= benchmark.measured(params.eval_benchmark, run.folder.model, **how)
    except Exception as error:
        told = " ".join(error.lines()) if isinstance(error, NbtrainError) else f"{type(error).__name__}: {error}"
        run.warn(f"The saved model could not be measured: {told}")
        return {}
    found = {(_OTHER + name if data else name): value for name, value in found.items()}
    run.report["enhanced_evaluation"] = {"data": data or "the held-out rows", "values": found}
    record = Record.of(story(run.folder.events))
    last = dict(record.evaluations[-1]) if record.evaluations else {}
    same = last if last.pop("step", None) == record.step else {}  # one row of the table a step
    run.emit(Evaluated(step=record.step, values={**same, **found}))
    return found


def of_run(
    params: Any, path: Path, data: Any, asked: Sequence[str | Function] | None, *, values: Mapping[str, float]
) -> dict[str, float]:
    """The model of a run: by `asked` as in `measure`; None: by what its room measures, or has measured.

    Raises:
        RunError: the method measures held-out rows only, while it trains; and what `measure` raises.
    """
    if asked is not None:
        return measure(params, path, data, asked, values=values)
    by_room = getattr(trainers.load(params.room), "evaluate", None)
    found = by_room(params, str(path), data) if by_room else None
    if found is None and data is not None:
        what = f"{params.room} {params.method}".strip() + " measures held-out rows, while it trains only"
        raise RunError(what, fix="run.metrics has the last values")
    return dict(values if found is None else found)


def measure(
    params: Any,
    path: Path,
    data: Any = None,
    asked: Sequence[str | Function] | None = None,
    *,
    values: Mapping[str, float] | None = None,
    keep: Path | None = None,
) -> dict[str, float]:
    """The model at `path`, measured.

    Args:
        data: None for the rows that the run held out, else what --data-path takes; its training split is measured.
        asked: names of metrics, places of functions, functions (predictions, references) to a number or to numbers by
            name; None: those that are usual for what the room's models say.
        values: the run's own, of its held-out rows.
        keep: the file for each row with what was expected and said.

    Raises:
        ParamError: a metric that does not exist, or does not fit. DataError: the rows cannot be used. RunError: the
            run held nothing out, or a function gives no numbers.
    """
    own = [each for each in asked or () if callable(each) or functions.is_place(each)]
    named = [each for each in asked or () if each not in own]
    chosen = _chosen(params, named if asked is not None else None)
    room, found = trainers.load(params.room), dict[str, float]()
    if PERPLEXITY in chosen:
        found |= _perplexity(room, params, path, data, values or {})
    simple = [name for name in chosen if name != PERPLEXITY]
    if not simple and not own and keep is None:
        return found
    with tempfile.TemporaryDirectory(prefix="nbtrain-", ignore_cleanup_errors=True) as cache:
        rows = room.examples(params, data, Path(cache)).first(params.eval_rows)
        said = _said(params, room, path, rows)
    for name in simple:
        found |= _bertscore(params, rows, said) if name == BERTSCORE else metrics.BY_KIND[rows.kind][name](rows, said)
    for function in own:
        found |= _own(function, rows, said)
    if keep is not None:
        _keep(keep, rows, said)
    return found


def _chosen(params: Any, asked: Sequence[str] | None) -> list[str]:
    room = trainers.load(params.room)
    kind = room.says(params) if hasattr(room, "says") else ""
    if not kind:
        what = f"{params.room} {params.method}".strip() + " measures its model while it trains, and in no other way"
        raise ParamError(f"--use-enhanced-eval: {what}", fix="leave it out; run.metrics has the values")
    return [name for name in metrics.chosen(asked, kind, params.room) if not functions.is_place(name)]


def _perplexity(room: ModuleType, params: Any, path: Path, data: Any, values: Mapping[str, float]) -> dict[str, float]:
    """By the room where it measures a saved model; else of the run's own loss, the mean over tokens."""
    measured = room.evaluate(params, str(path), data) if hasattr(room, "evaluate") else None
    if measured is not None:
        return {PERPLEXITY: measured[PERPLEXITY]}
    if data is None and "loss" in values:
        return {PERPLEXITY: math.exp(min(values["loss"], 700.0))}
    what = f"the perplexity of {params.room} is that of the rows that its run held out, and there are none"
    raise RunError(what, fix="leave perplexity out of --eval-metrics")


def _said(params: Any, room: ModuleType, path: Path, rows: Examples) -> list[Any]:
    model, processor = room.opened(params, str(path))
    size, said = params.eval_batch_size if hasattr(params, "eval_batch_size") else len(rows.asked), list[Any]()
    for begin in range(0, len(rows.asked), size or 1):
        said += rows.ask(model, processor, rows.asked[begin : begin + size])
    return said


def _bertscore(params: Any, rows: Examples, said: Sequence[Any]) -> dict[str, float]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tiny = getattr(params, "model", "") == "tiny"
    name = params.eval_bertscore_model or (str(_TINY_ENCODER) if tiny else bertscore.USUAL)
    place = str(_TINY_ENCODER) if name == "tiny" else load.resolve(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        encoder = AutoModel.from_pretrained(place, dtype=torch.float32).eval()
    except (OSError, ValueError) as error:
        why = str(error).split("\n")[0]
        fix = "name an encoder that is here: --eval-bertscore-model"
        raise RunError(f"bertscore: the encoder {name} cannot be opened", why=why, fix=fix) from None
    layer = bertscore.LAYERS.get(name)
    return bertscore.bertscore(said, rows.expected, encoder.to(load.device().kind), tokenizer, layer)


def _own(given: str | Function, rows: Examples, said: Sequence[Any]) -> dict[str, float]:
    """What a function of the user's makes of predictions and references."""
    function = given if callable(given) else functions.load(given)
    name = getattr(function, "__name__", "function").strip("<>")
    found = function(list(said), list(rows.expected))
    values = found if isinstance(found, Mapping) else {name: found}
    if any(isinstance(value, bool) or not hasattr(value, "__float__") for value in values.values()):
        what = f"the metric {name} gives {str(found)[:80]!r}"
        raise RunError(what, fix="return a number, or a dict of numbers by name")
    return {str(key): float(value) for key, value in values.items()}


def _keep(place: Path, rows: Examples, said: Sequence[Any]) -> None:
    """Each row with what was expected and what the model said, a line of JSON each."""
    lines = (
        {"input": asked, "expected": expected, "predicted": found}
        for asked, expected, found in zip(rows.asked, rows.expected, said, strict=True)
    )
    atomic_write(place, "".join(json.dumps(line, ensure_ascii=False, default=_plain) + "\n" for line in lines))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):  # a picture
        return f"{len(value):,} bytes"
    return value.tolist() if hasattr(value, "tolist") else vars(value) if hasattr(value, "__dict__") else str(value)
