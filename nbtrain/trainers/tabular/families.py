"""The families of models: what each is made of, where its search begins and how far it goes.

Each is a thin door to its own library: an estimator is made with the settings as they are written in the report, so
that a script without nbtrain gives the same predictions with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nbtrain.trainers.tabular.preparing import View


class Dial(NamedTuple):
    """A number that the search may turn. start: of the first trial. log: on a logarithmic scale."""

    start: float
    low: float
    high: float
    log: bool = False

    def ask(self, trial: Any, name: str) -> Any:
        if isinstance(self.start, int):
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class Pick(NamedTuple):
    """One of several values. start: of the first trial."""

    start: Any
    among: tuple[Any, ...]

    def ask(self, trial: Any, name: str) -> Any:
        return trial.suggest_categorical(name, list(self.among))


@dataclass(frozen=True)
class Family:
    """A kind of model.

    library: xgboost, lightgbm, catboost, or sklearn. classifier, regressor: module and class, '' where there is none.
    fixed: settings that are not searched. rounds: the setting that says how many trees are grown, where early stopping
    finds it; most: of them. slow_above: rows from which `auto` leaves it out.
    """

    name: str
    library: str
    view: View
    classifier: str
    regressor: str
    space: Mapping[str, Dial | Pick]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    rounds: str = ""
    most: int = 0
    slow_above: int = 10**9

    def does(self, classifies: bool) -> bool:
        """Whether it can predict classes, or numbers."""
        return bool(self.classifier if classifies else self.regressor)


_DEPTH = Dial(6, 3, 10)
_FOREST = {
    "max_features": Pick("sqrt", ("sqrt", 0.5, 0.8, 1.0)),
    "min_samples_leaf": Dial(1, 1, 20, log=True),
    "max_depth": Pick(None, (None, 8, 16, 24)),
}

_ALL = (
    Family(
        "lightgbm", "lightgbm", "native", "LGBMClassifier", "LGBMRegressor",
        {
            "learning_rate": Dial(0.05, 0.01, 0.2, log=True),
            "num_leaves": Dial(31, 7, 255, log=True),
            "min_data_in_leaf": Dial(20, 2, 100, log=True),
            "feature_fraction": Dial(0.9, 0.4, 1.0),
            "bagging_fraction": Dial(0.9, 0.5, 1.0),
            "lambda_l2": Dial(1e-3, 1e-3, 30.0, log=True),
        },
        fixed={"bagging_freq": 1}, rounds="num_iterations", most=2000,
    ),
    Family(
        "xgboost", "xgboost", "native", "XGBClassifier", "XGBRegressor",
        {
            "learning_rate": Dial(0.05, 0.01, 0.2, log=True),
            "max_depth": _DEPTH,
            "min_child_weight": Dial(1.0, 0.5, 30.0, log=True),
            "subsample": Dial(0.9, 0.5, 1.0),
            "colsample_bytree": Dial(0.9, 0.4, 1.0),
            "reg_lambda": Dial(1.0, 1e-2, 30.0, log=True),
        },
        rounds="n_estimators", most=2000,
    ),
    Family(
        "catboost", "catboost", "native", "CatBoostClassifier", "CatBoostRegressor",
        {
            "learning_rate": Dial(0.08, 0.02, 0.2, log=True),
            "depth": Dial(6, 4, 9),
            "l2_leaf_reg": Dial(3.0, 0.5, 30.0, log=True),
            "random_strength": Dial(1.0, 0.1, 10.0, log=True),
        },
        rounds="iterations", most=1000,
    ),
    Family(
        "extra_trees", "sklearn", "filled", "sklearn.ensemble.ExtraTreesClassifier",
        "sklearn.ensemble.ExtraTreesRegressor", _FOREST, fixed={"n_estimators": 300}, slow_above=50_000,
    ),
    Family(
        "random_forest", "sklearn", "filled", "sklearn.ensemble.RandomForestClassifier",
        "sklearn.ensemble.RandomForestRegressor", _FOREST, fixed={"n_estimators": 300}, slow_above=50_000,
    ),
    Family(
        "gradient_boosting", "sklearn", "filled", "sklearn.ensemble.HistGradientBoostingClassifier",
        "sklearn.ensemble.HistGradientBoostingRegressor",
        {
            "learning_rate": Dial(0.1, 0.01, 0.3, log=True),
            "max_iter": Dial(100, 50, 500, log=True),
            "max_leaf_nodes": Dial(31, 7, 127, log=True),
            "min_samples_leaf": Dial(20, 2, 60, log=True),
            "l2_regularization": Dial(1e-3, 1e-3, 10.0, log=True),
        },
    ),
    Family(
        "neural_net", "torch", "matrix", "nbtrain", "nbtrain",
        {
            "learning_rate": Dial(2e-3, 3e-4, 1e-2, log=True),
            "width": Dial(256, 64, 512, log=True),
            "depth": Dial(2, 1, 4),
            "dropout": Dial(0.1, 0.0, 0.5),
            "weight_decay": Dial(1e-3, 1e-5, 1e-1, log=True),
        },
        rounds="epochs", most=200, slow_above=50_000,
    ),
    Family(
        "mlp", "sklearn", "matrix", "sklearn.neural_network.MLPClassifier", "sklearn.neural_network.MLPRegressor",
        {
            "hidden_layer_sizes": Pick(128, (32, 64, 128, 256)),
            "alpha": Dial(1e-3, 1e-5, 1.0, log=True),
            "learning_rate_init": Dial(2e-3, 3e-4, 1e-2, log=True),
        },
        fixed={"max_iter": 200}, slow_above=50_000,
    ),
    Family(
        "logistic_regression", "sklearn", "matrix", "sklearn.linear_model.LogisticRegression", "",
        {"C": Dial(1.0, 1e-3, 100.0, log=True)}, fixed={"max_iter": 2000},
    ),
    Family(
        "ridge", "sklearn", "matrix", "sklearn.linear_model.RidgeClassifier", "sklearn.linear_model.Ridge",
        {"alpha": Dial(1.0, 1e-3, 1000.0, log=True)},
    ),
    Family("linear_regression", "sklearn", "matrix", "", "sklearn.linear_model.LinearRegression", {}),
    Family(
        "lasso", "sklearn", "matrix", "", "sklearn.linear_model.Lasso",
        {"alpha": Dial(1e-2, 1e-5, 10.0, log=True)}, fixed={"max_iter": 20_000},
    ),
    Family(
        "sgd", "sklearn", "matrix", "sklearn.linear_model.SGDClassifier", "sklearn.linear_model.SGDRegressor",
        {"alpha": Dial(1e-4, 1e-6, 1.0, log=True), "penalty": Pick("l2", ("l2", "l1", "elasticnet"))},
        fixed={"max_iter": 2000},
    ),
    Family(
        "svm", "sklearn", "matrix", "sklearn.svm.SVC", "sklearn.svm.SVR",
        {"C": Dial(1.0, 1e-2, 100.0, log=True), "kernel": Pick("rbf", ("rbf", "linear"))}, slow_above=5_000,
    ),
    Family(
        "knn", "sklearn", "matrix", "sklearn.neighbors.KNeighborsClassifier", "sklearn.neighbors.KNeighborsRegressor",
        {"n_neighbors": Dial(15, 1, 60, log=True), "weights": Pick("distance", ("uniform", "distance"))},
        slow_above=20_000,
    ),
    Family(
        "decision_tree", "sklearn", "filled", "sklearn.tree.DecisionTreeClassifier",
        "sklearn.tree.DecisionTreeRegressor",
        {"max_depth": Dial(6, 1, 15), "min_samples_leaf": Dial(5, 1, 50, log=True)},
    ),
    Family(
        "adaboost", "sklearn", "filled", "sklearn.ensemble.AdaBoostClassifier", "sklearn.ensemble.AdaBoostRegressor",
        {"n_estimators": Dial(100, 30, 300, log=True), "learning_rate": Dial(0.5, 0.05, 2.0, log=True)},
    ),
    Family("naive_bayes", "sklearn", "matrix", "sklearn.naive_bayes.GaussianNB", "",
           {"var_smoothing": Dial(1e-9, 1e-12, 1e-1, log=True)}),
)  # fmt: skip
FAMILIES: Mapping[str, Family] = {family.name: family for family in _ALL}

COMPARED = (
    "lightgbm", "xgboost", "catboost", "extra_trees", "random_forest", "neural_net", "mlp", "logistic_regression",
    "ridge", "knn",
)  # fmt: skip
"""What `auto` compares, in this order."""
TINY = "decision_tree"
