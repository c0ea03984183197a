"""What a run leaves: models in their libraries' formats, preparers with skops, and a recipe that says what is what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain import __version__
from nbtrain.errors import ModelError
from nbtrain.trainers.tabular import estimators, kinds, scikit
from nbtrain.trainers.tabular.estimators import Fitted
from nbtrain.trainers.tabular.families import FAMILIES, Family
from nbtrain.trainers.tabular.goals import Goal, Target
from nbtrain.trainers.tabular.kinds import Column

if TYPE_CHECKING:
    import numpy
    import pandas

    Array = numpy.ndarray[Any, Any]

RECIPE = "recipe.json"


@dataclass(frozen=True)
class Member:
    """A family's part. weight: of all members 1 together. models: one a target."""

    family: Family
    weight: float
    settings: Mapping[str, Any]
    models: tuple[Fitted, ...]


@dataclass(frozen=True)
class Predictor:
    """All that turns a row into a prediction. preparers: by view, fitted."""

    goal: Goal
    columns: tuple[Column, ...]
    preparers: Mapping[str, Any]
    members: tuple[Member, ...]

    def of_table(self, table: pandas.DataFrame) -> Array:
        """(rows, goal.width), of a typed table: probabilities or numbers."""
        import numpy

        views = {view: preparer.transform(table).astype("float64") for view, preparer in self.preparers.items()}
        found = numpy.zeros((len(table), self.goal.width))
        for member in self.members:
            found += member.weight * self.of_member(member, views[member.family.view])
        return found

    def of_member(self, member: Member, x: Array) -> Array:
        """The same, of one member alone, on its own view."""
        import numpy

        widths = [target.width for target in self.goal.targets]
        return numpy.hstack([model.predict(x, width) for model, width in zip(member.models, widths, strict=True)])

    def of_rows(self, frame: pandas.DataFrame) -> Array:
        """The same, of rows as a user has them.

        Raises:
            DataError: a column is missing.
        """
        return self.of_table(kinds.typed(frame, self.columns))

    def said(self, found: Array) -> list[Any]:
        """Predictions in the data's own words: a class or a number a row; a dict of them where there are several."""
        columns = []
        for target, where in zip(self.goal.targets, self.goal.slices(), strict=True):
            if target.classes:
                columns.append([target.classes[place] for place in found[:, where].argmax(axis=1)])
            else:
                columns.append([float(value) for value in found[:, where.start]])
        if len(columns) == 1:
            return columns[0]
        names = [target.name for target in self.goal.targets]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def chances(self, found: Array) -> list[Any]:
        """Class to probability, a row; a dict of such by target where there are several."""
        rows = []
        for row in found:
            told = {
                target.name: {str(value): float(share) for value, share in zip(target.classes, row[where], strict=True)}
                for target, where in zip(self.goal.targets, self.goal.slices(), strict=True)
            }
            rows.append(told if len(told) > 1 else next(iter(told.values())))
        return rows


def save(predictor: Predictor, folder: Path) -> None:
    """Write all parts; the recipe last, so that a folder without it is no model."""
    folder.mkdir(parents=True, exist_ok=True)
    for view, preparer in predictor.preparers.items():
        scikit.dump(preparer, folder / f"prepare-{view}.skops")
    members = []
    for member in predictor.members:
        models = []
        for at, model in enumerate(member.models):
            many = f"-{at + 1}" if len(member.models) > 1 else ""
            name = f"{member.family.name}{many}{estimators.LIBRARIES[member.family.library].ending}"
            if model.model is not None:
                model.save(folder / name)
            about = {name: getattr(model, name) for name in ("classes", "rounds", "shift", "scale", "categories")}
            models.append({"file": name if model.model is not None else None, **about})
        members.append(
            {"family": member.family.name, "weight": member.weight, "settings": member.settings} | {"models": models}
        )
    recipe = {
        "nbtrain": __version__,
        "kind": predictor.goal.kind,
        "targets": [asdict(target) for target in predictor.goal.targets],
        "columns": [asdict(column) for column in predictor.columns],
        "views": list(predictor.preparers),
        "members": members,
    }
    (folder / RECIPE).write_text(json.dumps(recipe, indent=1, ensure_ascii=False), encoding="utf-8")


def recipe(folder: Path) -> dict[str, Any]:
    """What `save` wrote of the parts.

    Raises:
        ModelError: it is not there, or not whole.
    """
    try:
        found = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no model of this room.", why=str(error), fix="Name a finished run.") from None
    return dict(found)


def opened(folder: Path) -> Predictor:
    """What `save` wrote, ready to predict.

    Raises:
        ModelError: a part is missing, damaged, or holds more than a model of ours.
        MissingExtra: the library of a part is not installed.
    """
    about = recipe(folder)
    targets = tuple(Target(each["name"], tuple(each["classes"])) for each in about["targets"])
    columns = tuple(Column(**{**each, "parts": tuple(each["parts"])}) for each in about["columns"])
    preparers = {view: scikit.load(folder / f"prepare-{view}.skops") for view in about["views"]}
    members = tuple(_member(each, folder) for each in about["members"])
    return Predictor(Goal(about["kind"], targets), columns, preparers, members)


def _member(about: Mapping[str, Any], folder: Path) -> Member:
    family = FAMILIES[about["family"]]
    return Member(
        family, about["weight"], about["settings"], tuple(_model(each, family, folder) for each in about["models"])
    )


def _model(about: Mapping[str, Any], family: Family, folder: Path) -> Fitted:
    lists: dict[str, Sequence[int]] = {name: tuple(about[name]) for name in ("classes", "categories")}
    blank = Fitted(family, None, rounds=about["rounds"], shift=about["shift"], scale=about["scale"], **lists)  # type: ignore[arg-type]
    return blank.opened(folder / about["file"]) if about["file"] else blank


def verify(predictor: Predictor, folder: Path, table: pandas.DataFrame) -> None:
    """Open what was saved and compare what it says to these rows.

    Raises:
        ModelError: it says something else.
    """
    import numpy

    again = opened(folder).of_table(table)
    if not numpy.array_equal(again, predictor.of_table(table)):
        what = "The saved model does not say what the trained one says."
        raise ModelError(
            what, where=str(folder), fix="Tell us: this is a fault of nbtrain, or of a library's file format."
        )
