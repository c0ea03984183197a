"""The native loop for a model, rows and batches of one's own, as a run like any other: journal, checkpoints, card.

from nbtrain import native

run = native.fit(model, tokenizer, rows, valid=held_out, epochs=3, lr=1e-3, batch_size=8)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from nbtrain import fit as shell
from nbtrain import trainers
from nbtrain.events import Event
from nbtrain.run import Run
from nbtrain.runs.active import ActiveRun

Rows = Sequence[Mapping[str, Any]]


def fit(
    model: Any,
    tokenizer: Any,
    rows: Rows,
    *,
    valid: Rows | None = None,
    collate: Callable[[list[Mapping[str, Any]]], dict[str, Any]] | None = None,
    callbacks: Iterable[Callable[[Event], None]] = (),
    **parameters: Any,
) -> Run:
    """Train `model` in this process, to the end.

    Args:
        model: a torch module that gives `.loss`, the mean over the trained tokens, when it is called with a batch.
        tokenizer: saved with the model, and pads; None where `collate` does all.
        rows: by number, each with "input_ids" and "labels" (-100 where not trained), or whatever `collate` takes.
        valid: rows to measure on.
        collate: rows to a batch with "labels"; None: padded to the longest.
        callbacks: each is called with every event of the run: started, logged, evaluated, saved, finished ...
        parameters: of the room llm: lr, epochs, batch_size, project_name, save_strategy ...

    Returns:
        The run; its model is in its folder, in safetensors.

    Raises:
        NbtrainError: the training failed; it is the run's own error.
    """
    name = getattr(model, "name_or_path", "") or type(model).__name__
    source = f"({len(rows):,} rows of the caller)"
    given = {"trainer": "default", "backend": "native", "model": name, "data_path": source, **parameters}
    run = Run(shell.prepare(trainers.load("llm").Params(**given)))
    train = partial(_train, model=model, tokenizer=tokenizer, rows=rows, valid=valid, collate=collate)
    shell.fit(run.folder, sinks=callbacks, train=train)
    return run.wait()


def _train(  # noqa: PLR0913  what `fit` was given
    params: Any, run: ActiveRun, *, model: Any, tokenizer: Any, rows: Rows, valid: Rows | None, collate: Any
) -> dict[str, float]:
    from transformers import set_seed

    from nbtrain.models import load
    from nbtrain.trainers._news import Told
    from nbtrain.trainers.llm import _flat, _native

    run.warn("Model and rows were given by the caller: train.py and config.yaml name them, and cannot bring them back.")
    set_seed(params.seed)
    device = load.device()
    precision = load.precision(params, device)
    model.to(device.kind)
    pad = getattr(tokenizer, "pad_token_id", None) or 0
    collate = collate or partial(_flat.padded, pad=pad, side=params.padding)
    facts = {"model": params.model, **load.parameter_counts(model), "device": device.kind, "rows": len(rows)}
    facts |= {"valid_rows": len(valid or ())}
    job = _native.Job(model, rows, collate, valid=valid)
    values = _native.train(params, run, job, Told(facts), device=device, precision=precision)
    run.stage("saving the model")
    if hasattr(model, "save_pretrained"):
        load.save(model, tokenizer, run.folder.model, params)
    else:
        from safetensors.torch import save_model

        run.folder.model.mkdir(parents=True, exist_ok=True)
        save_model(model, str(run.folder.model / "model.safetensors"))
    return values
