"""The model card: README.md of a run folder, as the hub shows it. Names and values in it are text, never Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nbtrain import __version__, redact, trainers
from nbtrain.export import inside
from nbtrain.params import Params
from nbtrain.plain import visible
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.record import Record

CARD = """\
---
{facts}---

# {name}

{summary}

## Use

{use}

## Results

{results}

## Parameters

{parameters}

All others are nbtrain's defaults. {trained} `train.py` beside this card trains the same again{apart}.
"""
_OF_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?")
_LONGEST = 400  # letters of one value: a card is read, and a system prompt can be pages


def card(params: Params, record: Record, folder: RunFolder) -> str:
    """The card of what `folder` holds.

    Args:
        params: what was asked. record: what happened.
    """
    given = params.record()
    library, use = _use(params, folder)
    data = given.get("data_path")
    source = "a variable of a notebook" if inside(data, folder) else code(_shown(data))
    method = f", {params.method}" if params.method else ""
    values = {name: _shown(value) for name, value in params.changed().items() if name not in ("model", "data_path")}
    text = CARD.format(
        facts=_facts(params, folder, library),
        name=code(folder.name),
        summary=f"{code(_shown(given.get('model')))}, trained by nbtrain ({params.room}{method}) on {source}.",
        use=use,
        results=_results(record),
        parameters=table(("parameter", "value"), values.items()) if values else "None was changed.",
        trained=_trained(record),
        apart=_apart(record, with_rows=bool(inside(data, folder))),
    )
    return redact.redact(text)


def _facts(params: Params, folder: RunFolder, library: str) -> str:
    """What the hub sorts models by, as YAML: only what is known."""
    import yaml

    room, model, data = trainers.load(params.room), params.record().get("model"), params.record().get("data_path")
    task = getattr(room, "PIPELINE", None)
    facts = {
        "library_name": library,
        "license": "unknown",  # that of the base and of the rows decide, and neither is known here
        "pipeline_tag": task.get(params.method or getattr(params, "task", "")) if isinstance(task, Mapping) else task,
        "base_model": model if _is_of_hub(model) else None,
        "base_model_relation": _relation(folder) if _is_of_hub(model) else None,
        "datasets": [data.partition(":")[0]] if _is_of_hub(data) else None,
        "tags": ["nbtrain", params.room],
    }
    return yaml.safe_dump({name: fact for name, fact in facts.items() if fact}, sort_keys=False, allow_unicode=True)


def _is_of_hub(name: Any) -> bool:
    """Whether it is OWNER/NAME of the hub, `:config` behind it or not, and nothing here."""
    return isinstance(name, str) and bool(_OF_HUB.fullmatch(name)) and not Path(name).exists()


def _relation(folder: RunFolder) -> str:
    return "adapter" if (folder.model / "adapter_config.json").is_file() else "finetune"


def _shown(value: Any) -> Any:
    """A path of this machine by its last part: a card is for others."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() and "\0" not in value else value


def _apart(record: Record, *, with_rows: bool) -> str:
    """What the script beside the card does not do, or needs."""
    apart = ", without what was done by hand" if record.by_hand else ""
    return f"{apart}, on the rows in `data/` of the run folder" if with_rows else apart


def code(value: Any) -> str:
    """`value` as a code span: the only form in which Markdown leaves text alone, whatever stands in it."""
    text = visible(" ".join(str(value).split()))
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    # an empty span is none, and a space keeps a backtick at an end from joining the fence
    edge = " " if not text or text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{edge}{text or '-'}{edge}{fence}"


def table(heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    """A Markdown table of code spans."""
    # a table is cut into cells before code spans are seen, so that a bar ends a cell even inside one
    cells = [[code(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [heads, tuple("---" for _ in heads), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _use(params: Params, folder: RunFolder) -> tuple[str, str]:
    """The library that opens the model, and how."""
    if not folder.model.is_dir():
        return "nbtrain", "The run ended before a model was saved."
    library, code = trainers.load(params.room).usage(params, folder.model)
    return library, f"```python\n{code}\n```"


def _results(record: Record) -> str:
    if not record.evaluations:
        return "No held-out rows were measured."
    last, first = record.evaluations[-1], record.evaluations[0]
    names = [name for name in last if name != "step"]
    heads = ("held-out rows", f"step {int(first['step'])}", f"step {int(last['step'])}")
    if len(record.evaluations) == 1:
        return table((heads[0], heads[2]), ((name, _figure(last[name])) for name in names))
    return table(heads, ((name, _figure(first.get(name)), _figure(last[name])) for name in names))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _trained(record: Record) -> str:
    facts: Mapping[str, Any] = record.facts()
    known = [f"{name} {code(facts[name])}" for name in ("device", "dtype", "rows") if name in facts]
    steps = f"It took {record.step} steps with nbtrain {__version__}"
    changed = [f"From step {each.step} on {each.name} was {code(each.new)}, by hand." for each in record.by_hand]
    return " ".join([f"{steps} ({', '.join(known)})." if known else f"{steps}.", *changed])
