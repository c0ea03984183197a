"""Goal 7: what `plan` says a run takes, against what the run then takes: its peak memory and its time.

Six models of three rooms, each made here from a config, so that nothing is fetched. Both are processes of their own
that begin with nothing loaded. `python benchmarks/planned.py [name ...]` prints the whole table.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import Line
from settings import head

from nbtrain import trainers
from nbtrain.answers.plan import Plan, plan
from nbtrain.run import start
from nbtrain.runs import process
from nbtrain.runs.journal import story

_LOOK = 0.02  # seconds between two looks at the memory
CHATS, TEXTS, PICTURES = (
    "sft/dolly_open_qa.messages.jsonl",
    "text_classification/snips_intents_multiclass.csv",
    "image_classification/sign_digits.parquet",
)


@dataclass(frozen=True)
class Case:
    """A run to plan. data: below NBTRAIN_DATA; where that is not set, the room's demo."""

    name: str
    room: str
    data: str
    model: Callable[[Path], str]
    asked: dict[str, Any]

    def params(self, place: Path) -> Any:
        """What is asked of the room."""
        folder = os.environ.get("NBTRAIN_DATA")
        data = str(Path(folder).expanduser().resolve() / self.data) if folder else "demo"
        given = {"data_path": data, "model": self.model(place), "lr": 1e-4, **self.asked}
        return trainers.load(self.room).Params.read(given)[0]


def measure() -> Iterator[Line]:
    """A line for the memory and one for the time, each the middle of all cases; the worst is in the note."""
    found = [(case.name, *measured(case)) for case in CASES]
    for goal, unit, at in (("7 planned / measured peak", "MB", 0), ("7 planned / measured time", "s", 1)):
        pairs = {name: (told[at], real[at]) for name, told, real in found}
        ratios = {name: told / real for name, (told, real) in pairs.items()}
        worst = max(ratios, key=lambda name: abs(ratios[name] - 1))
        middle = statistics.median
        yield Line(
            goal,
            middle(told for told, _ in pairs.values()),
            middle(real for _, real in pairs.values()),
            unit,
            middle(ratios.values()),
            "0.85-1.15",
            0.0,
            len(pairs),
            f"furthest off: {worst}, {ratios[worst]:.3f}",
        )


def measured(case: Case) -> tuple[tuple[float, float], tuple[float, float]]:
    """(MB, seconds) as planned, and as the run took them."""
    with tempfile.TemporaryDirectory() as folder:
        params = case.params(Path(folder))
        told: Plan = plan(params)
        return (told.peak / 1e6, told.total_seconds), _run(params, Path(folder))


def _run(params: Any, root: Path) -> tuple[float, float]:
    begin, peak = time.time(), 0
    run = start(params, root=root)
    assert run.worker is not None
    while run.worker.poll() is None:
        try:
            peak = max(peak, process.memory(run.worker.pid)[1])
        except Exception:  # it has ended between two looks
            break
        time.sleep(_LOOK)
    run.wait()
    end = story(run.folder.events)[-1]
    return peak / 1e6, end.time - begin


def _llama(width: int, layers: int) -> Callable[[Path], str]:
    def make(place: Path) -> str:
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

        from nbtrain.models.load import TINY

        tokenizer = AutoTokenizer.from_pretrained(TINY)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
            num_attention_heads=width // 64, num_key_value_heads=width // 64, max_position_embeddings=2048,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        return _saved(LlamaForCausalLM(config), tokenizer, place / f"llama-{width}")

    return make


def _bert(width: int, layers: int) -> Callable[[Path], str]:
    def make(place: Path) -> str:
        from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

        from nbtrain.models.load import TINY

        tokenizer = AutoTokenizer.from_pretrained(TINY.parent / "text")
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
            num_attention_heads=width // 64, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        return _saved(BertForSequenceClassification(config), tokenizer, place / f"bert-{width}")

    return make


def _vit(width: int, layers: int) -> Callable[[Path], str]:
    def make(place: Path) -> str:
        from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

        config = ViTConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=width // 64,
            image_size=64, patch_size=8,
        )  # fmt: skip
        processor = ViTImageProcessor(size={"height": 64, "width": 64})
        return _saved(ViTForImageClassification(config), processor, place / f"vit-{width}")

    return make


def _saved(model: Any, processor: Any, place: Path) -> str:
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return str(place)


def _tiny(place: Path) -> str:
    return "tiny"


CASES = (
    Case("llm sft, built in (2.6 M)", "llm", CHATS, _tiny, {"trainer": "sft", "batch_size": 8, "max_samples": 1000}),
    Case(
        "llm sft, Llama of 17 M", "llm", CHATS, _llama(384, 8), {"trainer": "sft", "batch_size": 4, "max_samples": 200}
    ),
    Case(
        "llm sft, Llama of 88 M, LoRA", "llm", CHATS, _llama(768, 12),
        {"trainer": "sft", "batch_size": 2, "max_samples": 40, "peft": True},
    ),
    Case(
        "text classification, BERT of 28 M", "text-classification", TEXTS, _bert(512, 8),
        {"batch_size": 16, "max_samples": 320},
    ),
    Case("text classification, built in", "text-classification", TEXTS, _tiny, {"batch_size": 16}),
    Case(
        "image classification, ViT of 19 M", "image-classification", PICTURES, _vit(512, 6),
        {"batch_size": 16, "max_samples": 320},
    ),
)  # fmt: skip


def main(asked: list[str]) -> None:
    """A row a case."""
    print(head())
    print(f"{'case':<36} {'planned':>8} {'MB':>8} {'ratio':>6}   {'planned':>8} {'s':>8} {'ratio':>6}")
    for case in CASES:
        if not asked or any(word in case.name for word in asked):
            (memory, seconds), (peak, spent) = measured(case)
            told = (
                f"{memory:8.0f} {peak:8.0f} {memory / peak:6.3f}   {seconds:8.1f} {spent:8.1f} {seconds / spent:6.3f}"
            )
            print(f"{case.name:<36} {told}", flush=True)


if __name__ == "__main__":
    os.environ.update(HF_HUB_OFFLINE="1", NBTRAIN_STANDBY="0")
    main(sys.argv[1:])
