"""The names under which users of Oumi, AlignTune and transformers know our parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nbtrain.params import Params

NAMES = {
    "model_name": "model",
    "model_name_or_path": "model",
    "dataset_name": "data_path",
    "dataset_path": "data_path",
    "dataset": "data_path",
    "split": "train_split",
    "sample_count": "max_samples",
    "target_col": "text_column",
    "run_name": "project_name",
    "learning_rate": "lr",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "per_device_batch_size": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "lr_scheduler_type": "scheduler",
    "optim": "optimizer",
    "pack": "packing",
    "use_peft": "peft",
    "peft_enabled": "peft",
    "use_lora": "peft",
    "lora_target_modules": "target_modules",
    "ref_model": "model_ref",
    "reference_model": "model_ref",
    "reward_model": "rl_reward_model_path",
    "reward_model_name": "rl_reward_model_path",
    "reward_functions": "rl_reward_fn",
    "num_generations": "rl_num_generations",
    "num_completions": "rl_num_generations",
    "top_k": "rl_top_k",
    "top_p": "rl_top_p",
    "kl_coef": "rl_kl_coef",
    "clip_range": "rl_clip_range",
    "num_ppo_epochs": "rl_num_ppo_epochs",
}
"""Their name to ours, where the value means the same."""

Said = Callable[[Any], Mapping[str, Any]]
OTHERWISE: Mapping[str, Said] = {
    "load_in_4bit": lambda on: {"quantization": "int4" if on else None},
    "load_in_8bit": lambda on: {"quantization": "int8" if on else None},
    "mixed_precision_dtype": lambda name: {"mixed_precision": str(name).lower()},
    "enable_gradient_checkpointing": lambda on: {"disable_gradient_checkpointing": not on},
    "eval_interval": lambda steps: {"eval_strategy": "steps", "eval_steps": steps},
    "save_interval": lambda steps: {"save_strategy": "steps", "save_steps": steps},
    "enable_tensorboard": lambda on: {"log": "tensorboard" if on else "none"},
}
"""Their name to what it says in our words."""


def translated(given: Mapping[str, Any], params_class: type[Params]) -> tuple[dict[str, Any], list[str]]:
    """Values by our names, as far as the names are known, and what the user should be told.

    Args:
        given: values by our names or theirs. A name of ours goes before theirs; None is no value.
        params_class: of the room; a name that it does not have is left as it is.

    Returns:
        The values, and a sentence that says which names were read as which, if there were any.
    """
    options, own_names = params_class.options(), known(params_class)
    own = {name: value for name, value in given.items() if name in own_names}
    rest = {name: value for name, value in given.items() if name not in own_names and value is not None}
    found, left, told = dict[str, Any](), dict[str, Any](), []
    for name, value in rest.items():
        said = OTHERWISE[name](value) if name in OTHERWISE else {NAMES.get(name, ""): value}
        if said.keys() <= options.keys():
            found |= {ours: _joined(each) if ours == "target_modules" else each for ours, each in said.items()}
            told.append(f"{name} as {' and '.join(said)}")
        else:
            left[name] = value
    notices = [f"Read by their names here: {', '.join(told)}."] if told else []
    return left | found | own, notices


def known(params_class: type[Params]) -> set[str]:
    """The names of a room's parameters, and their aliases."""
    options = params_class.options()
    return {*options, *(alias for item in options.values() for alias in item.aliases)}


def _joined(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
