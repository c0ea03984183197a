"""Oumi's layout: model, data, training, peft; what has no counterpart here is told once, with what to use instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nbtrain import peers, trainers
from nbtrain.configs.layout import Config, left_out, part
from nbtrain.errors import ParamError, nearest
from nbtrain.params import Params

TRAINERS = {
    "TRL_SFT": {"trainer": "sft"},
    "TRL_DPO": {"trainer": "dpo"},
    "TRL_KTO": {"trainer": "kto"},
    "TRL_GRPO": {"trainer": "grpo"},
    "HF": {"trainer": "default", "backend": "hf"},
    "OUMI": {"trainer": "default", "backend": "native"},
}
"""Oumi's trainer_type, in the words of the room llm."""

TEMPLATES = {"chat_ml": "chatml", "llama3-instruct": "llama-3", "phi3-instruct": "phi", "default": None}
"""Its names of chat templates; others are the same here, or Jinja."""

GRPO = {"max_completion_length": "rl_max_new_tokens", "temperature": "rl_temperature", "epsilon": "rl_clip_range"}
PAIRS = {"beta": "dpo_beta"}
"""Names that mean something else, or nothing, outside of their method."""

_PROCESSES = "how processes share the work"
REASONS: Mapping[str, tuple[str, ...]] = {
    _PROCESSES: (
        "fsdp", "deepspeed", "ddp_find_unused_parameters", "nccl_default_timeout_minutes",
        "dataloader_main_process_only", "device_map",
    ),
    "rows are mapped from the disk, and fetched in time": (
        "dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_persistent_workers",
        "transform_num_workers", "use_torchdata", "use_async_dataset", "shuffle_buffer_size",
    ),
    "rows are shuffled, by --seed": ("shuffle", "data_seed", "data.seed", "use_deterministic", "full_determinism"),
    "optimisers have their usual settings; --optimizer chooses one": (
        "adam_beta1", "adam_beta2", "adam_epsilon", "sgd_momentum", "lr_scheduler_kwargs",
    ),
    "tokens a second and memory are always shown": (
        "include_performance_metrics", "include_alternative_mfu_metrics", "log_model_summary", "profiler", "telemetry",
        "telemetry_dir", "performance",
    ),
    "the log is log/worker.log of the run folder": ("log_level", "dep_log_level", "logging_dir"),
    "the curve has about 500 points; --logging-steps sets how many": ("logging_strategy", "logging_first_step"),
    "--log takes tensorboard, wandb, trackio or csv": ("enable_mlflow",),
    "weights are held as the device likes; --mixed-precision bf16 computes in it": ("torch_dtype_str",),
    "a model comes with its tokenizer": (
        "tokenizer_name", "tokenizer_pad_token", "tokenizer_kwargs", "processor_kwargs", "label_ignore_index",
    ),
    "merge it first: nbtrain tools merge-llm-adapter": ("adapter_model",),
    "all weights are trained, or with --peft an adapter": (
        "freeze_layers", "lora_modules_to_save", "lora_target_parameters",
    ),
    "of an adapter --lora-r, --lora-alpha, --lora-dropout and --target-modules are set": (
        "lora_bias", "lora_init_weights", "lora_task_type", "lora_target_modules_regex", "peft_method",
    ),
    "4 bits are nf4, computed in the run's own precision": (
        "bnb_4bit_quant_type", "bnb_4bit_quant_storage", "bnb_4bit_compute_dtype", "use_bnb_nested_quant",
        "llm_int8_skip_modules",
    ),
    "--eval-metrics names metrics, --eval-function a function": ("metrics_function",),
    "`resume ID` goes on with a run": ("try_resume_from_last_checkpoint",),
    "rows become batches by their kind: --response-only-loss, --packing": (
        "collator_name", "collator_kwargs", "dataset_kwargs", "train_target",
    ),
    "a run is called as its folder": ("run_name",),
    "a model is always saved": ("save_final_model",),
    "a run here has one data set": ("mixture_proportion", "mixture_strategy"),
    "memory is seen to": ("empty_device_cache_steps", "gradient_checkpointing_kwargs", "enable_liger_kernel"),
    "only for evaluation": ("shard_for_eval", "data.test"),
    "without --max-steps: --warmup-ratio is the share of the steps": ("warmup_steps",),
    "held out of the training data: --valid-split, --valid-fraction": ("data.validation",),
}  # fmt: skip
_WHY = {name: why for why, names in REASONS.items() for name in names}


