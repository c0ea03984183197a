"""A neural net for tables: one perceptron that stands for several, each with scales of its own on what it shares.

It needs torch, which the tabular extra does not bring. The functions are those of `estimators.Library`.

Source: Gorishniy et al. 2024, TabM, arXiv:2410.24210 (BatchEnsemble with random first scales; the members' mean);
Gorishniy et al. 2022, arXiv:2203.05556 (numbers in piecewise linear parts).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.trainers.tabular.boosters import settled

if TYPE_CHECKING:
    from nbtrain.trainers.tabular.estimators import Fitted, Setting
    from nbtrain.trainers.tabular.families import Family

MEMBERS = 16
_PATIENCE = 16  # epochs without a better loss on the rows aside
_BATCH = 256  # rows
_BINS = 16  # of each column


def build(shape: dict[str, Any], edges: Any = None) -> Any:
    """The module.

    Args:
        shape: inputs, outputs, width, depth, dropout.
        edges: (inputs, bins + 1) rising, the quantiles of each column; None where they are about to be loaded.
    """
    import torch
    from torch import nn

    class Scaled(nn.Module):
        """A layer that the members share, each with its own scale of what goes in and what comes out."""

        def __init__(self, inputs: int, outputs: int, *, first: bool) -> None:
            super().__init__()
            self.linear = nn.Linear(inputs, outputs)
            signs = torch.randint(0, 2, (MEMBERS, inputs)).float() * 2 - 1
            self.before = nn.Parameter(signs if first else torch.ones(MEMBERS, inputs))
            self.after = nn.Parameter(torch.ones(MEMBERS, outputs))
            self.bias = nn.Parameter(torch.zeros(MEMBERS, outputs))

        def forward(self, x: Any) -> Any:
            return self.linear(x * self.before) * self.after + self.bias

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shape = shape
            blank = torch.zeros(shape["inputs"], _BINS + 1)
            self.register_buffer("edges", blank if edges is None else edges)
            sizes = [shape["inputs"] * (_BINS + 1), *[shape["width"]] * shape["depth"]]
            pairs = list(zip(sizes, sizes[1:], strict=False))
            self.layers = nn.ModuleList(Scaled(*pair, first=at == 0) for at, pair in enumerate(pairs))
            self.dropout = nn.Dropout(shape["dropout"])
            # the last layer is each member's own
            self.weight = nn.Parameter(torch.randn(MEMBERS, sizes[-1], shape["outputs"]) / sizes[-1] ** 0.5)
            self.bias = nn.Parameter(torch.zeros(MEMBERS, shape["outputs"]))

        def forward(self, x: Any) -> Any:
            """(rows, inputs) to (rows, members, outputs)."""
            low, high = self.edges[:, :-1], self.edges[:, 1:]
            # how far a value has come through each bin, 0 to 1: a bend may then be at each quantile
            through = ((x.unsqueeze(-1) - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
            x = torch.cat([x.clamp(-5, 5), through.flatten(1)], dim=1).unsqueeze(1).expand(-1, MEMBERS, -1)
            for layer in self.layers:
                x = self.dropout(torch.relu(layer(x)))
            return torch.einsum("rmi,mio->rmo", x, self.weight) + self.bias

    return Net()


@contextmanager
def _ours(setting: Setting) -> Iterator[None]:
    """Our seed and threads inside; outside, torch is as it was."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            yield
    finally:
        torch.set_num_threads(threads)


def fit(family: Family, settings: dict[str, Any], x: Any, y: Any, setting: Setting) -> tuple[Any, int]:
    """A trained net and its epochs; the best ones, where rows are aside to tell."""
    import numpy
    import torch

    early = settled(family, settings, setting)
    outputs = int(y.max()) + 1 if setting.classifies else 1
    shape = {"inputs": x.shape[1], "outputs": outputs} | {
        name: settings[name] for name in ("width", "depth", "dropout")
    }
    rows, targets = _tensors(x, y, setting)
    held = _tensors(*setting.held, setting) if early and setting.held else None
    with _ours(setting):
        quantiles = numpy.quantile(x, numpy.linspace(0, 1, _BINS + 1), axis=0).T
        net = build(shape, torch.tensor(quantiles, dtype=torch.float32).contiguous())
        rate, decay = settings["learning_rate"], settings["weight_decay"]
        optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
        best, kept, epochs = float("inf"), None, 0
        for epoch in range(1, settings[family.rounds] + 1):
            _epoch(net, optimizer, rows, targets, setting)
            if held is None:
                epochs = epoch
            else:
                loss = _loss(net.eval()(held[0]), held[1], setting).item()
                if loss < best:
                    best, epochs = loss, epoch
                    kept = {name: value.clone() for name, value in net.state_dict().items()}
                elif epoch - epochs >= _PATIENCE:
                    break
            if setting.halt():
                break
        if kept is not None:
            net.load_state_dict(kept)
    return net.eval(), max(epochs, 1)


def _tensors(x: Any, y: Any, setting: Setting) -> tuple[Any, Any]:
    import torch

    return torch.tensor(x, dtype=torch.float32), torch.tensor(
        y, dtype=torch.int64 if setting.classifies else torch.float32
    )


def _epoch(net: Any, optimizer: Any, rows: Any, targets: Any, setting: Setting) -> None:
    import torch

    net.train()
    for batch in torch.randperm(len(rows)).split(_BATCH):
        optimizer.zero_grad()
        _loss(net(rows[batch]), targets[batch], setting).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()


def _loss(found: Any, targets: Any, setting: Setting) -> Any:
    """The mean of the members' own losses: each learns by itself."""
    from torch.nn import functional

    count = found.shape[1]
    if setting.classifies:
        return functional.cross_entropy(found.flatten(0, 1), targets.repeat_interleave(count))
    return functional.mse_loss(found.squeeze(-1), targets.unsqueeze(1).expand(-1, count))


def ask(fitted: Fitted, x: Any) -> Any:
    """(rows, classes) probabilities, or (rows,) numbers: the members' mean."""
    import torch

    with torch.no_grad():
        found = fitted.model(torch.tensor(x, dtype=torch.float32))
        return (found.softmax(-1).mean(1) if fitted.classes else found.mean(1).squeeze(-1)).double().numpy()


def save(fitted: Fitted, path: Path) -> None:
    """safetensors, with the net's shape in its head."""
    from safetensors.torch import save_file

    save_file(fitted.model.state_dict(), path, metadata={"shape": json.dumps(fitted.model.shape)})


def load(path: Path, classifies: bool) -> Any:
    """The net again."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, "np") as file:
        shape = json.loads(file.metadata()["shape"])
    net = build(shape)
    net.load_state_dict(load_file(path))
    return net.eval()
