"""Who teaches: a model, a function, or a file of answers; what it was asked is kept, and what it cost is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtrain.data import chat, columns, functions, read
from nbtrain.errors import DataError, NbtrainError, TrainingError
from nbtrain.models import load
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._samples import Manner, Prompt, generate
from nbtrain.trainers.llm._distillation import trained_logits

Asked = str | list[dict[str, Any]]
"""A prompt: plain text that goes on, or a conversation that waits for an answer."""


@dataclass(frozen=True)
class Question:
    """One thing to ask. input: as the data has it. asked: as the teacher sees it. room: tokens of the answer."""

    input: str
    asked: Asked
    room: int


@dataclass
class Cost:
    """What a teacher cost. tokens: read and written by a model; 0 where nobody knows them."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @contextmanager
    def call(self, tokens: int = 0) -> Iterator[None]:
        """One call, measured."""
        began = time.monotonic()
        yield
        self.calls, self.tokens, self.seconds = (
            self.calls + 1, self.tokens + tokens, self.seconds + time.monotonic() - began,
        )  # fmt: skip

    def record(self) -> dict[str, float]:
        """For the report."""
        return {"calls": self.calls, "tokens": self.tokens, "seconds": round(self.seconds, 1)}

    def __str__(self) -> str:
        tokens = f"{self.tokens:,} tokens, " if self.tokens else ""
        return f"{self.calls:,} calls, {tokens}{self.seconds:.1f} seconds"


class Teacher:
    """Who teaches.

    Attributes:
        name: as the user gave it.
        model, tokenizer: None unless it is a model.
        cost: of all it was asked.
        alone: whether it wrote every answer itself, so that there is no data to weigh its probabilities against.
    """

    def __init__(
        self, name: str, write: Callable[[Sequence[Question]], Sequence[str]], model: Any = None, tokenizer: Any = None
    ) -> None:
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self.cost, self.alone = Cost(), False
        self._write = write

    def answers(self, questions: Sequence[Question], run: ActiveRun, *, at_once: int) -> list[str]:
        """The answer to each question, '' where the teacher has none.

        An answer is written into the run folder as it comes; a resumed run reads it there and asks for no other.

        Args:
            at_once: questions a call.

        Raises:
            TrainingError: the teacher raised, or answered something else than asked.
            KeyboardInterrupt: a stop was asked; without the answers nothing can be trained.
        """
        kept = _Kept(run.folder.data / "teacher-answers.jsonl")
        # those of similar length together: less padding
        missing = sorted({_key(each): each for each in questions if _key(each) not in kept}.values(), key=_size)
        for start in range(0, len(missing), at_once):
            run.stage(f"the teacher answers: {start:,} of {len(missing):,}")
            part = missing[start : start + at_once]
            with self.cost.call():
                written = self._write(part)
            if run.stop_asked():
                raise KeyboardInterrupt
            kept.add({_key(each): answer.strip() for each, answer in zip(part, written, strict=True)})
        return [kept[_key(each)] for each in questions]

    def tell(self, run: ActiveRun) -> None:
        """What it cost in all, in words and in the report."""
        run.warn(f"The teacher took {self.cost} in all.")
        run.report["teacher"] = {"name": self.name, **self.cost.record()}

    def logits(self, batch: Mapping[str, Any]) -> Any:
        """(positions, vocabulary) at the trained positions of its batch, without gradients."""
        import torch

        with torch.no_grad(), self.cost.call(int(batch["tokens"])):
            logits, _ = trained_logits(self.model, batch)
            if logits.is_cuda:
                torch.cuda.synchronize()
        return logits


def opened(params: Any, run: ActiveRun) -> Teacher:
    """The teacher that `params.teacher_model` names.

    Raises:
        ModelError: the model cannot be opened. ParamError: there is no such function. DataError: the file holds no
            prompts and answers.
    """
    given = params.teacher_model
    if callable(given) or functions.is_place(given):
        function = given if callable(given) else functions.load(given)
        return Teacher(str(given), lambda questions: _called(function, questions))
    path = Path(given).expanduser()
    if path.is_file():
        known = _answers_of(params, path, run.folder.data / "teacher")
        return Teacher(given, lambda questions: [known.get(each.input.strip(), "") for each in questions])
    run.stage("loading the teacher")
    theirs = params.but(model=given, peft=False, quantization=None)
    model, tokenizer = load.frozen_model(params, given, tell=run.warn), load.tokenizer(theirs, tell=run.warn)
    teacher = Teacher(given, lambda questions: _generated(teacher, questions), model, tokenizer)
    return teacher