def read(layout: dict[str, Any], where: str) -> Config:
    """The parameters that a layout says.

    Raises:
        ParamError: no such trainer_type, not one data set, or a model that is to begin without its weights.
    """
    model, data, training, peft = (part(layout, name, where) for name in ("model", "data", "training", "peft"))
    kind = str(training.pop("trainer_type")).upper()
    if kind not in TRAINERS:
        fix = f"it is one of {', '.join(TRAINERS)}.{nearest(kind, TRAINERS)}"
        raise ParamError(f"there is no trainer_type {kind!r} here", where=where, fix=fix)
    if model.pop("load_pretrained_weights", True) is False:
        fix = "leave it out, or train a model of your own by nbtrain.native"
        raise ParamError("`load_pretrained_weights: false`: a model here begins with its weights", where=where, fix=fix)
    params_class = trainers.load("llm").Params
    method = TRAINERS[kind]
    rows, strangers = _rows(data, where)
    if training.pop("save_final_model", True) is False:
        strangers.append("save_final_model")
    if "output_dir" in training and training.pop("run_name", None):
        strangers.append("run_name")
    settings = {
        **part(training, "grpo", where),
        **part(training, "dpo", where),
        **part(training, "trainer_kwargs", where),
    }
    own = PAIRS if method["trainer"] == "dpo" else GRPO if method["trainer"] == "grpo" else {}
    settings = {own.get(name, name): value for name, value in settings.items()}
    given = {**_words(model), **rows, **_moments(training), **settings, **_adapter(peft, training), **method}
    values, notices = peers.translated({name: each for name, each in given.items() if each is not None}, params_class)
    known = peers.known(params_class)
    unread = {name: value for name, value in values.items() if name not in known}
    strangers += [name for name, value in (unread | layout).items() if _says_something(value)]
    kept = {name: value for name, value in values.items() if name in known}
    return Config("llm", kept, (*notices, *left_out(_reasons(strangers, params_class))))


def _reasons(names: Iterable[str], params_class: type[Params]) -> Iterable[tuple[str, str]]:
    alone = params_class.options()["num_processes"].refused.rstrip(".") or "--num-processes sets how many there are"
    for name in names:
        why = _WHY.get(name, "it has no counterpart here")
        yield name, alone if why == _PROCESSES else why


def _says_something(value: Any) -> bool:
    """Not what is off anyhow: nothing is lost then."""
    if isinstance(value, Mapping):
        return not any(name.startswith("enable_") and value[name] is False for name in value) and bool(value)
    return value not in (None, False, "", 0) and value != []


def _words(model: dict[str, Any]) -> dict[str, Any]:
    """The model's part, with templates by our names."""
    template = model.get("chat_template")
    return model | ({"chat_template": TEMPLATES[template]} if template in TEMPLATES else {})


def _adapter(peft: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """What is said of an adapter, if one is trained."""
    if not training.pop("use_peft", bool(peft)):
        return {}
    found = {"peft": True} | peft
    bits = found.pop("q_lora_bits", 4)
    if found.pop("q_lora", False):
        found["quantization"] = f"int{bits}"
    modules = found.pop("lora_target_modules", None)
    if modules:
        found["target_modules"] = ",".join(map(str, modules)) if isinstance(modules, list) else modules
    mode = str(found.pop("peft_save_mode", "")).lower()
    return found | ({"merge_adapter": mode != "adapter_only"} if mode else {})


def _rows(data: dict[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """`data` in our words, and the names of what has none."""
    train, valid = part(data, "train", where), part(data, "validation", where)
    sources, held_out = train.pop("datasets", None) or [], valid.pop("datasets", None) or []
    if len(sources) != 1 or not isinstance(sources[0], dict):
        what = f"the config names {len(sources)} data sets to train on; a run here has one"
        raise ParamError(what, where=where, fix="join them into one file, and name it in data.train.datasets")
    source = dict(sources[0])
    name, path, subset = (source.pop(key, None) for key in ("dataset_name", "dataset_path", "subset"))
    columns, path = _columns(source, path)
    found = {"data_path": path or (f"{name}:{subset}" if subset else name), **train, **source, **columns}
    strangers = ["data.seed"] if found.pop("seed", None) is not None else []
    if found.pop("collator_name", "") == "text_completions_only_with_padding":
        found["response_only_loss"] = True
    strangers += [f"data.{name}" for name in data if _says_something(data[name])]
    same = [each for each in held_out if each.get("dataset_path", path) == path and each.get("dataset_name") == name]
    if len(held_out) == len(same) == 1:
        found["valid_split"] = same[0].get("split", "validation")
    elif held_out:
        strangers.append("data.validation")
    return found, strangers


def _columns(source: dict[str, Any], path: Any) -> tuple[dict[str, Any], Any]:
    """The columns and the place that a data set of prompts and responses is told by its own arguments."""
    more = source.pop("dataset_kwargs", None) or {}
    mapping = {role: more.pop(f"{role}_column") for role in ("prompt", "response") if f"{role}_column" in more}
    path = path or more.pop("hf_dataset_path", None)
    found = {"column_mapping": mapping} if mapping else {}
    return found | ({"dataset_kwargs": more} if more else {}), path


def _moments(training: dict[str, Any]) -> dict[str, Any]:
    """When Oumi saves, warms up and tells: a number of steps there is a strategy, or a share, here."""
    found = dict(training)
    if (found.get("save_steps") or 0) > 0:
        found["save_strategy"] = "steps"
    elif found.get("save_epoch"):
        found["save_strategy"] = "epoch"
    elif found.get("save_steps") is not None:
        found["save_strategy"] = "no"
    found.pop("save_epoch", None)
    if found.get("save_strategy") != "steps":
        found.pop("save_steps", None)
    warmup, steps = found.get("warmup_steps"), found.get("max_steps") or -1
    if warmup is not None and steps > 0:
        found["warmup_ratio"] = min(1.0, found.pop("warmup_steps") / steps)
    tensorboard = found.pop("enable_tensorboard", False)
    if found.pop("enable_wandb", False):
        found["log"] = "wandb"
    elif tensorboard:
        found["log"] = "tensorboard"
    return found
