"""Build the tiny text encoder: a WordPiece vocabulary and a BERT, pretrained to fill in masked words.

    NBTRAIN_DATA=<folder> python scripts/build_tiny_encoder.py [--epochs 60]

The corpus is that of build_tiny_llm.py, without its chats. The result is nbtrain/models/tiny/text: weights in bfloat16,
tokenizer, model card; small enough to ship.
"""

from __future__ import annotations

import argparse
import os
from itertools import chain
from pathlib import Path
from typing import Any

from build_tiny_llm import SOURCES, TURN, corpus

HOME = Path(__file__).resolve().parent.parent / "nbtrain" / "models" / "tiny" / "text"
VOCABULARY, CONTEXT, BLOCK = 4096, 512, 64
CARD = """\
---
library_name: transformers
pipeline_tag: fill-mask
language: en
license: cc-by-sa-4.0
---

# The tiny text encoder of nbtrain

It is for trying things out: `--model tiny` of the rooms that read text trains in seconds on any machine, offline. It
knows which words stand together, and little else; use it for no other purpose.

- architecture: BERT, {parameters} parameters: 2 layers, hidden size 96, 4 heads, 512 tokens
- tokenizer: WordPiece, lower case, {vocabulary} tokens
- training: masked words of {characters} million characters, {epochs} times; lr 2e-3, batches of 32 blocks of 64 tokens
- loss on held-out documents: {loss:.2f} a masked token

## Text

| what | licence |
| --- | --- |
{licences}

## How it was made

`python scripts/build_tiny_encoder.py`, with `NBTRAIN_DATA` naming a folder with the data sets above.
"""


def make_tokenizer(documents: list[str]) -> Any:
    """Lower-case WordPiece, as BERT has it."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    words = BertWordPieceTokenizer(lowercase=True)
    words.train_from_iterator(documents, vocab_size=VOCABULARY, min_frequency=2, show_progress=False)
    return BertTokenizerFast(tokenizer_object=words._tokenizer, model_max_length=CONTEXT)


def make_model(tokenizer: Any) -> Any:
    """A BERT of some 670,000 parameters with random weights, from a fixed seed."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    return BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=384,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def blocks(documents: list[str], tokenizer: Any) -> Any:
    """The documents one behind the other, in blocks of BLOCK tokens."""
    from datasets import Dataset

    ids = list(chain.from_iterable(tokenizer(documents)["input_ids"]))
    return Dataset.from_dict({"input_ids": [ids[at : at + BLOCK] for at in range(0, len(ids) - BLOCK, BLOCK)]})


def pretrain(model: Any, tokenizer: Any, train: list[str], held: list[str], *, epochs: int, work: Path) -> float:
    """Fill in masked words; the loss on held-out blocks."""
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    settings = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=32,
        learning_rate=2e-3,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        weight_decay=0.05,
        use_cpu=True,
        seed=0,
        save_strategy="no",
        report_to="none",
        logging_steps=1000,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=settings,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.2),
        train_dataset=blocks(train, tokenizer),
        eval_dataset=blocks(held, tokenizer),
    )
    trainer.train()
    return float(trainer.evaluate()["eval_loss"])


def main() -> None:
    import torch
    from transformers import BertModel

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, default=Path("build/tiny_encoder"), help="folder for the training")
    options.add_argument("--epochs", type=int, default=60, help="times over the corpus")
    asked = options.parse_args()
    documents = corpus(Path(os.environ["NBTRAIN_DATA"]))
    train, held = ([text for text in part if TURN not in text] for part in documents)
    tokenizer = make_tokenizer(train)
    masked = make_model(tokenizer)
    loss = pretrain(masked, tokenizer, train, held, epochs=asked.epochs, work=asked.work)
    model = BertModel(masked.config)  # with the pooler that classifiers start from
    model.load_state_dict(masked.bert.state_dict(), strict=False)
    model.to(torch.bfloat16).save_pretrained(HOME)
    tokenizer.save_pretrained(HOME)
    card = CARD.format(
        parameters=f"{model.num_parameters():,}", vocabulary=f"{len(tokenizer):,}", epochs=asked.epochs, loss=loss,
        characters=f"{sum(map(len, train)) / 1e6:.1f}",
        licences="\n".join(f"| {source.name} | {source.licence} |" for source in SOURCES),
    )  # fmt: skip
    (HOME / "README.md").write_text(card, encoding="utf-8")
    for file in HOME.iterdir():
        file.chmod(0o644)  # safetensors makes files that only their owner reads


if __name__ == "__main__":
    main()
