"""Device and number formats are decided by us, and never left to a library's default."""

import os
import types

import pytest
import torch

from nbtrain.errors import ParamError
from nbtrain.models.device import Device, Precision, device, precision

CPU, OLD_GPU, NEW_GPU = Device("cpu", torch.float32), Device("cuda", torch.float16), Device("cuda", torch.bfloat16)


@pytest.fixture
def gpus(monkeypatch):
    """A machine as torch would describe it: so many GPUs, with bf16 in hardware or only emulated."""

    def pretend(count, *, bf16, memory=16 * 2**30):
        answers = {
            "is_available": lambda: count > 0,
            "device_count": lambda: count,
            "is_initialized": lambda: False,
            "get_device_name": lambda index=0: "Tesla T4",
            "is_bf16_supported": lambda including_emulation=True: bf16 or including_emulation,
            "get_device_properties": lambda index: types.SimpleNamespace(total_memory=memory),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, answer)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.delenv("LOCAL_RANK", raising=False)

    return pretend


def test_without_a_gpu_a_cpu_computes_in_float32(gpus, monkeypatch):
    gpus(0, bf16=False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device() == CPU


def test_a_gpu_with_bf16_is_used_without_a_word(gpus):
    gpus(1, bf16=True)
    assert device() == NEW_GPU


def test_emulated_bf16_does_not_count(gpus):
    gpus(1, bf16=False)
    assert device() == Device("cuda", torch.float16, "Tesla T4 has no bf16: it computes in fp16.")


def test_of_several_gpus_the_first_is_used_and_the_others_are_hidden(gpus):
    gpus(2, bf16=True)
    assert device().note == (
        "2 GPUs are visible, one is used: Tesla T4. --num-processes 2 uses them all, "
        "CUDA_VISIBLE_DEVICES chooses another."
    )
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_of_the_gpus_that_the_user_named_the_first_is_used(gpus, monkeypatch):
    gpus(2, bf16=True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    device()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_launcher_s_process_keeps_what_the_launcher_gave_it(gpus, monkeypatch):
    gpus(2, bf16=True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device().note == ""
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("here", "asked", "expected"),
    [
        (CPU, {}, Precision(torch.float32)),
        (CPU, {"mixed_precision": "bf16"}, Precision(torch.float32, bf16=True)),
        (CPU, {"mixed_precision": "bf16", "peft": True}, Precision(torch.float32, bf16=True)),
        (NEW_GPU, {}, Precision(torch.float32, bf16=True)),
        (NEW_GPU, {"peft": True}, Precision(torch.bfloat16, bf16=True)),
        (NEW_GPU, {"mixed_precision": "fp32"}, Precision(torch.float32)),
        (NEW_GPU, {"mixed_precision": "none", "peft": True}, Precision(torch.float32)),
        (OLD_GPU, {}, Precision(torch.float32, fp16=True)),
        (OLD_GPU, {"peft": True}, Precision(torch.float16, fp16=True)),
    ],
)
def test_formats_follow_from_device_and_wish(params, here, asked, expected):
    assert precision(params(**asked), here) == expected


def test_a_model_too_large_for_float32_is_trained_in_bf16(params, gpus):
    gpus(1, bf16=True, memory=16 * 2**30)
    assert precision(params(), NEW_GPU, size=500_000_000).dtype == torch.float32  # 8 GB with gradient and moments
    assert precision(params(), NEW_GPU, size=1_500_000_000).dtype == torch.bfloat16


def test_a_format_that_the_device_lacks_is_refused(params, gpus):
    gpus(1, bf16=False)
    with pytest.raises(ParamError, match="--mixed-precision fp16 needs a GPU"):
        precision(params(mixed_precision="fp16"), CPU)
    with pytest.raises(ParamError, match="bf16 is not in this GPU"):
        precision(params(mixed_precision="bf16"), OLD_GPU)
