"""Build nbtrain's tiny language model: corpus, tokenizer, a Llama with random weights, pretraining by nbtrain's own default trainer.

    NBTRAIN_DATA=<folder> python scripts/build_tiny_llm.py [--work build/tiny_llm] [--untrained]

NBTRAIN_DATA is a folder with the public data sets named in SOURCES, under the same relative paths. The result is
nbtrain/models/tiny/llm (weights in bfloat16, tokenizer, chat template, model card), small enough to ship with the package.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent.parent / "nbtrain" / "models" / "tiny" / "llm"
VOCABULARY, CONTEXT = 4096, 512
PAD, END_OF_TEXT, TURN, END_OF_TURN = SPECIAL = ("<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>")
# `generation` marks what an assistant wrote, so that return_assistant_tokens_mask works with this template
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}
    {%- else %}
        {{- message['content'] + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
HELD_OUT = 0.04  # share of the documents


@dataclass(frozen=True)
class Source:
    """One file of the corpus. share: part of its rows that is taken, chosen by hash."""

    path: str
    columns: tuple[str, ...]
    name: str
    licence: str
    share: float = 1.0


# Left out on purpose: self_instruct and OpenAssistant (the demo data of supervised fine-tuning is made of them; a base that knew
# them would have nothing to learn), tinyshakespeare (the demo of the default trainer), and the other half of dolly.
SOURCES = (
    Source("sft/dolly_open_qa.prompt_response.jsonl", ("response",), "databricks-dolly-15k, open QA, answers only", "CC BY-SA 3.0", 0.5),
    Source("extractive_qa/squad_v2.parquet", ("context",), "SQuAD 2.0, paragraphs", "CC BY-SA 4.0"),
    Source("extractive_qa/squad_v1_xquad_en.parquet", ("context",), "XQuAD, English paragraphs", "CC BY-SA 4.0"),
    Source("seq2seq/wikisplit.parquet", ("target",), "WikiSplit, sentences", "CC BY-SA 4.0"),
    Source("seq2seq/onestop_simplification.csv", ("source", "target"), "OneStopEnglish, sentences", "CC BY-SA 4.0"),
    Source("seq2seq/tico19_en_fr_translation.jsonl", ("en",), "TICO-19, English side", "CC0 1.0"),
    Source("seq2seq/scitldr_summarisation.train.parquet", ("source",), "SciTLDR, abstracts", "Apache-2.0", 0.25),
    Source("seq2seq/scitldr_summarisation.train.parquet", ("target",), "SciTLDR, summaries", "Apache-2.0"),
    Source("similarity/snli_triplet.parquet", ("anchor", "positive"), "SNLI, premises and what follows from them", "CC BY-SA 4.0"),
    Source("similarity/snli_pair_class.parquet", ("sentence1",), "SNLI, premises", "CC BY-SA 4.0"),
    Source("text_regression/emobank.parquet", ("text",), "EmoBank, sentences", "CC BY-SA 4.0"),
)
QUESTIONS = ("extractive_qa/squad_v2.parquet", "extractive_qa/squad_v1_xquad_en.parquet")


def corpus(data: Path) -> tuple[list[str], list[str]]:
    """Documents for training and held out, without duplicates, shuffled by a fixed seed. A chat row is rendered with its special tokens."""
    plain = {document for source in SOURCES for document in _documents(data, source)}
    chats = {chat for path in QUESTIONS for chat in _chats(data / path)}
    documents = sorted(plain | chats)
    random.Random(0).shuffle(documents)
    held = [document for document in documents if _draw(document) < HELD_OUT]
    return [document for document in documents if _draw(document) >= HELD_OUT], held


def _draw(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: the same rows are chosen on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _rows(path: Path) -> list[dict[str, Any]]:
    import pandas

    readers = {".jsonl": lambda file: pandas.read_json(file, lines=True), ".csv": pandas.read_csv, ".parquet": pandas.read_parquet}
    return readers[path.suffix](path).to_dict("records")


def _documents(data: Path, source: Source) -> Iterator[str]:
    for row in _rows(data / source.path):
        for column in source.columns:
            text = _tidy(str(row[column]))
            if len(text) >= 20 and _draw("share" + text) < source.share:
                yield text


def _chats(path: Path) -> Iterator[str]:
    """A question, answered with the sentence of its paragraph that holds the answer."""
    for row in _rows(path):
        starts = list(row["answers"]["answer_start"])
        if not starts:
            continue
        context = row["context"]
        start = max(context.rfind(". ", 0, starts[0]) + 2, 0) if ". " in context[: starts[0]] else 0
        end = context.find(". ", starts[0])
        sentence = context[start : end + 1 if end >= 0 else None].strip()
        turns = ({"role": "user", "content": row["question"].strip()}, {"role": "assistant", "content": sentence})
        yield "\n".join(f"{TURN}{turn['role']}\n{turn['content']}{END_OF_TURN}" for turn in turns)


def _tidy(text: str) -> str:
    """Undo the spaces that some corpora put around punctuation: `he said , `` no '' .` becomes `he said, "no".`"""
    text = re.sub(r"\s+", " ", text.replace("<::::>", " ")).strip()
    text = re.sub(r"``\s*|(?<=\s)''\s+(?=\w)", '"', text)
    text = re.sub(r"\s*''", '"', text)
    text = re.sub(r" (?=[.,;:!?%)\]](?:\s|$))| (?=(?:n't|'(?:s|re|ve|ll|d|m))\b)", "", text)
    return re.sub(r"(?<=[(\[]) ", "", text)


def make_tokenizer(documents: list[str]) -> Any:
    """A byte-level BPE of VOCABULARY tokens: any text can be written with it, there is no unknown token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    # digits one by one, so that every number is written in the same way
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(documents, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END_OF_TURN, pad_token=PAD, model_max_length=CONTEXT,
        extra_special_tokens=[END_OF_TEXT, TURN], clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(tokenizer: Any) -> Any:
    """A Llama of 2.6 million parameters with random weights."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=6, max_position_embeddings=CONTEXT, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TEXT)]
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    return model


def publish(model: Any, tokenizer: Any, card: str) -> None:
    """Write model, tokenizer and card to HOME, weights in bfloat16: half the size, and no measurable loss."""
    import torch

    shutil.rmtree(HOME, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(HOME)
    tokenizer.save_pretrained(HOME)
    (HOME / "README.md").write_text(card, encoding="utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, default=Path("build/tiny_llm"), help="folder for the corpus and the run")
    options.add_argument("--untrained", action="store_true", help="stop after the random weights")
    asked = options.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    train, held = corpus(Path(os.environ["NBTRAIN_DATA"]))
    for name, documents in (("train", train), ("valid", held)):
        lines = (json.dumps({"text": document}, ensure_ascii=False) + "\n" for document in documents)
        (asked.work / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    tokenizer = make_tokenizer(train)
    model = make_model(tokenizer)
    if asked.untrained:
        publish(model, tokenizer, "Random weights.\n")
        return


if __name__ == "__main__":
    main()
