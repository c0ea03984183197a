"""Reward models: any base with a head that scores answers, so that the chosen one stands above the rejected one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nbtrain.data import chat
from nbtrain.errors import ModelError, ParamError
from nbtrain.evaluate import order
from nbtrain.evaluate.examples import Examples
from nbtrain.models import load
from nbtrain.models.pretrained import adapter_base
from nbtrain.params import option
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder, _examples
from nbtrain.trainers._samples import undisturbed
from nbtrain.trainers.llm import _language, _preferences, _trl, _ways
from nbtrain.trainers.llm._language import SHOWN, Tokens

__all__ = ["CANNOT_WRITE", "Reward", "check", "examples", "opened", "predict", "train", "usage"]

AUTO = "AutoModelForSequenceClassification"
CANNOT_WRITE = "a reward model gives a score to an answer; it writes none"
# for a base that reads whole texts and has no marks for turns (BERT): its own separator stands between them
SEPARATED = "{{ cls_token }}{% for m in messages %}{{ m.content }}{{ sep_token }}{% endfor %}"
AT_ONCE = 8  # rows that predict gives to the model together


class Reward(BaseModel):
    """What reward alone reads."""

    num_labels: int = option(
        1,
        "heads of the scorer; each learns every pair, and the score is their mean",
        group="Model",
        unit="heads",
        ge=1,
        only=("reward",),
    )


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values: loss, accuracy (share of pairs in the right order), margin.

    The loss is that of Bradley and Terry, as in Ouyang et al. 2022, arXiv:2203.02155, eq. 1.

    Raises:
        ModelError: the base is an adapter.
    """
    if base := adapter_base(load.resolve(params.model), token=params.token):
        raise ModelError(
            f"{params.model} is an adapter of {base}, which writes and does not score.",
            fix="merge it into its base first: train it with --merge-adapter, or nbtrain tools merge-llm-adapter.",
        )
    texts: list[tuple[str, str, str]] = []
    prepare = partial(_prepare, texts)
    tokens, tokenizer = _language.tokenised(params, run, prepare, _recognise, _preferences.reading)
    return _encoder.fit(params, run, _job(params, tokens, tokenizer, texts))


def check(params: Any, cache: Path) -> list[str]:
    """The pairs, read and judged, for a screen."""
    return _language.check(params, cache, _recognise, _preferences.reading, partial(_prepare, []))


def _recognise(params: Any, splits: Any) -> Any:
    return _preferences.recognise(params, splits, prompted=False)


def _prepare(texts: list[tuple[str, str, str]], params: Any, run: ActiveRun, splits: Any, *rest: Any) -> Tokens:
    """The pairs in tokens; the texts of those that are shown go into `texts`."""
    form, tokenizer, _ = rest
    template = SEPARATED if tokenizer.chat_template is None and tokenizer.cls_token is not None else None
    longest = _longest(params, _config(params, tokenizer))
    tokens = _preferences.prepare(params, run, splits, form, tokenizer, longest, template=template)
    shown, rows = (tokens.train, splits.train) if tokens.valid is None else (tokens.valid, splits.valid)
    numbers = shown.select(range(min(SHOWN, len(shown))))["row"]
    texts += [tuple(map(_preferences.last, form.pair(rows[number - 1]))) for number in numbers]
    return tokens


def _longest(params: Any, config: Any) -> int:
    """Tokens of the longest row: no more than any limit that was given, or than the model has places for."""
    asked = min(params.block_size, params.model_max_length)
    return min(asked, _encoder.places(config) or asked)


def _job(params: Any, tokens: Tokens, tokenizer: Any, texts: Sequence[tuple[str, str, str]]) -> _encoder.Job:
    loss = _Loss(params.label_smoothing)
    return _encoder.Job(
        auto=AUTO,
        config=_config(params, tokenizer),
        task="SEQ_CLS",
        processor=tokenizer,
        train=tokens.train,
        valid=tokens.valid,
        collate=partial(_collate, tokenizer.pad_token_id),
        loss=loss,
        logged=loss.since,
        rows=_scores,
        measure=order.preference,
        show=partial(_show, texts),
        ready=partial(_ready, params),
    )


def _ready(params: Any, model: Any) -> None:
    _ways.attend(params, model)
    _trl.without_dropout(model)


def _config(params: Any, tokenizer: Any) -> Any:
    """The base's config, for a scorer."""
    from transformers import AutoConfig

    place = load.resolve(params.model)
    heads = {at: "reward" if params.num_labels == 1 else f"reward {at + 1}" for at in range(params.num_labels)}
    config = AutoConfig.from_pretrained(place, token=params.token, trust_remote_code=params.trust_remote_code)
    config.id2label, config.label2id = heads, {name: at for at, name in heads.items()}
    # the head of a causal model looks at the last token that is no padding
    config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return config


def _collate(pad: int, examples: Sequence[Mapping[str, list[int]]]) -> dict[str, Any]:
    """(2 x pairs, longest) tokens, the chosen ones first."""
    import torch

    rows = [row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids") for row in examples]
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([ids + [pad] * (longest - len(ids)) for ids in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in rows]),
        "labels": torch.zeros(len(examples)),  # a Trainer asks for its loss only where there are some
        "tokens": sum(map(len, rows)),
    }


