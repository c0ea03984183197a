"""Configs as AutoTrain's and Oumi's users have them: every key works, or is told once with what to use instead."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nbtrain import cli, configs
from nbtrain.trainers import load

CONFIGS = Path(__file__).parent / "data_files" / "configs"
FILES = sorted(path.name for path in CONFIGS.iterdir() if path.suffix in (".yml", ".yaml"))
# what of each is left out, in the order in which it is told
LEFT = {
    "autotrain_llm_orpo.yml": ["quantization"],
    "autotrain_seq2seq.yml": ["quantization"],
}


@pytest.fixture
def place(workdir, monkeypatch):
    """The configs with their rows and pictures, as a user has them in a folder."""
    for name in ("HF_USERNAME", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(CONFIGS, workdir, dirs_exist_ok=True)
    return workdir


@pytest.fixture
def pictures(place):
    """Squares on a ground: two classes, how bright they are, where they are, what is asked about them."""
    from PIL import Image

    chance = random.Random(0)
    told = {"scores": [], "boxes": [], "asked": []}
    for name in (*told, "classes/red", "classes/blue"):
        (place / "pictures" / name).mkdir(parents=True)
    for number in range(12):
        colour = "red" if number % 2 else "blue"
        left, top, side = chance.randrange(40), chance.randrange(40), chance.randrange(12, 24)
        light = chance.randrange(20, 230)
        picture = Image.new("RGB", (64, 64), (light, light, light))
        picture.paste((220, 30, 30) if colour == "red" else (30, 30, 220), (left, top, left + side, top + side))
        name = f"{number}.png"
        picture.save(place / "pictures" / "classes" / colour / name)
        for folder in told:
            picture.save(place / "pictures" / folder / name)
        told["scores"].append({"file_name": name, "target": light / 255})
        boxes = {"bbox": [[left, top, side, side]], "category": ["square"]}
        told["boxes"].append({"file_name": name, "objects": boxes})
        told["asked"].append({"file_name": name, "question": "Which colour has the square?", "answer": colour})
    for folder, rows in told.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (place / "pictures" / folder / "metadata.jsonl").write_text(lines)


def read(name):
    config = configs.read(name)
    params, notices = load(config.room).Params.read(config.values, notices=config.notices)
    return params, [each for each in notices if "Left out" in each]


@pytest.mark.parametrize("name", [name for name in FILES if "image" in name or "object" in name or "vlm" in name])
def test_the_pictures_of_an_old_config_are_read_and_judged(place, pictures, name):
    params, told = read(name)
    lines = load(params.room).check(params, place / "cache")
    assert any("12" in line or "10" in line for line in lines), lines
    assert told == []


@pytest.mark.parametrize("name", [name for name in FILES if not any(w in name for w in ("image", "object", "vlm"))])
def test_the_rows_of_an_old_config_are_read_and_judged(place, name):
    params, told = read(name)
    lines = load(params.room).check(params, place / "cache")
    assert any("rows" in line for line in lines), lines
    assert len(told) <= 1, "one notice, whatever is left out"
    if name.startswith("autotrain"):
        assert [word for word in LEFT.get(name, []) if word in told[0]] == LEFT.get(name, [])
        assert bool(told) == (name in LEFT)


def test_an_old_config_gives_the_parameters_that_it_names(place):
    params, _ = read("autotrain_extractive_qa.yml")
    changed = params.changed()
    assert (params.room, params.text_column, params.question_column, params.answer_column) == (
        "extractive-question-answering", "passage", "asked", "found"
    )  # fmt: skip
    assert (changed["max_seq_length"], changed["max_doc_stride"]) == (128, 32)
    params, _ = read("autotrain_llm_orpo.yml")
    assert (params.trainer, params.block_size, params.prompt_text_column) == ("orpo", 128, "asked")
    params, _ = read("autotrain_tabular.yml")
    assert (params.task, params.target_columns, params.id_column) == ("regression", ["warmth"], "day")
    assert (params.numeric_scaler, params.categorical_imputer, params.num_trials) == ("robust", "most_frequent", 2)


def test_a_recipe_of_oumi_says_once_what_is_left_out_and_why(place):
    params, (told,) = read("oumi_sft_qlora.yaml")
    assert params.changed() == {
        "trainer": "sft", "project_name": "kitchen-of-oumi", "data_path": "rows/chats.jsonl", "max_samples": 8,
        "packing": False,
        "model_max_length": 256, "chat_template": "chatml", "text_column": "talk",
        "attn_implementation": "sdpa", "max_steps": 4, "warmup_ratio": 0.25, "eval_batch_size": 2,
        "lr": 2e-4, "scheduler": "cosine", "mixed_precision": "none", "save_strategy": "no", "eval_strategy": "no",
        "eval_steps": 50, "logging_steps": 1, "seed": 1, "peft": True, "lora_r": 4, "lora_alpha": 8,
        "lora_dropout": 0.0, "target_modules": "q_proj,v_proj",
    }  # fmt: skip
    for name in (
        "fsdp", "run_name", "shuffle", "adam_beta2", "telemetry", "log_level", "enable_mlflow", "torch_dtype_str",
        "freeze_layers",
        "tokenizer_pad_token", "lora_init_weights", "bnb_4bit_quant_type", "metrics_function", "data.seed",
        "try_resume_from_last_checkpoint", "dataloader_num_workers", "mixture_strategy", "shard_for_eval",
    ):  # fmt: skip
        assert f" {name}" in told, name
    assert "no counterpart" not in told and "deepspeed" not in told
    assert "--log takes tensorboard" in told


def test_a_recipe_of_oumi_names_its_method_in_our_words(place):
    params, _ = read("oumi_grpo.yaml")
    assert (params.trainer, params.rl_num_generations, params.rl_max_new_tokens) == ("grpo", 2, 8)
    assert (params.rl_temperature, params.rl_clip_range, params.rl_reward_fn) == (0.9, 0.1, ["rewards.py:short"])
    params, _ = read("oumi_dpo.yaml")
    assert (params.trainer, params.dpo_beta, params.save_strategy) == ("dpo", 0.3, "epoch")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("autotrain_text_classification.yml", "weather-or-food"),
        ("autotrain_tabular.yml", "warmth-of-a-day"),
        ("oumi_sft_qlora.yaml", "kitchen-of-oumi"),
    ],
)
def test_an_old_config_trains_by_the_command(place, name, run):
    done = subprocess.run([sys.executable, "-m", "nbtrain", "--config", name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (place / run / "model").is_dir() and (place / run / "README.md").is_file()
    assert ("Left out of the config" in done.stderr) == name.startswith("oumi")


def test_the_command_reads_a_config_under_its_old_name(place, monkeypatch):
    seen = []
    monkeypatch.setattr(cli, "_train", lambda params: seen.append(params) or 0)
    assert cli.main(["--config", "autotrain_llm_dpo.yml", "--epochs", "2"]) == 0
    assert (seen[0].trainer, seen[0].dpo_beta, seen[0].epochs, seen[0].token) == ("dpo", 0.2, 2, None)
