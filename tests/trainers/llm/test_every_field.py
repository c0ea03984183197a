"""No field of the room is dead: each is set to another value, and what follows is looked at.

What a value changes is seen without training: in the arguments of the Trainer, in the tokens, in the model, in how
samples are taken, in the run's folder. Fields whose effect only a training shows have it in a test of their own.
"""

import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch

from nbtrain import fit, hub
from nbtrain.errors import DataError, ParamError
from nbtrain.models import load
from nbtrain.models.device import Device, Precision
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder, read_params
from nbtrain.runs.journal import Journal
from nbtrain.trainers import _loop
from nbtrain.trainers import load as room
from nbtrain.trainers._samples import Manner
from nbtrain.trainers.llm import METHODS, _language, _reinforced, _ways, grpo

Params = room("llm").Params
TESTS = Path(__file__).resolve().parents[2]

# field: (another value, argument of the Trainer, its value then)
ARGUMENTS = {
    "seed": (7, "seed", 7),
    "max_steps": (9, "max_steps", 9),
    "epochs": (3, "num_train_epochs", 3),
    "batch_size": (5, "per_device_train_batch_size", 5),
    "eval_batch_size": (3, "per_device_eval_batch_size", 3),
    "gradient_accumulation": (4, "gradient_accumulation_steps", 4),
    "lr": (0.1, "learning_rate", 0.1),
    "optimizer": ("adafactor", "optim", "adafactor"),
    "scheduler": ("cosine", "lr_scheduler_type", "cosine"),
    "warmup_ratio": (0.5, "warmup_steps", 25),
    "weight_decay": (0.3, "weight_decay", 0.3),
    "max_grad_norm": (0.0, "max_grad_norm", 0.0),
    "logging_steps": (4, "logging_steps", 4),
    "on_nan": ("skip", "logging_nan_inf_filter", True),
    "eval_strategy": ("steps", "eval_strategy", "steps"),
    "eval_steps": (11, "eval_steps", 11),
    "save_strategy": ("no", "save_strategy", "no"),
    "save_steps": (13, "save_steps", 13),
    "disable_gradient_checkpointing": (True, _loop._checkpointing(), False),
}
# field: (what stands beside it, another value); the tokens, prompts or splits are then others
TOKENS = {
    "trainer": ({}, "default"),
    "chat_template": ({}, "alpaca"),
    "block_size": ({"response_only_loss": False}, 16),
    "model_max_length": ({"response_only_loss": False}, 16),
    "max_seq_length": ({"response_only_loss": False}, 16),
    "packing": ({}, True),
    "response_only_loss": ({}, False),
    "conversation_extension": ({}, 3),
    "apply_chat_template": ({}, False),
    "column_mapping": ({}, {"prompt": "response", "response": "prompt"}),
    "valid_fraction": ({}, 0.5),
    "valid_split": ({"data_path": "splits"}, "test"),
    "train_split": ({"data_path": "splits"}, "test"),
    "max_samples": ({}, 5),
    "data_path": ({}, "text.jsonl"),
    "text_column": ({"trainer": "default", "data_path": "text.jsonl"}, "other"),
    "add_eos_token": ({"trainer": "default", "data_path": "text.jsonl"}, False),
    "sample_prompts": ({}, ["Who?"]),
}
# field: (another value, argument of TRL's GRPO; ppo draws by the same three)
DRAWN = {
    "rl_top_k": (3, "top_k"),
    "rl_top_p": (0.5, "top_p"),
    "rl_temperature": (0.3, "temperature"),
}
# field: (what stands beside it, another value, what is looked at)
MODEL = {
    "peft": ({}, True, lambda model: hasattr(model, "peft_config")),
    "quantization": ({"peft": True}, "int4", lambda model: hasattr(model.config, "quantization_config")),
    "lora_r": ({"peft": True}, 3, lambda model: model.peft_config["default"].r),
    "lora_alpha": ({"peft": True}, 3, lambda model: model.peft_config["default"].lora_alpha),
    "lora_dropout": ({"peft": True}, 0.3, lambda model: model.peft_config["default"].lora_dropout),
    "target_modules": ({"peft": True}, "q_proj", lambda model: str(model.peft_config["default"].target_modules)),
}
MANNER = {
    "sample_max_new_tokens": (5, "longest"),
    "sample_temperature": (0.3, "temperature"),
    "sample_top_k": (3, "top_k"),
    "sample_top_p": (0.4, "top_p"),
}
WAYS = {
    "backend": ("hf", "padded batches (hf)"),
    "attn_implementation": ("eager", "padded batches, grouped by length"),
}
# seen in a test of this file with the field's name
OWN = {
    "project_name", "mixed_precision", "merge_adapter", "model", "padding", "use_flash_attention_2", "unsloth", "token",
    "on_bad_rows", "rl_env_module", "rl_env_class", "repo_id", "username", "push_to_hub", "hub_private", "log",
    "trust_remote_code",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    here = tmp_path_factory.mktemp("fields")
    pairs = [{"prompt": f"What is {n}, and why is it?", "response": f"It is {n + 1}, as all know."} for n in range(20)]
    texts = [{"text": f"The number {n} stands here.", "other": f"And {n} there."} for n in range(20)]
    (here / "splits").mkdir()
    parts = {"splits/train": pairs[:10], "splits/validation": pairs[10:14], "splits/test": pairs[14:]}
    for name, rows in {"pairs": pairs, "text": texts, **parts}.items():
        (here / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return here


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.data.mkdir(parents=True)
    with Journal(folder.events) as journal:
        yield ActiveRun(folder, journal)


@cache
def named_in_other_tests() -> frozenset[str]:
    """Names that tests give a value: name=... or "name": ..."""
    text = "".join(path.read_text() for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    return frozenset(re.findall(r"\b(\w+)=", text) + re.findall(r"[\"'](\w+)[\"']:", text))


def test_every_field_is_shown_to_do_something_or_refused():
    here = {*ARGUMENTS, *TOKENS, *MODEL, *MANNER, *DRAWN, *WAYS, *OWN}
    shown = here | named_in_other_tests()
    dead = [name for name, item in Params.options().items() if name not in shown and not item.refused]
    assert not dead, f"nothing shows what {', '.join(dead)} do: add them to this file, or to a test of their own"
    assert here <= Params.options().keys()


@pytest.mark.parametrize("name", [name for name, item in Params.options().items() if item.refused])
def test_what_is_refused_says_why_and_its_default_is_taken(name):
    item = Params.options()[name]
    other = {bool: True, int: 17, str: "word"}[item.kinds[0]]
    with pytest.raises(ParamError, match=f"{item.flag} is refused") as caught:
        Params(**{name: other})
    assert caught.value.why == item.refused and len(item.refused) > 40
    assert Params(**{name: item.default}).changed() == {}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_it_reaches_the_trainer(name, run):
    value, argument, wanted = ARGUMENTS[name]

    def arguments(**given):
        device, precision = Device("cuda", torch.float32), Precision(torch.float32)
        return _loop.arguments(Params(**given), run, rows=100, device=device, precision=precision, evaluate=True)

    assert arguments()[argument] != wanted
    assert arguments(**{name: value})[argument] == wanted


def tokens(place, run, **given):
    given = {"trainer": "sft", "data_path": "pairs.jsonl", **given}
    given["data_path"] = str(place / given["data_path"])
    params = Params(**given)
    found, _ = _language.tokenised(params, run, METHODS[params.trainer].prepare)
    parts = [part and [part["input_ids"][:], part["labels"][:]] for part in (found.train, found.valid)]
    return parts, [(prompt.text, prompt.ids) for prompt in found.prompts]


@pytest.mark.parametrize("name", TOKENS)
def test_it_changes_the_tokens(name, place, run):
    beside, value = TOKENS[name]
    assert tokens(place, run, **beside) != tokens(place, run, **{**beside, name: value})


@pytest.mark.parametrize("name", MODEL)
def test_it_changes_the_model(name):
    beside, value, look = MODEL[name]
    plain, other = (look(load.causal_model(Params(**given))) for given in (beside, {**beside, name: value}))
    assert plain != other


@pytest.mark.parametrize("name", MANNER)
def test_it_changes_how_samples_are_taken(name):
    value, part = MANNER[name]
    assert getattr(Manner.of(Params(**{name: value})), part) == value != getattr(Manner.of(Params()), part)


@pytest.mark.parametrize("name", DRAWN)
def test_it_changes_how_answers_are_drawn(name):
    value, argument = DRAWN[name]
    plain, other = (
        grpo._settings(Params(trainer="grpo", rl_reward_fn="length", **given)) for given in ({}, {name: value})
    )
    assert other[argument] == value != plain[argument]


def test_the_class_of_an_environment_is_chosen_by_name(monkeypatch):
    asked = []
    monkeypatch.setattr(_reinforced.environments, "named", lambda *given: asked.append(given))
    _reinforced.environment(Params(trainer="grpo", rl_env_module="here.py", rl_env_class="Game"))
    assert asked[0][:2] == ("here.py", "Game")


@pytest.mark.parametrize("name", WAYS)
def test_it_changes_how_batches_are_made(name, run):
    value, told = WAYS[name]

    def way(**given):
        params = Params(trainer="sft", **given)
        model, words = load.causal_model(params), load.tokenizer(params)
        return _ways.choose(params, run, model, words, Precision(torch.float32)).told

    assert way() != told == way(**{name: value})


def test_a_run_is_called_as_project_name_says(workdir):
    assert fit.prepare(Params(project_name="mine")).path == workdir / "mine"
    assert fit.prepare(Params()).path != workdir / "mine"


def test_mixed_precision_is_the_format_of_the_computation():
    device = Device("cuda", torch.bfloat16)
    assert load.precision(Params(mixed_precision="fp16"), device).fp16
    assert load.precision(Params(mixed_precision="bf16"), device).bf16
    assert not load.precision(Params(mixed_precision="none"), device).bf16


def test_merge_adapter_decides_what_is_saved(tmp_path):
    for merged in (True, False):
        params = Params(peft=True, lora_r=2, merge_adapter=merged)
        load.save(load.causal_model(params), load.tokenizer(params), tmp_path / f"{merged}" / "model", params)
        assert (tmp_path / f"{merged}" / "model" / "adapter_config.json").exists() is not merged


def test_model_and_token_and_trust_are_those_of_the_opening(monkeypatch):
    asked = {}
    monkeypatch.setattr(load, "open_tokenizer", lambda model, **given: asked.update(given, model=model))
    with pytest.raises(AttributeError):
        load.tokenizer(Params(model="other", token="hf_x", trust_remote_code=True))
    assert asked == {"model": "other", "token": "hf_x", "trust_remote_code": True}


def test_padding_is_the_side_that_is_filled(run):
    params = Params(trainer="sft", backend="hf", padding="left")
    way = _ways.choose(params, run, load.causal_model(params), load.tokenizer(params), Precision(torch.float32))
    batch = way.collate([{"input_ids": [5], "labels": [5]}, {"input_ids": [5, 6, 7], "labels": [5, 6, 7]}])
    assert batch["attention_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]


def test_flash_attention_is_asked_for_and_refused_where_it_is_not(run):
    params = Params(use_flash_attention_2=True)
    with pytest.raises(ParamError, match="flash_attention_2 does not work"):
        _ways.attend(params, load.causal_model(params))


def test_unsloth_is_its_backend(run):
    with pytest.raises(Exception, match="--backend unsloth needs"):
        room("llm").train(Params(trainer="sft", unsloth=True), run)


def test_on_bad_rows_leaves_rows_out_instead_of_ending_the_run(place, run):
    rows = [*(place / "pairs.jsonl").read_text().splitlines(), json.dumps({"prompt": "", "response": ""})]
    (place / "bad.jsonl").write_text("\n".join(rows))
    with pytest.raises(DataError, match="cannot be used"):
        tokens(place, run, data_path="bad.jsonl", valid_fraction=0)
    left, _ = tokens(place, run, data_path="bad.jsonl", valid_fraction=0, on_bad_rows="skip")
    assert len(left[0][0]) == 20


def test_what_is_said_of_the_hub_names_the_upload(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(hub, "push", lambda folder, name, pause, **given: asked.append((name, given)) or "url")
    params = Params(push_to_hub=True, repo_id="name", username="who", hub_private=False, token="hf_x" * 9)
    with Journal(tmp_path / "events.jsonl") as journal:
        fit._upload(params, ActiveRun(RunFolder(tmp_path), journal), "who/name")
        fit._upload(Params(), ActiveRun(RunFolder(tmp_path), journal), "")
    assert asked == [("who/name", {"private": False, "token": "hf_x" * 9})]


def test_log_adds_a_listener(monkeypatch, workdir):
    from nbtrain.sinks import trackers

    heard = []
    monkeypatch.setattr(trackers, "Aside", lambda name, *rest, began: heard.append(name) or (lambda event: None))
    monkeypatch.setattr("nbtrain.trainers.llm.train", lambda params, run: {})
    for given in ({"log": "tensorboard"}, {}):
        folder = fit.prepare(Params(**given))
        assert read_params(folder)["params"]["log"] == given.get("log", "none")
        fit.fit(folder)
    assert heard == ["tensorboard"]