class _Loss:
    """The loss of pairs, and how well they stood in their order since it was last asked.

    Args:
        smoothing: share of the pairs that may be labelled the wrong way round.
    """

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing
        self._margins: list[Any] = []

    def __call__(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        """The mean over pairs and heads; outputs.logits: (2 x pairs, heads), the chosen ones first."""
        from torch.nn.functional import logsigmoid

        chosen, rejected = outputs.logits.chunk(2)
        margin = chosen - rejected
        if outputs.logits.requires_grad:
            self._margins.append(margin.detach().mean(-1))
        return -((1 - self.smoothing) * logsigmoid(margin) + self.smoothing * logsigmoid(-margin)).mean()

    def since(self) -> dict[str, float]:
        """accuracy and margin of the pairs trained on since the last call."""
        import torch

        margins, self._margins = self._margins, []
        if not margins:
            return {}
        found = torch.cat(margins).float()
        return {"accuracy": float((found > 0).float().mean()), "margin": float(found.mean())}


def _scores(outputs: Any, batch: Mapping[str, Any]) -> list[Any]:
    """(chosen, rejected) of each pair."""
    import torch

    return list(torch.stack(outputs.logits.float().mean(-1).chunk(2), dim=1).cpu().numpy())


def _show(texts: Sequence[tuple[str, str, str]], found: Sequence[Any]) -> tuple[dict[str, str], ...]:
    return tuple(
        {
            "prompt": prompt,
            "chosen": chosen,
            "score of chosen": f"{scores[0]:.3f}",
            "rejected": rejected,
            "score of rejected": f"{scores[1]:.3f}",
        }
        for (prompt, chosen, rejected), scores in zip(texts, found, strict=False)
    )


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved scorer, on the device that a run would use, and its tokenizer."""
    trusted = params.trust_remote_code
    model = load.saved_headed(AUTO, path, trust_remote_code=trusted).to(load.device().kind)
    return model, load.saved_tokenizer(path, trust_remote_code=trusted)


def predict(params: Any, model: Any, tokenizer: Any, rows: Sequence[Any], **settings: Any) -> list[float]:
    """The score of each row: the higher, the better the answer.

    Args:
        rows: texts (str), chats (lists of messages), or {"prompt": ..., "response": ...} with text or messages each.

    Raises:
        ParamError: a setting, or a row that is none of these.
    """
    if settings:
        raise ParamError(f"a reward model has no setting {', '.join(sorted(settings))}", why=CANNOT_WRITE)
    longest = _longest(params, model.config)
    ids = [_row_in_tokens(params, tokenizer, row)[:longest] for row in rows]
    pad, scores = tokenizer.pad_token_id, list[float]()
    with undisturbed(model):
        for at in range(0, len(ids), AT_ONCE):
            pairs = [{"prompt_ids": [], "chosen_ids": one, "rejected_ids": []} for one in ids[at : at + AT_ONCE]]
            batch = _collate(pad, pairs)
            given = {name: batch[name][: len(pairs)].to(model.device) for name in ("input_ids", "attention_mask")}
            scores += model(**given).logits.float().mean(-1).tolist()
    return scores


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The pairs to measure a saved scorer on; see `evaluate.examples`."""
    given = _examples.reading(params, data)
    splits = _preferences.reading(given, cache)
    form = _recognise(given, splits)
    pairs = [form.pair(row) for row in _examples.usable(params, splits, form, data)]
    asked = [tuple(_whole(pair.prompt, side) for side in (pair.chosen, pair.rejected)) for pair in pairs]

    def ask(model: Any, tokenizer: Any, some: Sequence[Any]) -> list[tuple[float, float]]:
        scores = predict(params, model, tokenizer, [side for pair in some for side in pair])
        return list(zip(scores[::2], scores[1::2], strict=True))

    return Examples("pairs", asked, ["the first"] * len(asked), ask)


def _whole(prompt: Any, said: Any) -> Any:
    """A prompt and an answer as one text, or one chat."""
    return f"{prompt}{said}" if isinstance(said, str) else [*prompt, *said]


def _row_in_tokens(params: Any, tokenizer: Any, row: Any) -> list[int]:
    if isinstance(row, str):
        ids = list(tokenizer(row).input_ids)
        end = tokenizer.eos_token_id
        return ids if end is None or ids[-1:] == [end] else [*ids, end]
    if isinstance(row, Mapping) and {"prompt", "response"} <= row.keys():
        sides = (("user", row["prompt"]), ("assistant", row["response"]))
        turns = [[{"role": who, "content": said}] if isinstance(said, str) else said for who, said in sides]
        row = [*turns[0], *turns[1]]
    if not (isinstance(row, list) and row and all(isinstance(turn, Mapping) for turn in row)):
        raise ParamError(
            f'a row to score is a text, a list of messages, or {{"prompt", "response"}}; found {type(row).__name__}'
        )
    template = chat.template_for(tokenizer, params.chat_template)
    return list(tokenizer.apply_chat_template(row, chat_template=template, tokenize=True, return_dict=False))


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the scorer, and how to let it score."""
    adapter = path / "adapter_config.json"
    library, names, more = "transformers", f"{AUTO}, AutoTokenizer", ""
    opening = f'model = {AUTO}.from_pretrained("model")'
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
        library, names, more = "peft", f"AutoConfig, {names}", "from peft import PeftModel\n"
        opening = f"""\
base = {AUTO}.from_pretrained({base!r}, config=AutoConfig.from_pretrained("model"))
model = PeftModel.from_pretrained(base, "model")"""
    code = f"""\
{more}from transformers import {names}

{opening}  # this folder's
tokenizer = AutoTokenizer.from_pretrained("model")
chat = [{{"role": "user", "content": "Hello"}}, {{"role": "assistant", "content": "Hello! How can I help?"}}]
tokens = tokenizer.apply_chat_template(chat, return_dict=True, return_tensors="pt")
print(model(**tokens).logits.mean().item())  # the higher, the better the answer"""
    return library, code
