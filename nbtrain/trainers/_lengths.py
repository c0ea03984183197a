"""How long rows are in tokens, and what a model will not read of them: what `check` tells before one is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from nbtrain.data import check as judge
from nbtrain.data import read
from nbtrain.models.pretrained import open_tokenizer
from nbtrain.trainers import _encoder

_ROWS = 2_000  # of a split; the tokens of a million rows take minutes

Limits = Mapping[str, tuple[int, str]]
"""Part of a row ('' for the whole) to its tokens at most, and what becomes of what is longer."""


def of_roles(*roles: str) -> Callable[[Any, Mapping[str, Any]], dict[str, tuple[str, ...]]]:
    """The parts of a row by what its form says it holds; of several texts of a role the first."""

    def parts(form: Any, row: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        said = dict(reversed(form.content(row)))
        return {role: (said[role],) for role in roles if role in said}

    return parts


def rendered(
    params: Any,
    form: judge.Form,
    parts: Callable[[Any, Mapping[str, Any]], Mapping[str, Sequence[str]]],
    limits: Callable[[Any, Any, Any], Limits],
    tiny: Path,
    splits: read.Splits,
) -> judge.Rendered:
    """The lengths of the first rows.

    Args:
        parts: form and row to its parts by name, each a text, or a pair that is read together.
        limits: (params, config, tokenizer) to the limit of each part. tiny: the built-in model of the room.
    """
    from transformers import AutoConfig

    place = _encoder.place(params, tiny)
    hub = {"token": params.token, "trust_remote_code": params.trust_remote_code}
    tokenizer = open_tokenizer(place, **hub)
    known = limits(params, AutoConfig.from_pretrained(place, **hub), tokenizer)
    return judge.Rendered((), tuple(_lines(splits, form, parts, known, tokenizer)))


def _lines(splits: read.Splits, form: Any, parts: Any, limits: Limits, tokenizer: Any) -> Iterator[str]:
    for name, rows, _ in splits.items():
        some = rows.select(range(min(_ROWS, len(rows)))).select_columns(list(dict.fromkeys(form.columns.values())))
        texts = [parts(form, row) for row in some]
        of = f" (the first {len(some):,} of {len(rows):,} rows)" if len(some) < len(rows) else ""
        for part, (longest, words) in limits.items():
            sides = zip_longest(*(row[part] for row in texts if part in row), fillvalue="")
            counts = [len(ids) for ids in tokenizer(*map(list, sides), verbose=False)["input_ids"]]
            over = sum(count > longest for count in counts)
            named = f", {part}" if part else ""
            yield f"Tokens a row, {name}{of}{named}: {judge.told(judge.spread(counts))}; {over:,} {words} {longest:,}."
