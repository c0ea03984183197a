"""Vision-language models: questions about pictures answered, and pictures described.

Data: image (or several, or chats in which pictures stand), a question, and its answer (or answers); or a caption
Result: a model that looks and writes (LLaVA, Idefics, SmolVLM, Qwen-VL, Gemma, PaliGemma, BLIP, Florence-2 ...)
Extra: nbtrain[vision]
Source: Liu et al. 2023, arXiv:2304.08485 (LLaVA); Li et al. 2022, arXiv:2201.12086 (BLIP)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from nbtrain.data import albums, pictured, read
from nbtrain.data import check as judge
from nbtrain.data.check import Content
from nbtrain.data.pictured import Talk
from nbtrain.errors import DataError, ParamError
from nbtrain.evaluate.examples import Examples
from nbtrain.models import load
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Shown
from nbtrain.params.streaming import not_streamed
from nbtrain.params.usual import Headed, again, names_of
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder, _examples, _pictures
from nbtrain.trainers.vlm import _models, _snippet, _writing
from nbtrain.trainers.vlm._manners import Manner

TINY = load.TINY.parent / "vlm"
RECOMMENDED = "llava-hf/llava-interleave-qwen-0.5b-hf"


class VLMTrainingParams(Headed, Basic, Data, Model, Optim, Precision, Peft, Checkpoints, Evaluation, Shown, Base):
    """Parameters of `vlm`."""

    trainer: Literal["vqa", "captioning"] = option(
        "vqa", "vqa answers questions about pictures, captioning describes pictures", group="Basic", essential=True
    )
    image_column: str = option(
        "image", "column of the pictures: paths, the pictures themselves, or lists of them", group="Data"
    )
    text_column: str = option("text", "column of the answers or captions, or of whole chats", group="Data")
    prompt_text_column: str = option("prompt", "column of the questions", group="Data")
    stream: bool = not_streamed(
        "its rows are paths and texts, which are mapped; a picture is only opened when its batch is made, so memory "
        "does not grow with their number."
    )
    caption_prompt: str = option(
        "Describe the picture.",
        "what stands for a question where captions have none; not given: what the model is used to",
        group="Data",
        only=("captioning",),
    )
    freeze: Annotated[list[Literal["auto", "none", "vision", "projector", "language"]], BeforeValidator(names_of)] = (
        option(
            ["auto"],
            "parts that are not trained, with commas: vision, projector, language; or none; auto: vision, but of tiny",
            group="Model",
        )
    )
    max_seq_length: int = option(
        512, "longest text of a question; what is longer loses its end", group="Model", unit="tokens", ge=4
    )
    max_target_length: int = option(
        128, "longest answer, learnt or written; what is longer loses its end", group="Model", unit="tokens", ge=2
    )
    batch_size: int = again(Optim, "batch_size", 2)
    gradient_accumulation: int = again(Optim, "gradient_accumulation", 4)
    generate_rows: int = option(
        64, "held-out rows that are answered at each evaluation; 0: none", group="Evaluation", unit="rows", ge=0
    )


Params = VLMTrainingParams
PIPELINE = {"vqa": "visual-question-answering", "captioning": "image-to-text"}
says = _examples.saying("replies")


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, or the best one's, and the totals."""
    _encoder.begin(params)
    run.stage("reading the data")
    splits, form = _read(params, run.folder.data)
    splits = _encoder.judged(params, run, splits, form)
    place = _encoder.place(params, TINY, run, better=RECOMMENDED)
    config = _models.config_of(params, place)
    hub = {"token": params.token, "trust_remote_code": params.trust_remote_code}
    processor = _models.processor_of(place, **hub)
    manner = _models.manner_of(params, config, processor)
    run.stage("reading the texts")
    form = replace(form, asked=_models.usual_prompt(params, config.model_type))
    told = _Told(form, manner, processor.tokenizer, (params.max_seq_length, params.max_target_length))
    splits, report = judge.check(splits, told, on_bad_rows=params.on_bad_rows)
    run.warn("\n".join([*map(str, report.faults), *told.notes()]))
    held = splits.valid if splits.valid is not None else splits.train
    shown = held.select(range(min(len(held), max(params.generate_rows, _pictures.SHOWN))))
    writer = _writing.Writer(
        params=params,
        run=run,
        manner=manner,
        talks=[told.talk(row) for row in shown],
        rows=params.generate_rows,
        common=_writing.commonest(told.talk(row) for row in splits.train),
    )
    frozen = _models.frozen_parts(params, new=place == str(TINY))

    def ready(model: Any) -> None:
        writer.model = model
        model.config.use_cache = False  # a step of training would build a cache that nobody reads
        if not params.peft:
            _models.freeze(model, frozen)

    def made(row: Mapping[str, Any], chance: Any) -> Talk:
        return _writing.look(told.talk(row))

    def collate(talks: list[Talk]) -> dict[str, Any]:
        batch = manner.learnt(talks)
        return {**batch, "tokens": int(batch["attention_mask"].sum())}

    job = _encoder.Job(
        auto=_models.auto_of(params, config.model_type),
        config=config,
        train=_pictures.Gallery(splits.train, made),
        valid=None if splits.valid is None else _pictures.Gallery(splits.valid, made),
        collate=collate,
        measure=writer.measure,
        show=writer.show,
        tiny=TINY,
        processor=processor,
        loss=None if manner.own_loss else _writing.loss,
        by_tokens=not manner.own_loss,
        rows=_writing.likelihoods(manner),
        ready=ready,
        conclude=writer.conclude,
        new_head=False,
        without=[name for part in frozen for name in _models.PARTS[part]],
    )
    return _encoder.fit(params, run, job)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and every picture opened; what a run would stop at is told with everything else."""
    splits, form = _read(params, cache)
    return _encoder.check(params, splits, form)


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its processor."""
    trusted = params.trust_remote_code
    auto = _models.auto_of(params, _models.config_of(params, path).model_type)
    model = load.saved_headed(auto, path, trust_remote_code=trusted).to(load.device().kind)
    return model, _models.processor_of(path, trust_remote_code=trusted)


