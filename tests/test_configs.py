"""Configs: AutoTrain's layout and Oumi's, under their own names, and what cannot be used in them."""

import pytest

from nbtrain import cli, configs
from nbtrain.errors import ParamError
from nbtrain.trainers import load, names

Params = load("llm").Params

AUTOTRAIN = """\
task: llm-sft
base_model: meta/some-model
project_name: my-model
log: none
backend: local

data:
  path: data/
  train_split: train
  valid_split: null
  column_mapping:
    text_column: text
    prompt_column: question

params:
  block_size: 1024
  epochs: 2
  lr: 1e-4
  mixed_precision: fp16

hub:
  username: ${HUB_USER}
  token: ${HUB_TOKEN}
  push_to_hub: false
"""


def test_a_config_of_autotrain_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HUB_USER", "someone")
    monkeypatch.setenv("HUB_TOKEN", "canary-4f9d81c7b2")
    path = tmp_path / "theirs.yaml"
    path.write_text(AUTOTRAIN)
    config = configs.read(path)
    params, _ = Params.read(config.values)
    assert config.room == "llm"
    assert params.changed() == {
        "trainer": "sft",
        "project_name": "my-model",
        "data_path": "data/",
        "column_mapping": {"prompt": "question"},
        "model": "meta/some-model",
        "lr": 1e-4,
        "epochs": 2,
        "mixed_precision": "fp16",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: [", "cannot be read"),
        ("- a\n- b\n", "names no task"),
        ("base_model: tiny\n", "names no task"),
        ("task: lm-sft\n", "there is no task 'lm-sft'.*Did you mean llm-sft"),
        ("task: image-clasification\n", "Did you mean image-classification"),
        ("task: text-classification-best\n", "does one thing, and 'best' is none"),
        ("task: llm-sft\nbackend: dgx-a100\n", "dgx-a100"),
        ("task: llm-sft\nbase_model: ${NOT_SET_ANYWHERE}\n", "NOT_SET_ANYWHERE, which is not set"),
        ("task: llm-sft\ndata: rows.csv\n", "`data` in the config"),
        ("task: llm-sft\nbackend: spaces-a10g\n", "for another machine"),
        ("task: !!python/object/apply:os.system ['true']\n", "cannot be read"),
    ],
)
def test_a_config_that_cannot_be_used_says_why(tmp_path, text, words):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ParamError, match=words) as caught:
        configs.read(path)
    assert caught.value.where == str(path)
    with pytest.raises(ParamError, match="cannot be read"):
        configs.read(tmp_path / "absent.yaml")


