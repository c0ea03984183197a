"""Goal 6: useful tokens a second and peak memory, nbtrain's defaults against TRL's and AutoTrain's.

A 4.2 M-parameter Llama in float32, batches of 8 chats, all weights and all tokens trained. TRL sees the same rows in
the same order, so the losses of its steps are to be ours to four digits; AutoTrain packs across documents, so what it
learnt is measured on held-out rows, as is what the others learnt.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import arms
from arms import BATCH, EVERY, Outcome, Task
from measure import FEWEST, Line, line, ratios, spread
from settings import NO_PEER, data, peer_program

from nbtrain.models import load

PAIRS = 3
STEPS = 50
LONGEST = 1024  # tokens; a longer row would be cut by one arm and split by another
HELD_OUT = 0.2  # share of the rows


def measure() -> Iterator[Line | str]:
    """At one thread, and at two where there are two cores."""
    with tempfile.TemporaryDirectory() as folder:
        task, held_out, told = make_task(Path(folder))
        yield told
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        for threads in (1, 2)[:cores]:
            yield from at(threads, task, held_out, Path(folder) / f"threads-{threads}")
    if peer_program() is None:
        yield f"6 tokens / AutoTrain: {NO_PEER}"


def at(threads: int, task: Task, held_out: list[list[int]], folder: Path) -> Iterator[Line]:
    """The lines of one number of threads."""
    folder.mkdir()
    places = (folder / f"run-{number}" for number in itertools.count())
    first = arms.trl(task, next(places), threads)

    def ours() -> Outcome:
        return arms.nbtrain(task, next(places), threads, first.tokens)

    noise = spread(ratios(*([ours().speed for _ in range(FEWEST)] for _ in range(2))))
    found: dict[str, list[Outcome]] = {"ours": [], "trl": [], "autotrain": []}
    for _ in range(PAIRS):
        found["ours"].append(ours())
        found["trl"].append(arms.trl(task, next(places), threads))
        if peer_program() is not None:
            found["autotrain"].append(arms.autotrain(task, next(places), threads))
    learnt = {name: loss(outcomes[0].model, held_out) for name, outcomes in found.items() if outcomes}
    speeds = {name: [outcome.speed for outcome in outcomes] for name, outcomes in found.items()}
    peaks = {name: [outcome.peak for outcome in outcomes] for name, outcomes in found.items()}
    one, other = found["ours"][0].losses, found["trl"][0].losses
    apart = max(abs(a / b - 1) for a, b in zip(one, other, strict=True))
    note = (
        f"loss of the last {EVERY} steps {one[-1]:.4f} and {other[-1]:.4f}, at most {apart:.1e} apart; "
        f"on held-out rows {learnt['ours']:.4f} and {learnt['trl']:.4f}"
    )
    yield line(
        f"6 tokens/s / TRL, {_threads(threads)}", speeds["ours"], speeds["trl"],
        unit="tokens/s", target=">= 3.0", spread=noise, note=note,
    )  # fmt: skip
    yield line(
        f"6 peak memory / TRL, {_threads(threads)}", peaks["ours"], peaks["trl"],
        unit="MB", target="<= 0.6", spread=0.0,
    )  # fmt: skip
    if found["autotrain"]:
        yield line(
            f"6 tokens/s / AutoTrain, {_threads(threads)}", speeds["ours"], speeds["autotrain"],
            unit="tokens/s", target=">= 1.15", spread=noise,
            note=f"on held-out rows {learnt['ours']:.4f} and {learnt['autotrain']:.4f}; "
            f"peak {peaks['autotrain'][0]:.0f} MB",
        )  # fmt: skip


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def make_task(folder: Path) -> tuple[Task, list[list[int]], str]:
    """The model and the rows, written below `folder`; the held-out rows as tokens; and all of it in words."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(load.TINY)
    rows = [json.loads(text) for text in data().read_text(encoding="utf-8").splitlines()]
    tokens = [tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False) for row in rows]
    kept = [number for number, ids in enumerate(tokens) if len(ids) <= LONGEST]
    held_out = kept[-int(len(kept) * HELD_OUT) :]
    chosen = kept[: min(STEPS * BATCH, len(kept) - len(held_out))]
    chosen = chosen[: len(chosen) // BATCH * BATCH]
    place = folder / "rows" / "train.jsonl"
    place.parent.mkdir()
    place.write_text("".join(json.dumps(rows[number]) + "\n" for number in chosen), encoding="utf-8")
    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 8}
    marks = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=LONGEST, tie_word_embeddings=True, **shape, **marks
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder / "model")
    _save_tokenizer(folder / "model")
    epochs = math.ceil(STEPS * BATCH / len(chosen))
    lengths = [len(tokens[number]) for number in chosen]
    wide = sum(BATCH * max(lengths[at : at + BATCH]) for at in range(0, len(lengths), BATCH))
    told = (
        f"6 {model.num_parameters():,} parameters, {len(chosen)} chats of {sum(lengths) / len(lengths):.0f} tokens "
        f"in the mean, {max(lengths)} at most, "
        f"{1 - sum(lengths) / wide:.0%} padding in batches of {BATCH}, {epochs} epochs"
    )
    task = Task(folder / "model", place, epochs, epochs * len(chosen) // BATCH)
    return task, [tokens[number] for number in held_out[:200]], told


def _save_tokenizer(folder: Path) -> None:
    """The built-in tokenizer, in words that AutoTrain's transformers of 2024 understands, too."""
    (folder / "tokenizer.json").write_bytes((load.TINY / "tokenizer.json").read_bytes())
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "model_max_length": LONGEST,
        "clean_up_tokenization_spaces": False,
        "chat_template": (load.TINY / "chat_template.jinja").read_text(encoding="utf-8"),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def loss(model: Path, rows: list[list[int]]) -> float:
    """Mean over the tokens of these rows."""
    import torch
    from transformers import AutoModelForCausalLM

    opened = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    total = count = 0.0
    with torch.no_grad():
        for ids in rows:
            row = torch.tensor([ids])
            total += opened(row, labels=row).loss.item() * (len(ids) - 1)
            count += len(ids) - 1
    return total / count