def predict(params: Any, model: Any, processor: Any, rows: Sequence[Any], **settings: Any) -> list[str]:
    """What the model writes for each row.

    Args:
        rows: mappings with the columns that were read in training, the answer left out; chats that wait for an answer
            stand in their column. For captions also pictures alone: paths, bytes, PIL images, arrays.
        settings: max_new_tokens.
    """
    if unknown := settings.keys() - {"max_new_tokens"}:
        raise ParamError(f"predict has no setting {', '.join(sorted(unknown))}", fix="it has max_new_tokens")
    manner = _models.manner_of(params, model.config, processor)
    talks = [_asked(params, row, _models.usual_prompt(params, model.config.model_type)) for row in rows]
    for talk in talks:
        manner.judge(talk)
    longest = settings.get("max_new_tokens", params.max_target_length)
    return _writing.write(model, manner, talks, rows=params.eval_batch_size, longest=longest)


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    splits, form = _read(_examples.reading(params, data), cache)
    rows = _examples.usable(params, splits, form, data)
    expected = [list(form.read(row).references) for row in rows]
    return Examples("replies", list(rows), expected, lambda *asked: predict(params, *asked))


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to ask it."""
    return _snippet.usage(params, path)


@dataclass(frozen=True)
class _Told:
    """The rows as the model is shown them; as a `check.Form`, rows whose texts it cannot be shown are told.

    longest: tokens of a question and of an answer. cut: rows that lost an end, by side.
    """

    form: pictured.Form
    manner: Manner
    tokenizer: Any
    longest: tuple[int, int]
    cut: Counter[str] = field(default_factory=Counter)

    @property
    def columns(self) -> Mapping[str, str]:
        return self.form.columns

    def talk(self, row: Mapping[str, Any]) -> Talk:
        """The row, its texts no longer than they may be."""
        talk = self.form.read(row)
        return replace(talk, messages=tuple(map(self._shortened, talk.messages)))

    def content(self, row: Mapping[str, Any]) -> Content:
        whole = self.form.read(row)
        try:
            talk = self.talk(row)
            self.manner.judge(talk)
        except DataError as error:
            column = self.columns.get("messages") or self.columns["text"]
            raise DataError(error.what, where=error.where or column, fix=error.fix) from None
        self.cut.update({one["role"] for one, other in zip(whole.messages, talk.messages, strict=True) if one != other})
        return tuple((message["role"], message["content"]) for message in talk.messages)

    def notes(self) -> list[str]:
        flags = {"assistant": "--max-target-length", "user": "--max-seq-length", "system": "--max-seq-length"}
        return [
            f"A text of the {role} loses its end in {count:,} rows ({flags.get(role, flags['user'])})."
            for role, count in self.cut.items()
        ]

    def _shortened(self, message: dict[str, Any]) -> dict[str, Any]:
        said, most = message["content"], self.longest[message["role"] == "assistant"]
        if len(said.encode()) <= most or not self.tokenizer.is_fast:  # a token is a byte at least
            return message
        found = self.tokenizer(said, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ends = found["offset_mapping"]
        if len(ends) <= most:
            return message
        kept = said[: ends[most - 1][1]]
        if kept.count(pictured.PLACE) < said.count(pictured.PLACE):
            raise DataError(f"a picture stands behind the first {most} tokens of its text", fix="Put it first.")
        return {**message, "content": kept}


def _read(params: Any, cache: Path) -> tuple[read.Splits, pictured.Form]:
    """The rows, and which column holds what."""
    splits = albums.pictures(params, cache)
    flags = {"image": "image_column", "prompt": "prompt_text_column", "text": "text_column"}
    given = {**(params.column_mapping or {})}
    given |= {role: getattr(params, name) for role, name in flags.items() if name in params.given()}
    if "text" in given and pictured.holds_chats(splits.train, given["text"]):
        given["messages"] = given.pop("text")
    return splits, pictured.recognise(splits.train, params.trainer, given=given, asked=params.caption_prompt)


def _asked(params: Any, row: Any, usual: str) -> Talk:
    """A new row, waiting for its answer."""
    if not isinstance(row, Mapping) or {"bytes", "path"} >= set(row):
        row = {"image": row}
    mapping = {**(params.column_mapping or {}), "image": params.image_column, "prompt": params.prompt_text_column}
    return pictured.waiting(row, params.trainer, mapping, usual)
