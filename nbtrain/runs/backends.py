"""How several processes share a model: --distributed-backend, by accelerate's own configs.

None and ddp: each process holds the whole model. Anything else is a config of accelerate, as `accelerate config` writes
it; for fsdp and deepspeed a small one is put into the run folder.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from nbtrain.errors import MissingExtra, ParamError
from nbtrain.runs import process, ranks
from nbtrain.runs.files import atomic_write
from nbtrain.runs.folder import RunFolder

_SMALL: dict[str, dict[str, Any]] = {
    "fsdp": {
        "distributed_type": "FSDP",
        "fsdp_config": {
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": True,
            "fsdp_state_dict_type": "FULL_STATE_DICT",
            "fsdp_cpu_ram_efficient_loading": False,
        },
    },
    # stage 2: gradients and the optimiser's state are in parts, and each process can measure and save the model
    "deepspeed": {"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 2}},
}
_KNOWN = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP", "DEEPSPEED")
_SET = ("ACCELERATE_USE_", "ACCELERATE_DEEPSPEED_", "ACCELERATE_GRADIENT_", "FSDP_")  # variables by which it is told


def kind(asked: str | None) -> str:
    """accelerate's name of what is asked for: MULTI_GPU where each process holds the whole model.

    Raises:
        ParamError: a config that cannot be read, or of something that does not work here.
    """
    if asked in (None, "ddp"):
        return "MULTI_GPU"
    config = _SMALL[asked] if asked in _SMALL else _read(Path(str(asked)).expanduser())
    found = str(config.get("distributed_type", "NO"))
    if found not in _KNOWN:
        raise ParamError(
            f"--distributed-backend {asked}: distributed_type {found} is not known here",
            fix=f"one of {', '.join(_KNOWN)}",
        )
    stage = (config.get("deepspeed_config") or {}).get("zero_stage", 2)
    if found == "DEEPSPEED" and stage not in (0, 1, 2):
        raise ParamError(
            f"--distributed-backend {asked}: no process has the whole model at ZeRO stage {stage}, to measure and save",
            fix="zero_stage 2, or --distributed-backend fsdp.",
        )
    return found if found in ("FSDP", "DEEPSPEED") else "MULTI_GPU"


def possible(asked: str | None) -> None:
    """See that what is asked for works on this machine, before anything is started.

    Raises:
        ParamError: it does not. MissingExtra: DeepSpeed is not installed.
    """
    name = {"FSDP": "FSDP", "DEEPSPEED": "DeepSpeed"}.get(kind(asked))
    if name is None:
        return
    if not process.gpus():
        raise ParamError(
            f"--distributed-backend {asked}: accelerate knows {name} for GPUs only, and none can be seen here",
            fix="leave it out: on a CPU each process holds the whole model.",
        )
    if name == "DeepSpeed" and importlib.util.find_spec("deepspeed") is None:
        raise MissingExtra(
            f"--distributed-backend {asked} needs DeepSpeed, which is not installed", fix="pip install deepspeed"
        )


def set_up(asked: str | None, run: RunFolder, *, write: bool) -> None:
    """Tell accelerate in this process, by its environment, as `accelerate launch` does.

    Args:
        write: put the small config into the run folder; one process does.
    """
    import yaml  # type: ignore[import-untyped,unused-ignore]

    if kind(asked) == "MULTI_GPU":
        return
    config = Path(str(asked)).expanduser()
    if asked in _SMALL:
        config = run.path / "accelerate.yaml"
        if write:
            whole = {"compute_environment": "LOCAL_MACHINE", "mixed_precision": "no", **_SMALL[str(asked)]}
            atomic_write(config, yaml.safe_dump(whole, sort_keys=False))
        ranks.wait()
    os.environ.update({name: value for name, value in _told(config).items() if name.startswith(_SET)})


def _told(config: Path) -> dict[str, str]:
    """The environment that `accelerate launch` gives to a process with this config."""
    from accelerate.commands.launch import (  # type: ignore[import-untyped,unused-ignore]
        _validate_launch_command,
        launch_command_parser,
    )
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env  # type: ignore[import-untyped,unused-ignore]

    given = ["--config_file", str(config), "--num_processes", "2", "--num_machines", "1", "train.py"]
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(given))
    if arguments.use_deepspeed:
        arguments.main_process_port = 0
        return dict(prepare_deepspeed_cmd_env(arguments)[1])
    return dict(prepare_multi_gpu_env(arguments))


def _read(config: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped,unused-ignore]

    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamError(f"--distributed-backend {config} cannot be read", why=str(error).split("\n")[0]) from None
    if not isinstance(found, dict):
        raise ParamError(
            f"--distributed-backend {config} is no config of accelerate", fix="`accelerate config` makes one."
        )
    return found
