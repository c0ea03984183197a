"""A saved model measured again: on the rows that its run held out, or on others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nbtrain.data import chat
from nbtrain.errors import DataError, RunError
from nbtrain.evaluate.examples import Examples
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal
from nbtrain.trainers import _examples
from nbtrain.trainers._samples import undisturbed
from nbtrain.trainers.llm import _flat, _language, _measure, _preferences
from nbtrain.trainers.llm._language import Prepare

# they shape what is trained on, and held-out rows are measured as they are
_PLAIN = {"conversation_extension": 1, "save_processed_data": "none", "auto_convert_dataset": False}
_TAUGHT = {"use_distillation": False, "teacher_model": None}
_WHOLE = {"valid_split": None, "valid_fraction": 0.0, "max_samples": None, "stream": False}


def evaluate(params: Any, path: str, data: Any, prepare: Prepare) -> dict[str, float]:
    """Loss, perplexity and --custom-metrics of the model at `path`.

    Args:
        data: None for the rows that the run held out, else what --data-path takes; its training split is measured.
        prepare: the method's.

    Raises:
        DataError: the data cannot be read or used. RunError: the run held nothing out.
    """
    changes = _PLAIN | (_TAUGHT if params.use_distillation else {})
    params = params.but(**changes | ({} if data is None else {"data_path": data, **_WHOLE}))
    with tempfile.TemporaryDirectory(prefix="nbtrain-", ignore_cleanup_errors=True) as place:
        folder = RunFolder(Path(place))
        with Journal(folder.events) as journal:
            tokens, tokenizer = _language.tokenised(params, ActiveRun(folder, journal), prepare)
        rows = tokens.valid if data is None else tokens.train
        if rows is None:
            raise RunError("the run held no rows out", fix="give rows: run.evaluate(data)")
        model, _ = _language.opened(params, path)
        collate = partial(_flat.padded, pad=tokenizer.pad_token_id or 0, side=params.padding)
        with undisturbed(model):
            batches = _measure.batches(rows, params.eval_batch_size, collate)
            return _measure.measured(params, model, partial(_measure.loss, model), batches)


def examples(params: Any, data: Any, cache: Path, predict: Callable[..., list[Any]]) -> Examples:
    """What is asked of a model that was trained on chats, each up to its first answer, on preferences or by rewards.

    Args:
        predict: the room's.

    Raises:
        DataError: the rows are plain text, which holds no questions; or prompts without answers.
    """
    rows = _preferred if params.method in ("dpo", "orpo") else _answered
    asked, answers = rows(params, data, cache)

    def ask(model: Any, tokenizer: Any, some: Sequence[Any]) -> list[str]:
        # the likeliest answer, as long as the longest that is right
        longest = len(tokenizer(max(answers, key=len)).input_ids) + 8
        how = {"temperature": 0.0, "max_new_tokens": longest}
        return [text.strip() for text in predict(params, model, tokenizer, some, **how)]

    return Examples("texts" if params.method == "sft" else "replies", asked, [[answer] for answer in answers], ask)


def _answered(params: Any, data: Any, cache: Path) -> tuple[list[Any], list[str]]:
    """The chats up to their first answers, and those."""
    rewarded = params.method in ("ppo", "grpo")  # their prompts may stand beside answers
    recognise = _answers_beside if rewarded else _language.text_or_chat
    rows, form = _examples.judged(params.but(**_PLAIN), data, cache, partial(recognise, params))
    if form.name == "text" or params.method == "default":
        what = "plain text has no question and no answer to compare with what the model writes"
        raise DataError(what, fix="--eval-metrics perplexity; or sft on rows with questions and answers")
    chats = [chat.messages(row, form) for row in rows]
    places = [next(at for at, turn in enumerate(each) if turn["role"] == "assistant") for each in chats]
    answers = [str(each[at]["content"]) for each, at in zip(chats, places, strict=True)]
    return [each[:at] for each, at in zip(chats, places, strict=True)], answers


def _answers_beside(params: Any, splits: Any) -> chat.Form:
    """How rows of prompts hold answers, too."""
    named = {"prompt": params.prompt_text_column} if params.prompt_text_column else {}
    try:
        return chat.recognise(splits.train, params.column_mapping, named)
    except DataError as error:
        fix = "name their column: --column-mapping; or measure on other rows: --eval-dataset-path"
        raise DataError("the rows are prompts, without answers to compare with", why=error.what, fix=fix) from None


def _preferred(params: Any, data: Any, cache: Path) -> tuple[list[Any], list[str]]:
    """The prompts, and the answers that are preferred."""
    given = _examples.reading(params, data)
    splits = _preferences.reading(given, cache)
    form = _preferences.recognise(given, splits)
    pairs = [form.pair(row) for row in _examples.usable(params, splits, form, data)]
    return [pair.prompt for pair in pairs], [_preferences.last(pair.chosen) for pair in pairs]
