"""Chats and texts as they are trained, where more is asked than their form: joined, or kept to look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbtrain.data import chat, forms
from nbtrain.data.read import Splits
from nbtrain.runs import ranks
from nbtrain.runs.active import ActiveRun

_JOINED = "messages"


def shaped(params: Any, run: ActiveRun, splits: Splits, form: Any) -> tuple[Splits, Any]:
    """The rows as --conversation-extension and --save-processed-data want them.

    Held-out rows are kept as they are where training rows are joined: what is measured on them stays comparable.
    """
    if params.auto_convert_dataset:
        run.warn("--auto-convert-dataset is needless: data of every known form is converted.")
    if params.conversation_extension > 1 and form.name != "text":
        splits, form = _extended(splits, form, params.conversation_extension, run)
    if params.save_processed_data == "local" and ranks.is_first():
        run.folder.data.mkdir(parents=True, exist_ok=True)
        for name, rows, _ in splits.items():
            _keep(rows, form, run.folder.data / f"processed-{name}.jsonl")
    return splits, form


def _extended(splits: Splits, form: chat.Form, count: int, run: ActiveRun) -> tuple[Splits, chat.Form]:
    from datasets import Dataset

    def written(rows: Any, size: int) -> Any:
        # as JSON: the turns of one row may hold what those of another do not
        chats = (chat.messages(row, form) for row in rows)
        return Dataset.from_dict({_JOINED: [json.dumps(turns) for turns in joined(chats, size)]})

    longer = written(splits.train, count)
    run.warn(f"{len(splits.train):,} chats make {len(longer):,} rows (--conversation-extension {count}).")
    valid = written(splits.valid, 1) if splits.valid is not None else None
    return dataclasses.replace(splits, train=longer, valid=valid), forms.Form("messages", {_JOINED: _JOINED})


def joined(chats: Iterator[list[forms.Message]], count: int) -> Iterator[list[forms.Message]]:
    """Up to `count` chats as one; where the system message changes a new one begins."""
    held: list[forms.Message] = []
    size = 0
    for turns in chats:
        system = [turn for turn in turns[:1] if turn["role"] == "system"]
        if held and (size == count or system != [turn for turn in held[:1] if turn["role"] == "system"]):
            yield held
            held, size = [], 0
        held = [*held, *(turns[len(system) :] if held else turns)]
        size += 1
    if held:
        yield held


def _keep(rows: Any, form: Any, path: Path) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            if form.name == "text":
                kept: dict[str, Any] = {"text": row[form.columns["text"]]}
            else:
                kept = {"messages": chat.messages(row, form)}
            file.write(json.dumps(kept, ensure_ascii=False) + "\n")
