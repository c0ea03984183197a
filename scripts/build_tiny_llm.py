"""Build the tiny language model: corpus, tokenizer, a Llama with random weights, and nbtrain's own default trainer.

    NBTRAIN_DATA=<folder> python scripts/build_tiny_llm.py [--work build/tiny_llm] [--epochs 5]

NBTRAIN_DATA is a folder with the public data sets named in SOURCES, under the same relative paths. The result is
nbtrain/models/tiny/llm: weights in bfloat16, tokenizer, chat template, model card; small enough to ship.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbtrain

HOME = Path(__file__).resolve().parent.parent / "nbtrain" / "models" / "tiny" / "llm"
VOCABULARY, CONTEXT = 4096, 1024
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
SHORTEST = 20  # characters of a document
PROMPTS = (
    "The",
    "A man in a red shirt",
    "The city was founded in",
    f"{TURN}user\nWhat is a river?{END_OF_TURN}\n{TURN}assistant\n",
    f"{TURN}user\nWho was the king of France?{END_OF_TURN}\n{TURN}assistant\n",
)


@dataclass(frozen=True)
class Source:
    """One file of the corpus.

    columns: each gives a document. share: of the documents, chosen by hash.
    group: column whose equal values are held out together, the first of `columns` where none is named.
    """

    path: str
    columns: tuple[str, ...]
    name: str
    licence: str
    group: str = ""
    share: float = 1.0


# Left out on purpose: self-instruct and OpenAssistant (the demo data of supervised fine-tuning is made of them, and a
# base that knew them would have nothing to learn), tinyshakespeare, and the other half of dolly.
DOLLY, SQUAD, XQUAD = (
    "sft/dolly_open_qa.prompt_response.jsonl",
    "extractive_qa/squad_v2.parquet",
    "extractive_qa/squad_v1_xquad_en.parquet",
)
SCITLDR = "seq2seq/scitldr_summarisation.train.parquet"
SOURCES = (
    Source(
        DOLLY, ("response",), "databricks-dolly-15k, open questions: half of the answers", "CC BY-SA 3.0", share=0.5
    ),
    Source(
        SQUAD, ("context",), "SQuAD 2.0: paragraphs; as chats, questions with the sentence that answers", "CC BY-SA 4.0"
    ),
    Source(XQUAD, ("context",), "XQuAD, English: the same", "CC BY-SA 4.0"),
    Source("seq2seq/wikisplit.parquet", ("target",), "WikiSplit: split sentences", "CC BY-SA 4.0"),
    Source("seq2seq/onestop_simplification.csv", ("source", "target"), "OneStopEnglish: sentences", "CC BY-SA 4.0"),
    Source("seq2seq/tico19_en_fr_translation.jsonl", ("en",), "TICO-19: English side", "CC0 1.0"),
    Source(SCITLDR, ("source",), "SciTLDR: half of the abstracts", "Apache-2.0", group="paper_id", share=0.5),
    Source(SCITLDR, ("target",), "SciTLDR: summaries", "Apache-2.0", group="paper_id"),
    Source(
        "similarity/snli_triplet.parquet", ("anchor", "positive"), "SNLI: premises and what follows", "CC BY-SA 4.0"
    ),
    Source("similarity/snli_pair_class.parquet", ("sentence1",), "SNLI: premises", "CC BY-SA 4.0"),
    Source("text_regression/emobank.parquet", ("text",), "EmoBank: sentences", "CC BY-SA 4.0"),
)


def corpus(data: Path) -> tuple[list[str], list[str]]:
    """Documents for training and held out, shuffled by a fixed seed; an answer is where its paragraph is."""
    found = [pair for source in SOURCES for pair in _documents(data, source)]
    found += [pair for path in (SQUAD, XQUAD) for pair in _chats(data / path)]
    train = {text for group, text in found if _draw(group) >= HELD_OUT}
    held = {text for group, text in found} - train
    parts = sorted(train), sorted(held)
    for part in parts:
        random.Random(0).shuffle(part)
    return parts


def _draw(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: the same rows are chosen on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _rows(path: Path) -> list[dict[str, Any]]:
    import pandas

    readers = {
        ".jsonl": lambda file: pandas.read_json(file, lines=True),
        ".csv": pandas.read_csv,
        ".parquet": pandas.read_parquet,
    }
    return readers[path.suffix](path).to_dict("records")


def _documents(data: Path, source: Source) -> Iterator[tuple[str, str]]:
    """(group, text) of each document."""
    for row in _rows(data / source.path):
        for column in source.columns:
            text = _tidy(str(row[column]))
            if len(text) >= SHORTEST and _draw("share" + text) < source.share:
                yield str(row[source.group or source.columns[0]]), text


def _chats(path: Path) -> Iterator[tuple[str, str]]:
    """A question, answered with the sentence of its paragraph that holds the answer; the group is the paragraph."""
    for row in _rows(path):
        for start in row["answers"]["answer_start"][:1]:
            context = row["context"]
            begin = context.rfind(". ", 0, start)
            end = context.find(". ", start)
            answer = context[begin + 2 if begin >= 0 else 0 : end + 1 if end >= 0 else None].strip()
            turns = (("user", row["question"].strip()), ("assistant", answer))
            yield context, "\n".join(f"{TURN}{role}\n{text}{END_OF_TURN}" for role, text in turns)


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
        tokenizer_object=bpe,
        eos_token=END_OF_TURN,
        pad_token=PAD,
        model_max_length=CONTEXT,
        extra_special_tokens=[END_OF_TEXT, TURN],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(tokenizer: Any) -> Any:
    """A Llama of 2.6 million parameters with random weights."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TEXT)]
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    return model


