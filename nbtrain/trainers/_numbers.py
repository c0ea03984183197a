"""Numbers as a model has them: scaled to be learnt, measured and told in their own unit. For texts as for pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nbtrain.errors import DataError
from nbtrain.evaluate import figures
from nbtrain.evaluate import numbers as measures

SHOWN = 4  # rows that the model is most mistaken about
_LISTED = 5  # targets whose spread is shown


@dataclass(frozen=True)
class Numbers:
    """What is guessed.

    names: of the targets. middle, spread: of each; what is trained is (number - middle) / spread.
    """

    names: tuple[str, ...]
    middle: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[Sequence[float]], names: Sequence[str], *, scale: bool) -> Self:
        """Those of the rows that are trained on.

        Args:
            values: by row, one number a target. scale: whether what is trained has mean 0 and standard deviation 1.

        Raises:
            DataError: a target is the same in all rows.
        """
        import numpy

        table = numpy.asarray(values, dtype=float)
        for name, column in zip(names, table.T, strict=True):
            if (column == column[0]).all():
                what = f"Column {name} is {column[0]:g} in every row that is trained on: there is nothing to learn."
                raise DataError(what, fix="Name another column: --target-column.")
        middle, spread = (table.mean(0), table.std(0)) if scale else (table[0] * 0, table[0] * 0 + 1)
        return cls(tuple(names), tuple(middle.tolist()), tuple(spread.tolist()))

    def describe(self, config: Any) -> None:
        """Write the targets into the config of the model, in their order."""
        config.num_labels = len(self.names)
        config.id2label = dict(enumerate(self.names))
        config.label2id = {name: at for at, name in enumerate(self.names)}
        config.problem_type = "regression"

    def targets(self, values: list[Any]) -> Any:
        """The numbers of some rows, as they are trained: (rows,) floats, (rows, targets) where there are several."""
        import torch

        scaled = (self.expected(values) - self.middle) / self.spread
        return torch.tensor(scaled, dtype=torch.float32).squeeze(-1 if len(self.names) == 1 else ())

    def expected(self, values: list[Any]) -> Any:
        """(rows, targets) floats in their own unit."""
        import numpy

        return numpy.asarray(values, dtype=float)

    def own(self, found: Sequence[Any]) -> Any:
        """What the model in training says, as (rows, targets) floats in their own unit."""
        import numpy

        return numpy.stack(found).astype(float) * self.spread + self.middle

    def measure(self, expected: Any, found: Sequence[Any]) -> dict[str, float]:
        """The metrics of an evaluation, in the unit of the targets."""
        return measures.measure(expected, self.own(found))

    def worst(self, expected: Any, found: Sequence[Any], count: int = SHOWN) -> Iterator[tuple[int, Mapping[str, str]]]:
        """The rows that the model is most mistaken about: (row, what it says, as a sample)."""
        said = self.own(found)
        mistaken = (abs(said - expected[: len(said)]) / self.spread).mean(1)
        for at in (-mistaken).argsort(kind="stable")[:count]:
            yield int(at), {"output": self._told(said[at]), "expected": self._told(expected[at])}

    def _told(self, values: Any) -> str:
        if len(self.names) == 1:
            return f"{values[0]:.4g}"
        return ", ".join(f"{name} {value:.4g}" for name, value in zip(self.names, values, strict=True))

    def report(self, expected: Any, found: Sequence[Any], folder: Path) -> dict[str, Any]:
        """Tables for the report, and their figures in `folder`."""
        said = self.own(found)
        figures.residuals(expected, said, self.names, folder / "residuals.png")
        return {"targets": measures.by_target(expected, said, self.names)}

    def fold(self, model: Any) -> None:
        """Change the last layer of the trained model, so that it answers in the unit of the targets.

        A layer without a bias cannot; then the config says what `answers` has to do.
        """
        import torch

        last = _last_layer(model, len(self.names))
        if last is None or last.bias is None:
            model.config.target_middle, model.config.target_spread = list(self.middle), list(self.spread)
            return
        middle, spread = (torch.tensor(part).to(last.weight) for part in (self.middle, self.spread))
        with torch.no_grad():
            last.weight.mul_(spread[:, None])
            last.bias.mul_(spread).add_(middle)


def _last_layer(model: Any, outputs: int) -> Any:
    """The trained layer that gives the outputs, None where the model ends in something else."""
    import torch

    layers = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == outputs and module.weight.requires_grad
    ]
    return layers[-1] if layers else None


def answers(config: Any, logits: Any) -> list[float | dict[str, float]]:
    """What a saved model says: a number for each row, or a number for each target.

    Args:
        config: of the model. logits: (rows, targets) floats.
    """
    names = [config.id2label[at] for at in range(config.num_labels)]
    if len(names) == 1:
        return [float(row[0]) for row in in_own_unit(config, logits)]
    return [dict(zip(names, map(float, row), strict=True)) for row in in_own_unit(config, logits)]


def in_own_unit(config: Any, logits: Any) -> Any:
    """What a saved model says, in the unit of its targets: (rows, targets) floats."""
    return logits * getattr(config, "target_spread", 1.0) + getattr(config, "target_middle", 0.0)


def spoken(path: Path) -> str:
    """Python that shows what the model saved in `path` says to `tokens`."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    said = "model(**tokens).logits[0]"
    if "target_spread" in config:
        said = f"{said} * torch.tensor(model.config.target_spread) + torch.tensor(model.config.target_middle)"
    code = (
        f"said = {said}\nprint({{model.config.id2label[at]: round(value.item(), 4) for at, value in enumerate(said)}})"
    )
    return f"import torch\n\n{code}" if "torch.tensor" in code else code


def spread(values: Mapping[str, Sequence[Sequence[float]]], names: Sequence[str]) -> list[str]:
    """Lines: each target with its mean, its spread and its ends, by split."""
    import numpy

    lines = ["Targets:"]
    for at, name in enumerate(names[:_LISTED]):
        parts = []
        for split, rows in values.items():
            column = numpy.asarray(rows, dtype=float)[:, at]
            ends = f"{column.min():.4g} to {column.max():.4g}"
            parts.append(f"{split} {column.mean():.4g} ± {column.std():.4g}, {ends}")
        lines.append(f"  {name}: {'; '.join(parts)}")
    return lines