def prompt_ids(tokenizer: Any, asked: Asked, template: str | None = None) -> list[int]:
    """The tokens of a prompt, up to where the answer begins; `template` where the tokenizer has none of its own."""
    if isinstance(asked, str):
        ids = list(tokenizer(asked).input_ids)
        return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
    own = tokenizer.chat_template or template or chat.template_for(tokenizer)
    return list(
        tokenizer.apply_chat_template(
            asked, chat_template=own, add_generation_prompt=True, tokenize=True, return_dict=False
        )
    )


def _generated(teacher: Teacher, questions: Sequence[Question]) -> list[str]:
    """The likeliest answers of a model, word by word; '' where there is no room for one."""
    ids = [prompt_ids(teacher.tokenizer, each.asked) for each in questions]
    places = [place for place, own in enumerate(ids) if len(own) < questions[place].room]
    answers = [""] * len(questions)
    if places:
        longest = min(questions[place].room - len(ids[place]) for place in places)
        prompts = [Prompt("", tuple(ids[place])) for place in places]
        written = generate(teacher.model, teacher.tokenizer, prompts, Manner(longest, temperature=0))
        for place, answer in zip(places, written, strict=True):
            answers[place] = answer
        read_ = sum(len(ids[place]) for place in places)
        teacher.cost.tokens += read_ + sum(map(len, teacher.tokenizer(written, add_special_tokens=False).input_ids))
    return answers


def _called(function: Callable[..., Any], questions: Sequence[Question]) -> list[str]:
    """What a function answers to a list of prompts: a text where there is one question, else messages."""
    try:
        answers = list(function([_plain(each.asked) for each in questions]))
    except NbtrainError:
        raise
    except Exception as error:
        # it is the user's code: whatever it raises is told by its name
        what = f"the teacher raised {type(error).__name__}: {error}"
        raise TrainingError(what, where=functions.last_line(error), fix="mend it, then resume the run.") from error
    if len(answers) != len(questions) or not all(isinstance(answer, str) for answer in answers):
        what = (
            f"the teacher was asked {len(questions)} prompts and gave {len(answers)} answers, or some that are no text"
        )
        raise TrainingError(what, fix="return a list with one text for each prompt.")
    return answers


def _plain(asked: Asked) -> Asked:
    return asked[0]["content"] if isinstance(asked, list) and len(asked) == 1 else asked


def _answers_of(params: Any, path: Path, cache: Path) -> dict[str, str]:
    """Prompt to answer, of a file with a column for each."""
    whole = {"train_split": "train", "valid_split": None, "valid_fraction": 0.0, "max_samples": None}
    rows = read.read(params.but(data_path=str(path), **whole), cache).train
    roles = columns.find(rows.column_names, {name: columns.CHAT[name] for name in ("prompt", "response")})
    if "prompt" not in roles and "text" in rows.column_names:
        roles["prompt"] = "text"
    if roles.keys() < {"prompt", "response"}:
        what = f"{path.name} holds no prompts and answers; it has {', '.join(rows.column_names)}."
        raise DataError(what, where=str(path), fix="Name its columns prompt and response.")
    pairs = zip(rows[roles["prompt"]], rows[roles["response"]], strict=True)
    return {str(prompt).strip(): str(answer) for prompt, answer in pairs if prompt is not None and answer is not None}


class _Kept(dict[str, str]):
    """Answers by question, in a file to which each new one is added."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        if path.exists():
            for line in path.read_text(encoding="utf-8").split("\n"):
                try:
                    found = json.loads(line)
                except ValueError:
                    continue  # the last line of a process that was killed
                self[found["asked"]] = found["answer"]

    def add(self, answers: Mapping[str, str]) -> None:
        self.update(answers)
        with self._path.open("a", encoding="utf-8") as file:
            for asked, answer in answers.items():
                file.write(json.dumps({"asked": asked, "answer": answer}, ensure_ascii=False) + "\n")


def _key(question: Question) -> str:
    return json.dumps([question.input, question.asked], ensure_ascii=False)


def _size(question: Question) -> tuple[int, str]:
    key = _key(question)
    return len(key), key