def pretrain(model: Any, tokenizer: Any, work: Path, epochs: int) -> nbtrain.Run:
    """Train on work/corpus by the project's own default trainer, with the options that a user would give."""
    start = work / "start"
    model.save_pretrained(start)
    tokenizer.save_pretrained(start)
    params = nbtrain.LLMTrainingParams(
        trainer="default",
        model=str(start),
        project_name=str(work / "run"),
        data_path=str(work / "corpus"),
        valid_split="valid",
        block_size=CONTEXT,
        epochs=epochs,
        batch_size=80,
        packing=False,
        lr=3e-3,
        scheduler="cosine",
        warmup_ratio=0.05,
        weight_decay=0.1,
    )
    return nbtrain.train(params)


def perplexity(model: Any, tokenizer: Any, documents: list[str]) -> float:
    """Of each token given those before it in its document, the end included, the first token not counted."""
    import torch

    total = count = 0.0
    with torch.no_grad():
        for document in documents:
            ids = torch.tensor([[*tokenizer(document).input_ids, tokenizer.eos_token_id][:CONTEXT]])
            total += model(ids, labels=ids).loss.item() * (ids.numel() - 1)
            count += ids.numel() - 1
    return math.exp(total / count)


def samples(model: Any, tokenizer: Any) -> Iterator[tuple[str, str]]:
    """What the model writes after each of PROMPTS, drawn with a fixed seed."""
    import torch

    for prompt in PROMPTS:
        torch.manual_seed(0)
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        written = model.generate(ids, max_new_tokens=40, do_sample=True, temperature=0.7, top_k=40)
        yield prompt, tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)


def publish(run: nbtrain.Run, train: list[str], held: list[str], epochs: int) -> None:
    """Write model, tokenizer and card to HOME, in bfloat16, half the room; the card is about those weights."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = run.tokenizer
    run.model.to(torch.bfloat16).save_pretrained(HOME)
    tokenizer.save_pretrained(HOME)
    for file in HOME.iterdir():
        file.chmod(0o644)  # safetensors makes files that only their owner reads
    model = AutoModelForCausalLM.from_pretrained(HOME, dtype=torch.float32).eval()
    rows = ((json.dumps(prompt)[1:-1], " ".join(text.split())) for prompt, text in samples(model, tokenizer))
    shown = "\n".join(f"| {prompt} | {text} |" for prompt, text in rows)
    card = (Path(__file__).parent / "tiny_llm_card.md").read_text(encoding="utf-8").format(
        parameters=f"{model.num_parameters():,}", vocabulary=f"{len(tokenizer):,}", epochs=epochs,
        documents=f"{len(train):,}", characters=f"{sum(map(len, train)) / 1e6:.1f}", held=f"{len(held):,}",
        perplexity=f"{perplexity(model, tokenizer, held):.1f}",
        licences="\n".join(f"| {source.name} | {source.licence} |" for source in SOURCES),
        samples=shown.replace("<|", "<\\|").replace("|>", "\\|>"),
    )  # fmt: skip
    (HOME / "README.md").write_text(card, encoding="utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, default=Path("build/tiny_llm"), help="folder for the corpus and the run")
    options.add_argument("--epochs", type=int, default=5, help="times over the corpus")
    asked = options.parse_args()
    train, held = corpus(Path(os.environ["NBTRAIN_DATA"]))
    shutil.rmtree(asked.work, ignore_errors=True)
    (asked.work / "corpus").mkdir(parents=True)
    for name, documents in (("train", train), ("valid", held)):
        lines = (json.dumps({"text": document}, ensure_ascii=False) + "\n" for document in documents)
        (asked.work / "corpus" / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    tokenizer = make_tokenizer(train)
    publish(pretrain(make_model(tokenizer), tokenizer, asked.work, asked.epochs), train, held, asked.epochs)


if __name__ == "__main__":
    main()
