"""Train models from a notebook cell: `%load_ext nbtrain`, then `%autotrain llm --trainer sft`.

The public names are loaded on first use: `import nbtrain` is quick and brings no heavy library.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "train": "nbtrain.run",
    "Run": "nbtrain.run",
    "plan": "nbtrain.answers.plan",
    "lr_find": "nbtrain.answers.rates",
    "compare": "nbtrain.answers.compare",
    "check": "nbtrain.answers.check",
    "panel": "nbtrain.notebook.panel",
    "create_sft_trainer": "nbtrain.lifecycle",
    "create_rl_trainer": "nbtrain.lifecycle",
    "TrainerBase": "nbtrain.lifecycle",
    "TrainingState": "nbtrain.lifecycle",
    "LLMTrainingParams": "nbtrain.trainers.llm",
    "Seq2SeqParams": "nbtrain.trainers.seq2seq",
    "ExtractiveQuestionAnsweringParams": "nbtrain.trainers.extractive_question_answering",
    "TokenClassificationParams": "nbtrain.trainers.token_classification",
    "TextClassificationParams": "nbtrain.trainers.text_classification",
    "TextRegressionParams": "nbtrain.trainers.text_regression",
    "ImageClassificationParams": "nbtrain.trainers.image_classification",
    "ImageRegressionParams": "nbtrain.trainers.image_regression",
    "ObjectDetectionParams": "nbtrain.trainers.object_detection",
    "SentenceTransformersParams": "nbtrain.trainers.sentence_transformers",
    "VLMTrainingParams": "nbtrain.trainers.vlm",
    "TabularParams": "nbtrain.trainers.tabular",
    "load_ipython_extension": "nbtrain.notebook",
    "unload_ipython_extension": "nbtrain.notebook",
    "NbtrainError": "nbtrain.errors",
}
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nbtrain' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
