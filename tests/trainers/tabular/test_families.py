"""Each family learns, is kept in a format of its own without code, and comes back to the bit."""

import json

import numpy
import pytest

from nbtrain import trainers
from nbtrain.errors import MissingExtra, ModelError, ParamError
from nbtrain.trainers.tabular import estimators, scikit
from nbtrain.trainers.tabular.families import FAMILIES

SMALL = {
    "lightgbm": {"num_iterations": 30, "min_data_in_leaf": 5, "learning_rate": 0.2},
    "xgboost": {"n_estimators": 30, "learning_rate": 0.3},
    "catboost": {"iterations": 40},
    "extra_trees": {"n_estimators": 20},
    "random_forest": {"n_estimators": 20},
    "neural_net": {"epochs": 20, "width": 64},
    "mlp": {"max_iter": 100},
    "adaboost": {"n_estimators": 20},
    "gradient_boosting": {"max_iter": 40, "min_samples_leaf": 5},
}


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name].classifier])
def test_a_family_tells_classes_apart(trained, flowers, name, monkeypatch, capsys):
    if name == "neural_net":
        pytest.importorskip("torch")
    if name == "naive_bayes":  # it takes the column of a rare category for a bell curve, a very narrow one
        flowers = flowers[["size", "noise", "target"]]
    run = trained(flowers, model=name, num_trials=1, model_params=SMALL.get(name), valid_fraction=0.25)
    assert run.metrics["accuracy"] > 0.75
    assert not [path for path in run.folder.model.rglob("*") if path.suffix in (".pkl", ".joblib", ".pickle", ".pt")]
    assert_usable_without_us(run, flowers, monkeypatch, capsys)


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name].regressor])
def test_a_family_predicts_two_numbers(trained, prices, name):
    if name == "neural_net":
        pytest.importorskip("torch")
    targets = ["price", "cost"]
    options = {"num_trials": 1, "model_params": SMALL.get(name), "target_columns": targets, "task": "regression"}
    run = trained(prices, model=name, **options)
    assert run.metrics["r2"] > 0.6
    said = run.predict(prices.head(3))
    assert [sorted(row) for row in said] == [sorted(targets)] * 3


def assert_usable_without_us(run, frame, monkeypatch, capsys):
    """The card's code gives the predictions of the run."""
    monkeypatch.chdir(run.path.parent)
    frame.head(20).to_csv("new_rows.csv", index=False)
    library, code = trainers.load("tabular").usage(run.params, run.folder.model)
    assert code in run.folder.card.read_text() and ("import nbtrain" in code or "from nbtrain" in code) == (
        library == "nbtrain"
    )
    if library == "nbtrain":
        monkeypatch.chdir(run.path.parent.parent)
        frame.head(20).to_csv("new_rows.csv", index=False)
    capsys.readouterr()
    exec(code, {})
    assert capsys.readouterr().out.strip() == str(run.predict("new_rows.csv"))


def test_a_family_that_does_not_do_the_task_is_refused(trained, prices, flowers):
    with pytest.raises(ParamError, match="logistic_regression does no regression; those that do: .*ridge"):
        trained(prices, model="logistic_regression", task="regression", target_columns="price")
    with pytest.raises(ParamError, match="lasso does no classification"):
        trained(flowers, model="lasso")


def test_a_library_that_is_not_here_is_told_with_its_line(trained, flowers, monkeypatch):
    monkeypatch.setattr(estimators, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        trained(flowers, model="catboost")
    assert caught.value.fix == "pip install catboost"


def test_a_class_that_a_part_of_the_rows_lacks_gets_no_probability():
    x, y = numpy.random.default_rng(0).normal(size=(40, 3)), numpy.arange(40) % 2 * 2.0  # classes 0 and 2 of three
    for name in ("xgboost", "lightgbm", "knn"):
        fitted = estimators.fit(FAMILIES[name], SMALL.get(name, {}), x, y, estimators.Setting(True, 0, 1))
        found = fitted.predict(x, 3)
        assert found.shape == (40, 3) and (found[:, 1] == 0).all()
        assert found.sum(axis=1) == pytest.approx(numpy.ones(40))
    alone = estimators.fit(FAMILIES["xgboost"], {}, x, numpy.full(40, 1.0), estimators.Setting(True, 0, 1))
    assert (alone.predict(x, 3) == [0, 1, 0]).all()


def test_a_file_with_other_things_in_it_is_not_opened(tmp_path):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    scikit.dump(make_pipeline(FunctionTransformer(numpy.save)), tmp_path / "part.skops")
    with pytest.raises(ModelError, match="numpy"):
        scikit.load(tmp_path / "part.skops")


def test_a_damaged_model_is_told(trained, flowers):
    run = trained(flowers, model="xgboost", num_trials=1, model_params=SMALL["xgboost"])
    (run.folder.model / "xgboost.ubj").write_bytes(b"no model")
    with pytest.raises(ModelError, match="xgboost.ubj cannot be opened"):
        run.predict(flowers)
    recipe = json.loads((run.folder.model / "recipe.json").read_text())
    assert recipe["members"][0]["settings"]["n_estimators"] == 30
