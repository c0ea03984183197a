"""Build the tiny model that reads and writes: the tiny language model's tokenizer, and a small T5.

    NBTRAIN_DATA=<folder> python scripts/build_tiny_seq2seq.py [--work build/tiny_seq2seq] [--epochs 10]

It learns to put sentences right again that were garbled (words dropped, doubled and swapped), by nbtrain's own seq2seq
trainer, on sentences of the corpus of scripts/build_tiny_llm.py; NBTRAIN_DATA is as there. The result is
nbtrain/models/tiny/seq2seq.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

from build_tiny_llm import PAD, corpus

import nbtrain
from nbtrain.models import load

HOME = Path(__file__).resolve().parent.parent / "nbtrain" / "models" / "tiny" / "seq2seq"
END = "<|im_end|>"
LONGEST = 90  # characters of a sentence
MOST = 10_000  # sentences


def make_tokenizer() -> Any:
    """That of the tiny language model, ending each text as T5 does."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = load.saved_tokenizer("tiny")
    end = (END, tokenizer.convert_tokens_to_ids(END))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {END}", pair=f"$A {END} $B {END}", special_tokens=[end]
    )
    tokenizer.chat_template = None
    return tokenizer


def make_model(tokenizer: Any) -> Any:
    """A T5 of half a million parameters with random weights."""
    import torch
    from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    pad, end = tokenizer.convert_tokens_to_ids(PAD), tokenizer.eos_token_id
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=16,
        d_ff=192,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=True,
        dropout_rate=0.1,
        pad_token_id=pad,
        eos_token_id=end,
        decoder_start_token_id=pad,
    )
    model = T5ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(pad_token_id=pad, eos_token_id=end, decoder_start_token_id=pad)
    return model


def garbled(text: str, chance: random.Random) -> str:
    """The text with a tenth of its words dropped, some doubled and some neighbours swapped."""
    words: list[str] = []
    for word in text.split():
        drawn = chance.random()
        if drawn >= 0.1:
            words += [word] * (2 if drawn < 0.14 else 1)
    for at in range(len(words) - 1):
        if chance.random() < 0.05:
            words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words) or text


def pretrain(work: Path, train: list[str], held: list[str], epochs: int) -> nbtrain.Run:
    """Train by the project's own seq2seq trainer."""
    chance = random.Random(0)
    for name, texts in (("train", train), ("valid", held)):
        rows = ({"source": garbled(text, chance), "target": text} for text in texts)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (work / "corpus" / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    tokenizer = make_tokenizer()
    make_model(tokenizer).save_pretrained(work / "start")
    tokenizer.save_pretrained(work / "start")
    params = nbtrain.Seq2SeqParams(
        model=str(work / "start"),
        project_name=str(work / "run"),
        data_path=str(work / "corpus"),
        valid_split="valid",
        max_seq_length=48,
        max_target_length=48,
        epochs=epochs,
        batch_size=64,
        lr=5e-3,
        scheduler="cosine",
        generate_rows=16,
    )
    return nbtrain.train(params)


def sentences(texts: list[str]) -> list[str]:
    """Short sentences of the texts, in their order; those of chats are left out."""
    found = [part.strip() for text in texts if "<|" not in text for part in re.findall(r"[^.!?]+[.!?]+", text)]
    return [part for part in dict.fromkeys(found) if 20 <= len(part) <= LONGEST][:MOST]


def publish(model: Any, tokenizer: Any) -> None:
    """Write model and tokenizer to HOME, in bfloat16, half the room."""
    import torch

    model.to(torch.bfloat16).save_pretrained(HOME)
    tokenizer.save_pretrained(HOME)
    for file in HOME.iterdir():  # README.md beside them is written by hand
        file.chmod(0o644)  # safetensors makes files that only their owner reads


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, default=Path("build/tiny_seq2seq"), help="folder for corpus and run")
    options.add_argument("--epochs", type=int, default=10, help="times over the corpus; 0: random weights")
    asked = options.parse_args()
    if not asked.epochs:
        tokenizer = make_tokenizer()
        publish(make_model(tokenizer), tokenizer)
        return
    train, held = corpus(Path(os.environ["NBTRAIN_DATA"]))
    shutil.rmtree(asked.work, ignore_errors=True)
    (asked.work / "corpus").mkdir(parents=True)
    run = pretrain(asked.work, sentences(train), sentences(held), asked.epochs)
    publish(run.model, run.tokenizer)


if __name__ == "__main__":
    main()
