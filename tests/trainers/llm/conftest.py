"""Whole runs of a language model, from a file to a saved model, and a model that can teach."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.runs import checkpoints
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal, story
from nbtrain.trainers.llm import _language, _lessons, _preferences

QUESTIONS = [f"What comes after {number}?" for number in range(30)]
ANSWERS = [f"After {number} comes {number + 1}." for number in range(30)]
PAIRS = [{"prompt": question, "response": answer} for question, answer in zip(QUESTIONS, ANSWERS, strict=True)]


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Train; what came of it. resume: the folder of a run to go on with. stop: the step after which a stop is asked."""

    def go(*, resume=None, stop=None, **given):
        torch.set_num_threads(1)
        folder = resume or RunFolder(tmp_path_factory.mktemp("whole") / "run")
        folder.data.mkdir(parents=True, exist_ok=True)
        params = trainers.load("llm").Params(
            **({"lr": 1e-3, "batch_size": 4, "logging_steps": 1, "sample_max_new_tokens": 3} | given)
        )
        with Journal(folder.events) as journal:
            run = ActiveRun(folder, journal, resume_from=checkpoints.newest(folder) if resume else None)
            emit = run.emit

            def told(event):
                emit(event)
                if event.kind == "logged" and event.step == stop:
                    run.stopped = "asked to stop"

            run.emit = told
            values = trainers.load("llm").train(params, run)
        events = list(story(folder.events))
        return SimpleNamespace(
            folder=folder,
            params=params,
            report=run.report,
            values=values,
            weights=load_file(folder.model / "model.safetensors"),
            evaluations=[event.values for event in events if event.kind == "evaluated"],
            logged=[event.values for event in events if event.kind == "logged"],
            samples=[event.samples for event in events if event.kind == "sampled"],
            told="\n".join(event.message for event in events if event.kind == "warned"),
            started=next(event for event in events if event.kind == "started"),
        )

    return go


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """Rows as a file; its path."""

    def write(rows):
        path = tmp_path_factory.mktemp("table") / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture(scope="session")
def pairs(table):
    """A file of questions and answers."""
    return table(PAIRS)


@pytest.fixture(scope="session")
def teacher(whole, pairs):
    """A model that knows the answers."""
    return str(whole(trainer="sft", data_path=pairs, epochs=4, lr=3e-3, valid_fraction=0).folder.model)


def short(prompts, completions, **columns):
    """A reward: the fewer letters the better."""
    return [-len(completion) / 10 for completion in completions]


@pytest.fixture(scope="session")
def rewarded(whole, table):
    """Train by GRPO on questions, for short answers."""
    rows = [{"prompt": f"Tell me about the number {number}.", "answer": str(number)} for number in range(40)]
    given = {
        "trainer": "grpo",
        "data_path": table(rows),
        "rl_reward_fn": short,
        "rl_max_new_tokens": 8,
        "rl_kl_coef": 0.02,
        "batch_size": 8,
        "warmup_ratio": 0.0,
    }
    return lambda **changes: whole(**(given | changes))


@pytest.fixture
def prepared(tmp_path):
    """Rows as a teacher and its student see them, in tokens; nothing is trained."""

    def go(prepare=_lessons.prepare, recognise=_language.text_or_chat, **given):
        folder = RunFolder(tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
        folder.data.mkdir(parents=True)
        params = trainers.load("llm").Params(**({"trainer": "sft", "use_distillation": True} | given))
        inner = getattr(trainers.load("llm").METHODS[params.trainer], "prepare", _preferences.prepare)
        with Journal(folder.events) as journal:
            tokens, tokenizer = _language.tokenised(
                params, ActiveRun(folder, journal), lambda *rest: prepare(inner, *rest), recognise
            )
        told = "\n".join(event.message for event in story(folder.events) if event.kind == "warned")
        return SimpleNamespace(tokens=tokens, tokenizer=tokenizer, told=told, folder=folder)

    return go


@pytest.fixture(scope="session")
def calm_and_loud():
    """Real answers as they were written, preferred to the same in capitals: a rule that can be learnt in seconds."""
    lines = sources.own_demo("preferences").read_text(encoding="utf-8").splitlines()

    def rows(count, longest=48):
        found = [
            {name: text[-longest:] if name == "prompt" else text[:longest] for name, text in json.loads(line).items()}
            for line in lines[:count]
        ]
        return [{"prompt": row["prompt"], "chosen": row["rejected"], "rejected": row["chosen"]} for row in found]

    return rows


def _messages(row):
    """A pair as TRL takes a conversation."""
    who = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return {name: [{"role": who[name], "content": text}] for name, text in row.items()}


def _losses(trainer):
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.fixture
def plain(tmp_path):
    """What a plain script of TRL has: its settings, rows as messages, and the loss of each of 20 steps."""
    settings = {
        "output_dir": str(tmp_path / "plain"), "per_device_train_batch_size": 2, "learning_rate": 1e-3,
        "max_steps": 20, "warmup_steps": 2, "weight_decay": 0.01, "optim": "adamw_torch_fused", "seed": 42,
        "logging_steps": 1, "logging_first_step": True, "save_strategy": "no", "report_to": "none",
        "disable_tqdm": True, "use_cpu": True, "bf16": False, "activation_checkpointing": False,
    }  # fmt: skip
    return SimpleNamespace(settings=settings, messages=_messages, losses=_losses)
