"""A trained model as a reward: any sequence classifier, with its own tokenizer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nbtrain.errors import ParamError, nearest
from nbtrain.models import load
from nbtrain.trainers.rl.rewards import Reward, labelled


def classifier(
    model: str | os.PathLike[str] = "",
    label: str | int | None = None,
    batch_size: int = 16,
    max_length: int = 1024,
    whole: bool = True,
) -> Reward:
    """What a sequence classifier says of each answer.

    A reward model, trained on preferences, gives its number (the mean, where it has several heads); a classifier gives
    the log-odds of `label` against all its others.

    Args:
        model: folder, Run or hub id. It is opened at the first call.
        label: name or number; by default the last one.
        batch_size: rows at once.
        max_length: tokens; what is longer loses its beginning, since the answer stands at the end.
        whole: judge prompt and answer together; False: the answer alone.
    """
    if not model:
        fix = '{"name": "classifier", "model": "FOLDER"}, or --rl-reward-model-path FOLDER'
        raise ParamError("the reward classifier needs a model", fix=fix)
    opened: list[_Judge] = []

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        if not opened:
            opened.append(_Judge(os.fspath(model), label, max_length))
        judge = opened[0]
        asked = prompts if whole else [None] * len(completions)
        texts = [judge.text(prompt, said) for prompt, said in zip(asked, completions, strict=True)]
        parts = (texts[start : start + batch_size] for start in range(0, len(texts), batch_size))
        return [value for part in parts for value in judge.scores(part)]

    return labelled(reward, "classifier")


def sentiment(model: str | os.PathLike[str] = "", label: str = "POSITIVE", **settings: Any) -> Reward:
    """How positive the answer sounds to a classifier of sentiment; see `classifier`."""
    return labelled(classifier(model, label=label, **({"whole": False} | settings)), "sentiment")


class _Judge:
    """A classifier on the device of the training, frozen."""

    def __init__(self, model: str, label: str | int | None, max_length: int) -> None:
        place = load.resolve(model)
        self.tokenizer = load.saved_tokenizer(place)
        self.model = load.saved_headed("AutoModelForSequenceClassification", place)
        self.model = self.model.to(load.device().kind).requires_grad_(False)
        pad = self.tokenizer.pad_token_id
        if pad is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        config = self.model.config.get_text_config()
        # a decoder that scores its last token finds it by the padding
        config.pad_token_id = self.tokenizer.pad_token_id
        self.tokenizer.truncation_side = "left"
        places = getattr(config, "max_position_embeddings", None) or max_length
        self.longest = min(max_length, places)
        known = self.model.config.label2id
        self.heads = len(known) == 1 or (label is None and all(name.lower().startswith("reward") for name in known))
        self.label = _label(known, label)

    def text(self, prompt: Any, said: Any) -> str:
        """Prompt and answer as the model read them when it learnt: by its chat template where it has one."""
        if self.tokenizer.chat_template and prompt is not None:
            turns = [*_turns(prompt, "user"), *_turns(said, "assistant")]
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False))
        parts = [*(_turns(prompt, "user") if prompt is not None else ()), *_turns(said, "assistant")]
        return "\n".join(str(turn["content"]) for turn in parts)

    def scores(self, texts: Sequence[str]) -> list[float]:
        import torch

        templated = bool(self.tokenizer.chat_template)
        batch = self.tokenizer(
            list(texts),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self.longest,
            add_special_tokens=not templated,
        ).to(self.model.device)
        with torch.no_grad():
            logits = self.model(**batch).logits.float()
        if self.heads:
            return logits.mean(1).tolist()
        chosen = logits[:, self.label]
        others = torch.cat((logits[:, : self.label], logits[:, self.label + 1 :]), 1).logsumexp(1)
        return (chosen - others).tolist()


def _turns(said: Any, role: str) -> list[Mapping[str, Any]]:
    return [{"role": role, "content": said}] if isinstance(said, str) else list(said)


def _label(known: Mapping[str, int], label: str | int | None) -> int:
    count = len(known)
    if label is None:
        return count - 1
    if isinstance(label, int) and -count <= label < count:
        return label % count
    found = next((number for name, number in known.items() if name.lower() == str(label).lower()), None)
    if found is None and count > 1:
        names = ", ".join(known)
        raise ParamError(f"the model has no label {label!r}; it has {names}.{nearest(str(label), known)}")
    return found or 0
