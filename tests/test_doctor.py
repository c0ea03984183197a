"""The doctor looks at this machine without touching what costs time or memory."""

import http.server
import json
import socket
import subprocess
import sys
import threading
import types

import pytest
from packaging.requirements import Requirement

from nbtrain import doctor


def words_of(subject, findings):
    return next(f"{each.state}: {each.words}" for each in findings if each.subject == subject)


@pytest.fixture
def bare(monkeypatch):
    """An environment without tokens, notebooks or logins."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere/token")
    return monkeypatch


def test_a_report_loads_nothing_heavy():
    code = (
        "from nbtrain import doctor; found = doctor.report(); import json, sys\n"
        "heavy = [name for name in ('torch', 'transformers', 'datasets', 'pandas', 'numpy') if name in sys.modules]\n"
        "print(json.dumps([heavy, [each.subject for each in found]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, subjects = json.loads(done.stdout)
    assert heavy == []
    assert {"nbtrain", "runtime", "python", "gpu", "processor", "memory", "disk", "[llm]", "hub"} <= set(subjects)


@pytest.mark.parametrize(
    ("variables", "runtime"),
    [
        ({"COLAB_RELEASE_TAG": "release-colab"}, "Colab"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, "Kaggle (Interactive)"),
        ({}, "a terminal"),
    ],
)
def test_the_runtime_is_recognised(monkeypatch, variables, runtime):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert doctor.runtime(variables) == runtime


@pytest.mark.parametrize(("variables", "runtime"), [({"VSCODE_PID": "7"}, "VS Code"), ({}, "Jupyter")])
def test_a_kernel_is_recognised(monkeypatch, variables, runtime):
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert doctor.runtime(variables) == runtime


def test_an_extra_takes_in_what_it_builds_on():
    names = {each.name for each in doctor.needed("embeddings")}
    assert {"sentence-transformers", "torch", "transformers"} <= names
    assert "nbtrain" not in names and "ipython" not in names
    assert doctor.needed("nonsense") == ()


def test_a_missing_and_an_old_package_come_with_the_line_that_mends_them(monkeypatch):
    monkeypatch.setattr(doctor, "extra_names", lambda: ("llm", "dev"))
    monkeypatch.setattr(doctor, "needed", lambda extra: (Requirement("trl>=1.15"), Requirement("datasets>=4.7")))
    monkeypatch.setattr(doctor, "installed", {"datasets": "4.0.0"}.get)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert doctor.extras() == [
        ("[llm]", "note", 'lacks trl, datasets 4.0.0 (needs >=4.7): pip install "nbtrain[llm]"'),
    ]


def test_a_package_that_is_loaded_in_an_older_version_asks_for_a_restart(monkeypatch):
    loaded = types.ModuleType("datasets")
    loaded.__version__ = "4.0.0"
    monkeypatch.setitem(sys.modules, "datasets", loaded)
    monkeypatch.setattr(doctor, "installed", lambda package: "5.2.0")
    found = [each for each in doctor.loaded() if each.subject == "datasets"]
    assert found == [("datasets", "trouble", "4.0.0 is loaded, 5.2.0 is installed: restart the kernel")]
    loaded.__version__ = "5.2.0"
    assert not [each for each in doctor.loaded() if each.subject == "datasets"]


def test_a_gpu_is_named_without_torch(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    card = tmp_path / "0000:00:04.0"
    card.mkdir()
    (card / "information").write_text("Model: \t\t Tesla T4\nIRQ: 11\n")
    monkeypatch.setattr(doctor.process, "GPUS", tmp_path)
    assert doctor.devices() == [("gpu", "fine", "Tesla T4")]
    monkeypatch.setattr(doctor.process, "GPUS", tmp_path / "none")
    monkeypatch.setattr(sys, "platform", "linux")
    assert doctor.devices() == [("gpu", "note", "none: training runs on the processor")]


def fake_torch(capability, *, initialised=True):
    properties = types.SimpleNamespace(name="Tesla T4", total_memory=15.8e9, major=capability[0], minor=capability[1])
    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: initialised,
        device_count=lambda: 1,
        get_device_properties=lambda index: properties,
        mem_get_info=lambda index: (14.2e9, 15.8e9),
    )
    torch = types.ModuleType("torch")
    torch.__version__ = "2.13.0"
    torch.cuda, torch.backends = cuda, types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: False))
    return torch


def test_a_gpu_without_bfloat16_says_what_to_use(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", fake_torch((7, 5)))
    assert doctor.devices() == [
        ("gpu 0", "note", "Tesla T4, 16 GB, 14.2 GB of it free; it has no bfloat16: use --mixed-precision fp16")
    ]
    monkeypatch.setitem(sys.modules, "torch", fake_torch((8, 0)))
    assert doctor.devices()[0].state == "fine"


def test_no_cuda_context_is_opened_by_looking(monkeypatch):
    torch = fake_torch((8, 0), initialised=False)
    torch.cuda.is_available = lambda: pytest.fail("asked CUDA")
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert doctor.devices()[0].subject == "gpu"


def test_a_containers_memory_limit_counts(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("2000000000\n")
    monkeypatch.setattr(doctor, "CGROUP_MEMORY", limit)
    assert words_of("memory", doctor.report()).endswith("of 2.0")
    assert words_of("memory", doctor.report()).startswith("note")
    limit.write_text("max\n")
    assert not words_of("memory", doctor.report()).endswith("of 2.0")


def test_secrets_are_named_and_never_shown(bare):
    bare.setenv("HF_TOKEN", "canary-4f9d81c7b2")
    bare.setenv("WANDB_API_KEY", "canary-77aa31c9d0")
    text = "\n".join(doctor.lines(doctor.report()))
    assert "canary" not in text
    assert "logged in through $HF_TOKEN" in text and "WANDB_API_KEY" in text


def test_a_stored_login_is_seen_and_a_missing_one_told(bare, tmp_path):
    assert words_of("hub", doctor.report()) == "note: not logged in: gated models and pushing need HF_TOKEN"
    (tmp_path / "token").write_text("canary-4f9d81c7b2")
    bare.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    bare.setenv("HF_HUB_OFFLINE", "1")
    assert words_of("hub", doctor.report()) == "fine: logged in through a stored login; offline (HF_HUB_OFFLINE)"


def test_a_screen_says_trouble_in_words():
    found = [doctor.Finding("disk", "note", "2 GB free"), doctor.Finding("datasets", "trouble", "restart")]
    assert doctor.lines(found) == ["disk      note: 2 GB free", "datasets  trouble: restart"]


def test_a_room_names_its_extra():
    assert doctor.extra_of("llm") == "llm"


# the driver and the network


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A program nvidia-smi that says what it is told to."""

    def says(text, code=0):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        monkeypatch.delitem(sys.modules, "torch", raising=False)

    return says


