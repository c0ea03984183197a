"""scikit-learn's models and preparers; kept with skops, which holds no code."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.errors import ModelError

if TYPE_CHECKING:
    from nbtrain.trainers.tabular.estimators import Fitted, Setting
    from nbtrain.trainers.tabular.families import Family

TRUSTED = (
    "numpy.dtype",
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.linear_model._sgd_fast.Log",
    "sklearn.linear_model._sgd_fast.SquaredLoss",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
)
"""What skops does not know by itself and our models hold: data of scikit-learn's compiled parts."""


def fit(family: Family, settings: dict[str, Any], x: Any, y: Any, setting: Setting) -> tuple[Any, None]:
    """A fitted estimator; see `estimators.Library`."""
    from sklearn.exceptions import ConvergenceWarning

    module, _, name = (family.classifier if setting.classifies else family.regressor).rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    known = inspect.signature(kind).parameters
    given = {"random_state": setting.seed}
    if family.name != "logistic_regression":  # it has no use for threads, and says so
        given["n_jobs"] = setting.threads
    if family.name == "sgd" and setting.classifies:
        settings.setdefault("loss", "log_loss")  # the one with probabilities
    given = {key: value for key, value in given.items() if key in known}
    if "n_neighbors" in settings:
        settings["n_neighbors"] = min(settings["n_neighbors"], len(x))
    with warnings.catch_warnings():
        # a trial that is not all the way down is judged by its score
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kind(**{**given, **settings}).fit(x, y), None


def ask(fitted: Fitted, x: Any) -> Any:
    """(rows, classes) probabilities, or (rows,) numbers."""
    import numpy

    model = fitted.model
    if not fitted.classes:
        return model.predict(x)
    if hasattr(model, "predict_proba"):
        return model.predict_proba(x)
    # a margin, as a softmax would read it: in the right order, not calibrated
    margin = model.decision_function(x)
    margin = numpy.column_stack([-margin, margin]) if margin.ndim == 1 else margin
    weight = numpy.exp(margin - margin.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def save(fitted: Fitted, path: Path) -> None:
    """Write the estimator."""
    dump(fitted.model, path)


def load_model(path: Path, classifies: bool) -> Any:
    """The estimator that `save` wrote."""
    return load(path)


def dump(part: Any, path: Path) -> None:
    """A part of scikit-learn to a file."""
    import skops.io

    skops.io.dump(part, path)


def load(path: Path) -> Any:
    """What `dump` wrote.

    Raises:
        ModelError: it holds what no part of ours holds; nothing of it is run.
    """
    import skops.io

    strange = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
    if strange:
        raise ModelError(f"{path.name} holds what no model of this room holds: {', '.join(strange)}", where=str(path))
    return skops.io.load(path, trusted=list(TRUSTED))


def needs(paths: Iterable[Path]) -> list[str]:
    """What skops has to be told to trust, of all these files."""
    import skops.io

    return sorted({name for path in paths for name in skops.io.get_untrusted_types(file=path)})
