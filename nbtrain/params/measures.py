"""The parameters of the enhanced evaluation: a trained model, measured by name once it is saved."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator

from nbtrain.params.options import Function, Location, option


def names_of(value: Any) -> Any:
    """A list in JSON, or names with commas between them, as a list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"takes JSON, or names with commas between them: {error}") from None
    return [name.strip() for name in value.split(",") if name.strip()]


def _option(default: Any, help: str, **more: Any) -> Any:
    return option(default, help, group="Evaluation", needs="use_enhanced_eval", **more)


class Measures(BaseModel):
    """By what the saved model is measured, on which rows, and what is kept of it."""

    use_enhanced_eval: bool = option(
        False, "measure the saved model by --eval-metrics when the training is over", group="Evaluation"
    )
    eval_metrics: Annotated[str | list[str] | None, BeforeValidator(names_of)] = _option(
        None,
        "measures by name, as JSON or with commas: perplexity, bleu, rouge, bertscore, accuracy, f1, rmse, map ... or "
        "module:function; none: those that are usual for what the model says",
    )
    eval_function: Function | None = _option(
        None, "a measure of your own: a function (predictions, references) to a number, or to numbers by name"
    )
    eval_dataset_path: Location | None = _option(
        None, "rows to measure on, as --data-path takes them; none: the held-out rows of the run"
    )
    eval_rows: int | None = _option(None, "measure on so many rows, the first ones; none: all", unit="rows", ge=1)
    eval_save_predictions: bool = _option(
        False, "keep each row with what was expected and what the model said, in predictions.jsonl"
    )
    eval_bertscore_model: Location | None = _option(
        None, "encoder that bertscore compares with; none: roberta-large, for a tiny model the built-in tiny encoder"
    )
    eval_benchmark: str | None = _option(
        None, "tasks of EleutherAI's lm-evaluation-harness, with commas between them; its folder of tasks goes before: "
        "FOLDER:task"
    )  # fmt: skip
