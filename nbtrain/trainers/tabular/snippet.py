"""Python that opens a saved model without nbtrain, for the card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nbtrain.trainers.tabular import saving, scikit
from nbtrain.trainers.tabular.families import FAMILIES

_OURS = """\
from nbtrain import Run

print(Run({run!r}).predict("new_rows.csv"))"""
_KINDS = {
    "number": """\
    if column["kind"] == "number":
        table[column["name"]] = pandas.to_numeric(values, errors="coerce").astype(float)""",
    "date": """\
    if column["kind"] == "date":
        moments = pandas.to_datetime(values, format=column["format"] or None, errors="coerce", utc=True)
        days = (moments - pandas.Timestamp(0, tz="UTC")) / pandas.Timedelta(days=1)
        for part in column["parts"]:
            table[f"{column['name']} {part}"] = days if part == "days" else getattr(moments.dt, part)""",
    "category": """\
    if column["kind"] in ("category", "text"):
        table[column["name"]] = values.fillna("").astype(str).str.strip().astype(object)""",
}
_OPEN = {
    "xgboost": """\
def open_xgboost(name):
    model = xgboost.XGB{kind}()
    model.load_model(folder / name)
    return model""",
    "lightgbm": """\
def open_lightgbm(name):
    return lightgbm.Booster(model_file=str(folder / name))""",
    "catboost": """\
def open_catboost(name):
    return catboost.CatBoost{kind}().load_model(str(folder / name))


def with_codes(x):  # CatBoost takes a category as a whole number
    frame = pandas.DataFrame(x)
    for at in {codes}:
        frame[at] = numpy.nan_to_num(x[:, at], nan=-1).astype("int64")
    return frame""",
    "sklearn": """\
def open_sklearn(name):
    return skops.io.load(folder / name, trusted=trusted)""",
}
_MARGINS = ("ridge", "svm")  # classifiers without probabilities


def usage(folder: Path) -> tuple[str, str]:
    """The hub's name of the library of the weightiest model, and the code; where no short code does it, by nbtrain."""
    about = saving.recipe(folder)
    libraries = list(dict.fromkeys(FAMILIES[member["family"]].library for member in about["members"]))
    weightiest = max(about["members"], key=lambda member: member["weight"])
    if "torch" in libraries or not _is_plain(about):
        return "nbtrain", _OURS.format(run=folder.parent.name)
    library = FAMILIES[weightiest["family"]].library
    return library, "\n".join(_lines(about, folder, libraries))


def _is_plain(about: Mapping[str, Any]) -> bool:
    """Whether each model is in a file, and knows every class."""
    widths = [len(target["classes"]) for target in about["targets"]]
    models = [pair for member in about["members"] for pair in zip(member["models"], widths, strict=True)]
    return all(model["file"] and len(model["classes"]) == width for model, width in models)


def _lines(about: Mapping[str, Any], folder: Path, libraries: list[str]) -> Iterator[str]:
    kinds = {"category" if column["kind"] == "text" else column["kind"] for column in about["columns"]}
    views = sorted({FAMILIES[member["family"]].view for member in about["members"]})
    skops_needs = scikit.needs([path for path in sorted(folder.glob("*.skops"))])
    kind = "Classifier" if about["targets"][0]["classes"] else "Regressor"
    codes = next(
        (list(each["models"][0]["categories"]) for each in about["members"] if each["family"] == "catboost"), []
    )
    yield "import json"
    yield "from pathlib import Path"
    yield ""
    yield from (f"import {name}" for name in sorted({"numpy", "pandas", "skops.io", *libraries} - {"sklearn"}))
    yield ""
    yield f"folder = Path({str(folder.relative_to(folder.parent.parent))!r})"
    yield 'recipe = json.loads((folder / "recipe.json").read_text())'
    yield 'frame = pandas.read_csv("new_rows.csv")'
    yield "table = pandas.DataFrame(index=frame.index)"
    yield 'for column in recipe["columns"]:'
    yield '    values = frame[column["name"]]'
    yield from (_KINDS[each] for each in _KINDS if each in kinds)
    yield f"trusted = {list(skops_needs)!r}"
    for view in views:
        yield f'{view} = skops.io.load(folder / "prepare-{view}.skops", trusted=trusted).transform(table).astype(float)'
    for library in libraries:
        yield f"\n\n{_OPEN[library].format(kind=kind, codes=codes)}"
    yield "\n"
    for at, target in enumerate(about["targets"]):
        terms = [_term(member, member["models"][at], len(target["classes"])) for member in about["members"]]
        yield f"found = {' + '.join(terms)}"
        if target["classes"]:
            yield f'classes = recipe["targets"][{at}]["classes"]'
            yield "print([classes[place] for place in found.argmax(axis=1)])"
        else:
            yield "print(found)"


def _term(member: Mapping[str, Any], model: Mapping[str, Any], width: int) -> str:
    """What one model says, times its weight."""
    family = FAMILIES[member["family"]]
    opened = f"open_{family.library}({model['file']!r})"
    rows = f"with_codes({family.view})" if family.library == "catboost" else family.view
    if width and family.library in ("xgboost", "catboost", "sklearn"):
        said = f"{opened}.predict_proba({rows})"
        if family.name in _MARGINS:
            said = f"numpy.eye({width})[{opened}.predict({rows}).astype(int)]"
    else:
        said = f"{opened}.predict({rows})"
        if width == 2:
            said = f"numpy.stack([1 - (p := {said}), p], axis=1)"
        if (model["scale"], model["shift"]) != (1.0, 0.0):
            said = f"({said} * {model['scale']!r} + {model['shift']!r})"
    return said if member["weight"] == 1 else f"{member['weight']!r} * {said}"
