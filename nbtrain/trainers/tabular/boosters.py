"""XGBoost, LightGBM and CatBoost: fitted on categories and gaps as they are, kept in their own formats.

The functions are those of `estimators.Library`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbtrain.trainers.tabular.estimators import Fitted, Setting
    from nbtrain.trainers.tabular.families import Family

PATIENCE = 50  # trees without a better value on the rows aside
_PLAIN = 100  # trees, where nothing says how many


def settled(family: Family, settings: dict[str, Any], setting: Setting) -> bool:
    """Put the number of rounds into `settings`; whether it is the most there may be, and the best is to be found."""
    early = setting.held is not None and family.rounds not in settings
    settings.setdefault(family.rounds, family.most if early else _PLAIN)
    return early


def fit_xgboost(family: Family, settings: dict[str, Any], x: Any, y: Any, setting: Setting) -> tuple[Any, int]:
    """An XGBClassifier or XGBRegressor."""
    import xgboost

    class Halt(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, *_: Any) -> bool:
            return setting.halt()

    early = settled(family, settings, setting)
    kind = xgboost.XGBClassifier if setting.classifies else xgboost.XGBRegressor
    if setting.categories:
        codes = set(setting.categories)
        given = {"feature_types": ["c" if at in codes else "q" for at in range(x.shape[1])], "enable_categorical": True}
        settings = given | settings
    stop = {"early_stopping_rounds": PATIENCE} if early else {}
    stop |= {"n_jobs": setting.threads, "random_state": setting.seed}
    model = kind(**{**stop, **settings}, callbacks=[Halt()])
    model.fit(x, y, eval_set=[setting.held] if early else None, verbose=False)
    model.set_params(callbacks=None)
    return model, model.best_iteration + 1 if early else model.get_booster().num_boosted_rounds()


def ask_xgboost(fitted: Fitted, x: Any) -> Any:
    """Probabilities or numbers."""
    return fitted.model.predict_proba(x) if fitted.classes else fitted.model.predict(x)


def save_xgboost(fitted: Fitted, path: Path) -> None:
    """UBJSON."""
    fitted.model.save_model(path)


def load_xgboost(path: Path, classifies: bool) -> Any:
    """The estimator again."""
    import xgboost

    model = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
    model.load_model(path)
    return model


def fit_lightgbm(family: Family, settings: dict[str, Any], x: Any, y: Any, setting: Setting) -> tuple[Any, int]:
    """A Booster; the classes of the library's estimators are not to be had back from its files."""
    import lightgbm

    def halt(env: Any) -> None:
        if setting.halt():
            raise lightgbm.callback.EarlyStopException(env.iteration, env.evaluation_result_list or [])

    early = settled(family, settings, setting)
    rounds = settings.pop(family.rounds)
    given = {"verbosity": -1, "seed": setting.seed, "num_threads": setting.threads}
    given |= {"deterministic": True, "force_col_wise": True, "objective": "regression"}
    if setting.classifies:
        count = int(y.max()) + 1
        given |= {"objective": "binary"} if count == 2 else {"objective": "multiclass", "num_class": count}
    codes = list(setting.categories)
    train = lightgbm.Dataset(x, y, categorical_feature=codes, params={"verbosity": -1})
    held = [lightgbm.Dataset(*setting.held, reference=train)] if early and setting.held else []
    calls = [halt, *([lightgbm.early_stopping(PATIENCE, verbose=False)] if early else [])]
    model = lightgbm.train({**given, **settings}, train, num_boost_round=rounds, valid_sets=held, callbacks=calls)
    best = model.best_iteration if early and model.best_iteration > 0 else model.current_iteration()
    return model, max(best, 1)


def ask_lightgbm(fitted: Fitted, x: Any) -> Any:
    """Probabilities or numbers."""
    import numpy

    found = fitted.model.predict(x, num_iteration=fitted.rounds)
    return numpy.column_stack([1 - found, found]) if fitted.classes and found.ndim == 1 else found


def save_lightgbm(fitted: Fitted, path: Path) -> None:
    """LightGBM's text."""
    fitted.model.save_model(str(path), num_iteration=fitted.rounds)


def load_lightgbm(path: Path, classifies: bool) -> Any:
    """The Booster again."""
    import lightgbm

    return lightgbm.Booster(model_file=str(path))


def fit_catboost(family: Family, settings: dict[str, Any], x: Any, y: Any, setting: Setting) -> tuple[Any, int]:
    """A CatBoostClassifier or CatBoostRegressor."""
    import catboost

    class Halt:
        def after_iteration(self, info: Any) -> bool:
            return not setting.halt()

    early = settled(family, settings, setting)
    kind = catboost.CatBoostClassifier if setting.classifies else catboost.CatBoostRegressor
    given = {"thread_count": setting.threads, "random_seed": setting.seed, "logging_level": "Silent"}
    given |= {"allow_writing_files": False} | ({"od_type": "Iter", "od_wait": PATIENCE} if early else {})
    model, codes = kind(**{**given, **settings}), setting.categories
    held = (_with_codes(setting.held[0], codes), setting.held[1]) if early and setting.held else None
    model.fit(_with_codes(x, codes), y, cat_features=list(codes) or None, eval_set=held, callbacks=[Halt()])
    return model, model.tree_count_


def _with_codes(x: Any, codes: tuple[int, ...]) -> Any:
    """CatBoost takes a category as a whole number; one never seen is -1."""
    import numpy
    import pandas

    if not codes:
        return x
    frame = pandas.DataFrame(x)
    for at in codes:
        frame[at] = numpy.nan_to_num(x[:, at], nan=-1).astype("int64")
    return frame


def ask_catboost(fitted: Fitted, x: Any) -> Any:
    """Probabilities or numbers."""
    table = _with_codes(x, fitted.categories)
    return fitted.model.predict_proba(table) if fitted.classes else fitted.model.predict(table)


def save_catboost(fitted: Fitted, path: Path) -> None:
    """CatBoost's binary."""
    fitted.model.save_model(str(path))


def load_catboost(path: Path, classifies: bool) -> Any:
    """The estimator again."""
    import catboost

    model = catboost.CatBoostClassifier() if classifies else catboost.CatBoostRegressor()
    return model.load_model(str(path))