def test_gpus_are_told_with_their_numbers_before_torch_is_loaded(driver):
    driver("Tesla T4, 15360, 15000, 7.5\nNVIDIA H100 80GB HBM3, 81559, 500, 9.0")
    first, second = doctor.devices()
    assert (first.subject, first.state) == ("gpu 0", "note")
    assert first.words == "Tesla T4, 16 GB, 15.7 GB of it free; it has no bfloat16: use --mixed-precision fp16"
    assert (second.state, second.words) == (
        "fine",
        "NVIDIA H100 80GB HBM3, 86 GB, 0.5 GB of it free; bfloat16 and float16",
    )


@pytest.mark.parametrize(("text", "code"), [("no devices were found", 6), ("half a line, 3", 0)])
def test_a_driver_that_tells_nothing_of_use_is_passed_over(driver, monkeypatch, tmp_path, text, code):
    driver(text, code)
    monkeypatch.setattr(doctor.process, "GPUS", tmp_path / "none")
    assert [each.words for each in doctor.devices()] == ["none: training runs on the processor"]


def test_the_network_is_told_by_whether_the_hub_answers(monkeypatch):
    assert doctor.network({"HF_HUB_OFFLINE": "1"}).words.startswith("not asked")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, and not listening: a connection is refused
        found = doctor.network({"HF_ENDPOINT": f"http://127.0.0.1:{closed.getsockname()[1]}"})
    assert found.state == "note" and "does not answer" in found.words
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # answers 501 to a HEAD
    threading.Thread(target=server.handle_request, daemon=True).start()
    found = doctor.network({"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"})
    server.server_close()
    assert found.state == "fine" and "answers, in" in found.words
