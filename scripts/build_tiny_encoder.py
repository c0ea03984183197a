"""Build the tiny text encoder: a WordPiece vocabulary, and a BERT whose word vectors know which words stand together.

    NBTRAIN_DATA=<folder> python scripts/build_tiny_encoder.py

The corpus is that of build_tiny_llm.py, without its chats. The vectors are the singular vectors of the pointwise mutual
information of words at most WINDOW apart (Levy and Goldberg 2014); the layers above them are random, from a fixed seed:
in half a minute that is more than so small a model learns from an hour of masked words. The result is
nbtrain/models/tiny/text: weights in bfloat16, tokenizer, model card; small enough to ship.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from build_tiny_llm import SOURCES, TURN, corpus

HOME = Path(__file__).resolve().parent.parent / "nbtrain" / "models" / "tiny" / "text"
VOCABULARY, CONTEXT, HIDDEN = 4096, 512, 96
WINDOW = 4  # words to each side
SPREAD = 0.05  # standard deviation of the word vectors; BERT begins with 0.02
CARD = """\
---
library_name: transformers
pipeline_tag: feature-extraction
language: en
license: cc-by-sa-4.0
---

# The tiny text encoder of nbtrain

It is for trying things out: `--model tiny` of the rooms that read text trains in seconds on any machine, offline. It
knows which words stand together, and little else; use it for no other purpose.

- architecture: BERT, {parameters} parameters: 2 layers, hidden size 96, 4 heads, 512 tokens
- tokenizer: WordPiece, lower case, {vocabulary} tokens
- word vectors: from the pointwise mutual information of words in {characters} million characters; all else is random

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


def make_model(tokenizer: Any, documents: list[str]) -> Any:
    """A BERT of some 670,000 parameters: its word vectors are made of the documents, the rest is random."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model = BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN,
            intermediate_size=4 * HIDDEN,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    vectors = torch.tensor(word_vectors(tokenizer(documents, add_special_tokens=False)["input_ids"], len(tokenizer)))
    with torch.no_grad():
        known = vectors.abs().sum(1) > 0
        model.embeddings.word_embeddings.weight[known] = vectors[known].to(torch.float32)
    return model


def word_vectors(documents: list[list[int]], words: int) -> Any:
    """(words, HIDDEN) floats with the standard deviation SPREAD; 0 for a word that no document has."""
    import numpy
    from scipy.sparse import coo_matrix, csr_matrix
    from scipy.sparse.linalg import svds

    pairs = csr_matrix((words, words))
    for step in range(1, WINDOW + 1):
        left = numpy.concatenate([ids[:-step] for ids in map(numpy.array, documents) if len(ids) > step])
        right = numpy.concatenate([ids[step:] for ids in map(numpy.array, documents) if len(ids) > step])
        pairs = pairs + coo_matrix((numpy.ones(len(left)), (left, right)), shape=(words, words)).tocsr()
    pairs = (pairs + pairs.T).tocoo()
    counts = numpy.asarray(pairs.sum(1)).ravel()
    smooth = counts**0.75  # so that rare words do not have all the information
    information = numpy.log(pairs.data * smooth.sum() / (counts[pairs.row] * smooth[pairs.col]))
    positive = information > 0
    table = coo_matrix((information[positive], (pairs.row[positive], pairs.col[positive])), shape=(words, words))
    left, values, _ = svds(table.tocsr(), k=HIDDEN, random_state=0)
    vectors = left * values**0.5 * (counts > 0)[:, None]
    return vectors / vectors[counts > 0].std() * SPREAD


def main() -> None:
    import torch

    documents = [text for text in corpus(Path(os.environ["NBTRAIN_DATA"]))[0] if TURN not in text]
    tokenizer = make_tokenizer(documents)
    model = make_model(tokenizer, documents)
    model.to(torch.bfloat16).save_pretrained(HOME)
    tokenizer.save_pretrained(HOME)
    card = CARD.format(
        parameters=f"{model.num_parameters():,}",
        vocabulary=f"{len(tokenizer):,}",
        characters=f"{sum(map(len, documents)) / 1e6:.1f}",
        licences="\n".join(f"| {source.name} | {source.licence} |" for source in SOURCES),
    )
    (HOME / "README.md").write_text(card, encoding="utf-8")
    for file in HOME.iterdir():
        file.chmod(0o644)  # safetensors makes files that only their owner reads


if __name__ == "__main__":
    main()
