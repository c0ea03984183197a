"""Tables: classes or numbers predicted from columns, by boosted trees, forests, nets and linear models.

Data: a table with a column (or several) to predict; numbers, categories, dates and texts are told apart
Result: models in the native formats of their libraries, a preparer of scikit-learn (skops), and recipe.json
Extra: nbtrain[tabular]
Source: Chen and Guestrin 2016, arXiv:1603.02754 (XGBoost); Erickson et al. 2020, arXiv:2003.06505 (auto)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from nbtrain.evaluate.examples import Examples
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Data
from nbtrain.params.streaming import not_streamed
from nbtrain.params.usual import alone
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _examples
from nbtrain.trainers.tabular import judging, saving, snippet, training
from nbtrain.trainers.tabular.reading import frame_of

Model = Literal[
    "auto", "xgboost", "lightgbm", "catboost", "random_forest", "extra_trees", "gradient_boosting", "neural_net",
    "mlp", "logistic_regression", "linear_regression", "ridge", "lasso", "sgd", "svm", "knn", "decision_tree",
    "adaboost", "naive_bayes", "tiny",
]  # fmt: skip
Metric = Literal[
    "logloss", "auc", "accuracy", "balanced_accuracy", "f1", "precision", "recall", "average_precision", "brier_loss",
    "rmse", "mae", "median_error", "r2",
]  # fmt: skip

_WHY_ALONE = "the libraries for tables share the cores in one process already; for more at once: --sweep-workers"
CANNOT_REHEARSE = "its models are fitted whole, not step by step, and --time-limit says how long that may take"


def _names(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class TabularParams(alone(_WHY_ALONE), Basic, Data, Base):
    """Parameters of `tabular`."""

    model: Model = option(
        "xgboost",
        "family of models; auto: compares the families and ends with the best, or a mixture; tiny: a small tree",
        group="Basic",
        essential=True,
        searched=("xgboost", "lightgbm", "catboost", "random_forest", "extra_trees"),
    )
    task: Literal["classification", "regression"] = option(
        "classification", "predict classes (several targets: labels), or numbers", group="Basic", essential=True
    )
    target_columns: str | list[str] = option(
        ["target"],
        "what to predict: a column, names with commas, or a list",
        group="Data",
        essential=True,
        aliases=("target_column", "target"),
    )
    id_column: str = option("id", "column that names the row; nothing is learnt from it", group="Data")
    stream: bool = not_streamed(
        "trees and tables learn from all rows at once: a part of them that fits into the memory is chosen by "
        "--max-samples."
    )
    categorical_columns: Annotated[list[str] | None, BeforeValidator(_names)] = option(
        None, "columns read as categories, whatever their values look like", group="Data"
    )
    numerical_columns: Annotated[list[str] | None, BeforeValidator(_names)] = option(
        None, "columns read as numbers; what is no number in them is missing", group="Data"
    )
    num_trials: int = option(
        10,
        "settings tried; 1: only those the family begins with",
        group="Training",
        unit="trials",
        ge=1,
        essential=True,
    )
    time_limit: int = option(
        600, "time for the trials and the last fit", group="Training", unit="seconds", ge=1, essential=True
    )
    metric: Metric | None = option(
        None, "by which trials are compared; none: logloss for classes, rmse for numbers", group="Training"
    )
    folds: int | None = option(
        None,
        "parts of the cross-validation; none: 5, for large tables 3 or one part set aside",
        group="Training",
        unit="parts",
        ge=2,
        le=20,
    )
    model_params: dict[str, Any] | None = option(
        None, 'settings of the model by its library\'s names, as JSON; they are not searched: {"max_depth": 4}',
        group="Model",
    )  # fmt: skip
    categorical_imputer: Literal["most_frequent"] | None = option(
        None, "fill missing categories; none: missing is a category of its own", group="Data"
    )
    numerical_imputer: Literal["median", "mean", "most_frequent", "zero"] | None = option(
        None, "fill missing numbers; none: as the family takes them, else the median", group="Data"
    )
    numeric_scaler: Literal["standard", "minmax", "robust", "normal"] | None = option(
        None,
        "scale numbers; none: as the family needs it (standard for linear models, nets and neighbours)",
        group="Data",
    )
    token: str | None = option(
        None,
        "hub token; read from the environment or the hub login by default, never written",
        group="Hub",
        secret=True,
    )


Params = TabularParams
PIPELINE = {"classification": "tabular-classification", "regression": "tabular-regression"}
OBEYS = ("stop",)


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Search for the best settings, fit and save; the values on held-out rows, and the totals."""
    return training.train(params, run)


def check(params: Any, cache: Path) -> list[str]:
    """The table read and judged, for a screen."""
    judged = judging.judge(params, cache)
    families, told = training.chosen(params, judged)
    return [*judged.lines(), f"To be tried: {', '.join(family.name for family in families)}.", *told]


def opened(params: Any, path: str) -> tuple[saving.Predictor, None]:
    """The saved model, with all that it needs to take rows as they are."""
    return saving.opened(Path(path)), None


def predict(
    params: Any, model: saving.Predictor, processor: None, rows: Sequence[Any], *, probabilities: bool = False
) -> list[Any]:
    """What the model says to each row.

    Args:
        rows: dicts, one a row; or frames and paths of files, each of which gives a list.
        probabilities: for classes, a dict of class to probability instead of the likeliest class.

    Raises:
        DataError: a row lacks a column.
    """
    if all(isinstance(row, Mapping) for row in rows):
        return _said(model, list(rows), probabilities) if rows else []
    return [_said(model, row, probabilities) for row in rows]


def _said(model: saving.Predictor, rows: Any, probabilities: bool) -> list[Any]:
    found = model.of_rows(frame_of(rows))
    return model.chances(found) if probabilities and model.goal.classifies else model.said(found)


def says(params: Any) -> str:
    """The kind of what its models say; see `evaluate.examples`."""
    return "classes" if params.task == "classification" else "numbers"


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    judged = judging.judge(_examples.reading(params, data), cache)
    frame = _examples.kept(judged.train, judged.valid, data).frame
    targets = [target.name for target in judged.goal.targets]
    rows, right = frame.drop(columns=targets).to_dict("records"), frame[targets].values.tolist()
    if not judged.goal.classifies:
        expected = [[float(value) for value in row] for row in right]
        return Examples("numbers", rows, expected, lambda *asked: _examples.numbered(predict(params, *asked)))

    def ask(model: Any, processor: None, some: Sequence[Any]) -> list[dict[str, Any]]:
        said, chances = (predict(params, model, None, some, probabilities=asked) for asked in (False, True))
        labels = [_named(targets, each.values() if isinstance(each, dict) else [each]) for each in said]
        scores = [{str(name): score for name, score in each.items()} if len(targets) == 1 else {} for each in chances]
        return [{"labels": one, "scores": other} for one, other in zip(labels, scores, strict=True)]

    return Examples("classes", rows, [_named(targets, row) for row in right], ask)


def _named(targets: Sequence[str], values: Iterable[Any]) -> list[str]:
    """The class of a row, or of each target its class behind its name."""
    if len(targets) == 1:
        return [str(value) for value in values]
    return [f"{target}={value}" for target, value in zip(targets, values, strict=True)]


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the saved model, and how, for the card."""
    return snippet.usage(path)
