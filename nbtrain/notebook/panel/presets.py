"""Sets of values to begin with, by what there is to train on. Each is texts of the form, and may be changed after."""

from __future__ import annotations

from collections.abc import Mapping

from nbtrain.notebook.panel.draft import OFF, ON, Draft

_ALL = ""  # every room
# a model of some billion weights fits beside its adapter in 4 bits
_SMALL_ADAPTER = {
    "peft": ON, "quantization": "int4", "batch_size": "2", "gradient_accumulation": "8", "lr": "2e-4"
}  # fmt: skip

PRESETS: dict[str, dict[str, Mapping[str, str]]] = {
    "CPU demo, 2 minutes": {
        _ALL: {
            "model": "tiny", "data_path": "demo", "lr": "1e-3", "epochs": "3", "batch_size": "8", "max_minutes": "2",
            "peft": OFF, "time_limit": "60", "num_trials": "6",
        },
    },
    "T4 16 GB, 1 hour": {
        # a T4 computes no bf16; the hour may end in the middle, so what there is is saved
        _ALL: {
            "mixed_precision": "fp16", "max_minutes": "60", "save_strategy": "steps", "save_steps": "100",
            "time_limit": "3000",
        },
        "llm": _SMALL_ADAPTER,
        "vlm": _SMALL_ADAPTER,
    },
    "one big GPU": {
        _ALL: {"mixed_precision": "bf16", "batch_size": "32", "save_strategy": "steps", "save_steps": "500"},
        "llm": {"batch_size": "8", "gradient_accumulation": "2"},
        "vlm": {"batch_size": "8", "gradient_accumulation": "2"},
    },
}  # fmt: skip
"""By the name that is shown: room, or all of them, to the values."""


def texts(preset: str, draft: Draft) -> dict[str, str]:
    """What a preset fills in of a draft: only fields that its room and method have."""
    parts = PRESETS[preset]
    wanted = {**parts[_ALL], **parts.get(draft.room, {})}
    shown = {item.name: item for item in draft.fields()}
    # a room whose data are no rows has no demo
    return {
        name: text
        for name, text in wanted.items()
        if name in shown and (name != "data_path" or shown[name].default == "demo")
    }
