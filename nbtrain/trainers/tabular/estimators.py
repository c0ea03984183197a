"""One model for one target, of any library: fitted, asked, saved in the library's own format and opened again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nbtrain.errors import MissingExtra, ModelError
from nbtrain.trainers.tabular import boosters, net, scikit
from nbtrain.trainers.tabular.families import Family

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]


@dataclass(frozen=True)
class Setting:
    """How a model is fitted.

    classifies: whether `y` holds places of classes. categories: columns of codes. held: (x, y) on which the number of
    rounds is found, where the settings do not say it. halt: asked after each round; True ends the fit with those done.
    """

    classifies: bool
    seed: int
    threads: int
    categories: tuple[int, ...] = ()
    held: tuple[Array, Array] | None = None
    halt: Callable[[], bool] = field(default=lambda: False)


class Library(NamedTuple):
    """What is asked of a library.

    fit(family, settings, x, y, setting) gives (model, rounds or None); ask(fitted, x) probabilities or numbers;
    save(fitted, path) writes; load(path, classifies) gives the model again. ending: of its files.
    """

    fit: Callable[..., tuple[Any, int | None]]
    ask: Callable[..., Any]
    save: Callable[..., None]
    load: Callable[[Path, bool], Any]
    ending: str


LIBRARIES: Mapping[str, Library] = {
    "xgboost": Library(
        boosters.fit_xgboost, boosters.ask_xgboost, boosters.save_xgboost, boosters.load_xgboost, ".ubj"
    ),
    "lightgbm": Library(
        boosters.fit_lightgbm, boosters.ask_lightgbm, boosters.save_lightgbm, boosters.load_lightgbm, ".txt"
    ),
    "catboost": Library(
        boosters.fit_catboost, boosters.ask_catboost, boosters.save_catboost, boosters.load_catboost, ".cbm"
    ),
    "sklearn": Library(scikit.fit, scikit.ask, scikit.save, scikit.load_model, ".skops"),
    "torch": Library(net.fit, net.ask, net.save, net.load, ".safetensors"),
}


@dataclass(frozen=True)
class Fitted:
    """A fitted model.

    classes: places of the classes it has seen, in its order; () where it predicts numbers. rounds: trees or epochs,
    where it has such. shift, scale: of the numbers it predicts. categories: columns of codes.
    """

    family: Family
    model: Any
    classes: tuple[int, ...] = ()
    rounds: int | None = None
    shift: float = 0.0
    scale: float = 1.0
    categories: tuple[int, ...] = ()

    def predict(self, x: Array, width: int) -> Array:
        """(rows, width): the probability of each class, or one number."""
        import numpy

        ask = LIBRARIES[self.family.library].ask
        if not self.classes:
            return numpy.asarray(ask(self, x), dtype="float64").reshape(-1, 1) * self.scale + self.shift
        found = numpy.zeros((len(x), width))
        found[:, list(self.classes)] = ask(self, x) if self.model is not None else 1.0
        return found

    def save(self, path: Path) -> None:
        """Write the model in its library's own format, never as a pickle."""
        LIBRARIES[self.family.library].save(self, path)

    def opened(self, path: Path) -> Fitted:
        """The same with the model that `save` wrote.

        Raises:
            ModelError: the file cannot be opened, or holds more than a model of ours.
            MissingExtra: its library is not installed.
        """
        require(self.family)
        try:
            return replace(self, model=LIBRARIES[self.family.library].load(path, bool(self.classes)))
        except ModelError:
            raise
        except Exception as error:  # each library has errors of its own
            why = f"{type(error).__name__}: {str(error).strip()[:200]}"
            raise ModelError(f"{path.name} cannot be opened.", where=str(path), why=why, fix="Copy it again.") from None


def fit(family: Family, settings: Mapping[str, Any], x: Array, y: Array, setting: Setting) -> Fitted:
    """Fit a model of this family.

    Args:
        settings: by the library's own names.
        x: (rows, columns) of the family's view. y: (rows,) places of classes, or values.
    """
    import numpy

    shift, scale = 0.0, 1.0
    if setting.classifies:
        classes = tuple(numpy.unique(y).astype(int).tolist())
        if len(classes) == 1:
            return Fitted(family, None, classes)
        # every library wants its classes to be 0, 1, 2 ..., and a part of the rows may lack one
        y = numpy.searchsorted(classes, y)
        if setting.held is not None:
            known = numpy.isin(setting.held[1], classes)
            held = (setting.held[0][known], numpy.searchsorted(classes, setting.held[1][known]))
            setting = replace(setting, held=held if known.any() else None)
    else:
        classes = ()
        if family.view == "matrix":
            # a model of scaled columns learns a scaled target: penalties and learning rates then fit any unit
            shift, scale = float(y.mean()), float(y.std()) or 1.0
        y = (y - shift) / scale
        if setting.held is not None:
            setting = replace(setting, held=(setting.held[0], (setting.held[1] - shift) / scale))
    model, rounds = LIBRARIES[family.library].fit(family, dict(settings), x, y, setting)
    return Fitted(family, model, classes, rounds, shift, scale, setting.categories)


def is_here(family: Family) -> bool:
    """Whether the family's library is installed; nothing is imported."""
    wanted = ("torch", "safetensors") if family.library == "torch" else (family.library,)
    return all(find_spec(name) is not None for name in wanted)


def require(family: Family) -> None:
    """See that the family's library is here.

    Raises:
        MissingExtra: it is not; the line that installs it is told.
    """
    if not is_here(family):
        package = {"torch": "torch safetensors", "sklearn": "scikit-learn"}.get(family.library, family.library)
        what = f"The model {family.name} needs {family.library}, which is not installed."
        raise MissingExtra(what, fix=f"pip install {package}")