def test_a_config_refuses_a_parameter_that_does_not_exist(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("task: llm-sft\nparams:\n  epoch: 3\n")
    with pytest.raises(ParamError, match="Did you mean --epochs"):
        Params.read(configs.read(path).values)


@pytest.mark.parametrize(
    ("task", "room", "method"),
    [
        ("llm-sft", "llm", "sft"),
        ("llm:sft", "llm", "sft"),
        ("llm_generic", "llm", "generic"),
        ("lm_training", "llm", None),
        ("llm", "llm", None),
        ("llm-nonsense", "llm", "nonsense"),
        ("text_binary_classification", "text-classification", None),
        ("token_classification", "token-classification", None),
        ("image_classification", "image-classification", None),
        ("image-scoring", "image-regression", None),
        ("ext_qa", "extractive-question-answering", None),
        ("st:pair_class", "sentence-transformers", "pair_class"),
        ("sentence-transformers-pair", "sentence-transformers", "pair"),
        ("vlm:vqa", "vlm", "vqa"),
    ],
)
def test_a_task_is_known_by_all_its_names(tmp_path, task, room, method):
    path = tmp_path / "config.yaml"
    path.write_text(f"task: {task}\nbase_model: tiny\n")
    if room not in names():
        with pytest.raises(ParamError, match="there is no task"):
            configs.read(path)
        return
    config = configs.read(path)
    assert (config.room, config.values.get("trainer")) == (room, method)


OUMI = """\
model:
  model_name: some/model
  model_max_length: 512
  trust_remote_code: false
  torch_dtype_str: bfloat16

data:
  train:
    datasets:
      - dataset_name: text_sft_jsonl
        dataset_path: ./rows.jsonl
        sample_count: 20
    target_col: body
  validation:
    datasets:
      - dataset_name: text_sft_jsonl
        dataset_path: ./rows.jsonl
        split: held_out

training:
  trainer_type: TRL_SFT
  output_dir: out/mine
  num_train_epochs: 2
  per_device_train_batch_size: 3
  gradient_accumulation_steps: 4
  learning_rate: 2.0e-4
  lr_scheduler_type: cosine
  optimizer: adamw_torch
  warmup_ratio: 0.2
  save_steps: 7
  mixed_precision_dtype: NONE
  enable_gradient_checkpointing: true
  include_performance_metrics: true
  telemetry_dir: somewhere

peft:
  lora_r: 4
  lora_target_modules: [q_proj, v_proj]
  q_lora: true
  q_lora_bits: 8

deepspeed: {enable_deepspeed: false}
fsdp: {enable_fsdp: false, sharding_strategy: FULL_SHARD}
"""


def test_a_config_of_oumi_is_understood_and_what_has_no_counterpart_is_named_once(tmp_path):
    path = tmp_path / "oumi.yaml"
    path.write_text(OUMI)
    config = configs.read(path)
    params, notices = Params.read(config.values, notices=config.notices)
    assert params.changed() == {
        "trainer": "sft",
        "project_name": "out/mine",
        "data_path": "./rows.jsonl",
        "valid_split": "held_out",
        "max_samples": 20,
        "text_column": "body",
        "model": "some/model",
        "model_max_length": 512,
        "lr": 2e-4,
        "epochs": 2,
        "batch_size": 3,
        "gradient_accumulation": 4,
        "scheduler": "cosine",
        "warmup_ratio": 0.2,
        "save_strategy": "steps",
        "save_steps": 7,
        "mixed_precision": "none",
        "peft": True,
        "quantization": "int8",
        "lora_r": 4,
        "target_modules": "q_proj,v_proj",
    }
    assert notices[-1] == (
        "Left out of the config: torch_dtype_str (weights are held as the device likes; --mixed-precision bf16 "
        "computes in it); include_performance_metrics, telemetry_dir (tokens a second and memory are always shown)."
    ), "deepspeed is off there, and nothing is lost"
    assert "learning_rate as lr" in notices[0]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("HF", {"trainer": "default", "backend": "hf"}),
        ("OUMI", {"trainer": "default", "backend": "native"}),
        ("trl_dpo", {"trainer": "dpo"}),
        ("TRL_GRPO", {"trainer": "grpo"}),
        ("TRL_KTO", {"trainer": "kto"}),
    ],
)
def test_a_trainer_type_of_oumi_is_a_method_and_a_backend(tmp_path, kind, values):
    path = tmp_path / "oumi.yaml"
    path.write_text(
        f"data: {{train: {{datasets: [{{dataset_name: a/b, subset: c}}]}}}}\ntraining: {{trainer_type: {kind}}}\n"
    )
    assert configs.read(path).values == {"data_path": "a/b:c", **values}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training: {trainer_type: TRL_SFT}\n", "names 0 data sets"),
        ("training: {trainer_type: VERL_GRPO}\n", "no trainer_type 'VERL_GRPO'"),
        ("training: {trainer_type: TRL_SFT}\ndata: {train: {datasets: [{}, {}]}}\n", "names 2 data sets"),
    ],
)
def test_a_config_of_oumi_that_cannot_be_used_says_why(tmp_path, text, told):
    path = tmp_path / "oumi.yaml"
    path.write_text(text)
    with pytest.raises(ParamError, match=told):
        configs.read(path)


def test_the_command_trains_what_a_config_says_and_shows_its_notices(workdir, monkeypatch, capsys):
    (workdir / "oumi.yaml").write_text(OUMI.replace("TRL_SFT", "HF"))
    seen = []
    monkeypatch.setattr(cli, "_train", lambda params: seen.append(params) or 0)
    assert cli.main(["--config", "oumi.yaml", "--epochs", "5"]) == 0
    assert (seen[0].method, seen[0].backend, seen[0].epochs, seen[0].batch_size) == ("default", "hf", 5, 3)
    assert any("telemetry_dir" in notice for notice in seen[0].notices)
