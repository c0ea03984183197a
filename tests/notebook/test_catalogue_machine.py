"""The catalogue of errors, of machine, packages and hub: each is provoked for real, through the magic.

Two have a process of their own: one whose memory is limited, and one whose hub is a server here.
"""

import errno
import http.server
import os
import resource
import sys
import threading
import types
from pathlib import Path

import pytest

from nbtrain.errors import MissingExtra, ModelError, ParamError, RunError, TrainingError

SFT = "%autotrain llm --in-process --trainer sft --max-samples 16 --max-steps 2 --eval-strategy no"
WORKER = SFT.replace("--in-process", "--into run")


def test_memory_that_a_gpu_has_no_more_of_names_three_changes(notebook, screen, monkeypatch):
    import torch
    from transformers import Trainer

    def exhausted(*given, **named):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *given: 15 * 2**30)
    monkeypatch.setattr(Trainer, "training_step", exhausted)
    told = screen(notebook(f"{SFT} --batch-size 4"), TrainingError)
    assert "out of memory on the GPU: the peak was 15.0 GB" in told
    assert "where: step 1" in told
    for change in ("--batch-size (now 4)", "--gradient-accumulation", "--quantization int4", "--max-seq-length"):
        assert change in told


LIMITED = """
import sys

if "nbtrain.worker" in sys.orig_argv:
    import resource
    from transformers import Trainer

    def training_step(self, *given, **named):
        held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 2**24, resource.getrlimit(resource.RLIMIT_AS)[1]))
        return whole(self, *given, **named)

    whole, Trainer.training_step = Trainer.training_step, training_step
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set from /proc")
def test_memory_that_a_worker_has_no_more_of_is_told_by_its_peak(notebook, screen, workdir, monkeypatch):
    Path("planted").mkdir()
    Path("planted", "sitecustomize.py").write_text(LIMITED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(workdir / "planted"), os.environ.get("PYTHONPATH", "")]))
    line = WORKER.replace("samples 16", "samples 64")
    told = screen(notebook(f"{line} --batch-size 64"), TrainingError)
    assert notebook["run"].worker.wait(20) == 1
    assert "out of memory in this process: the peak was " in told
    assert "where: step 1" in told
    assert "a smaller --batch-size (now 64) with more --gradient-accumulation keeps the result" in told


def test_a_gpu_without_bf16_is_named(notebook, screen, monkeypatch):
    import torch

    for name, answer in {
        "is_available": True,
        "device_count": 1,
        "is_bf16_supported": False,
        "get_device_name": "Tesla T4",
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *given, answer=answer, **named: answer)
    told = screen(notebook(f"{SFT} --mixed-precision bf16"), ParamError)
    assert "--mixed-precision bf16 is not in this GPU (Tesla T4)." in told
    assert "what to do: use fp16, or leave it out." in told


def test_a_full_disk_is_told_with_the_way_on(notebook, screen, monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, before[1]))  # the weights have 5 MB
    try:
        cell = notebook(SFT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = screen(cell, TrainingError)
    assert "the disk is full: what the run had to write did not fit" in told
    assert f"where: {os.getcwd()}/runs/llm-sft-1" in told
    assert f"os error {errno.EFBIG}" in told
    assert "what to do: free some space, then `resume llm-sft-1`" in told


def test_a_folder_that_cannot_be_locked_starts_no_run(notebook, screen, monkeypatch):
    def refuse(*given):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    told = screen(notebook(WORKER), RunError)
    assert "llm-sft-1 cannot be locked" in told
    assert f"where: {os.getcwd()}/runs/llm-sft-1" in told
    assert f"why: the file system says: {os.strerror(errno.ENOLCK)}" in told
    assert "--project-name" in told


# packages


@pytest.fixture
def without_trl(monkeypatch):
    """No module of TRL is loaded."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "trl"]:
        monkeypatch.delitem(sys.modules, name)


DPO = SFT.replace("sft", "dpo")


def test_a_package_that_is_missing_comes_with_the_line_that_installs_it(notebook, screen, monkeypatch, without_trl):
    class Hidden:
        def find_spec(self, name, *rest):
            if name == "trl":
                raise ModuleNotFoundError("No module named 'trl'", name="trl")

    import nbtrain.doctor

    known = nbtrain.doctor.installed
    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
    monkeypatch.setattr(nbtrain.doctor, "installed", lambda name: None if name == "trl" else known(name))
    told = screen(notebook(DPO), MissingExtra)
    assert "llm needs trl, which is missing" in told
    assert "why: No module named 'trl'" in told
    assert 'pip install "nbtrain[llm]"' in told or "pip install -U trl" in told


def test_a_package_that_is_too_old_says_which_is_wanted(notebook, screen, workdir, monkeypatch, without_trl):
    Path("old", "trl").mkdir(parents=True)
    Path("old", "trl", "__init__.py").write_text('__version__ = "0.9.4"\n')
    Path("old", "trl-0.9.4.dist-info").mkdir()
    Path("old", "trl-0.9.4.dist-info", "METADATA").write_text("Metadata-Version: 2.1\nName: trl\nVersion: 0.9.4\n")
    monkeypatch.syspath_prepend(str(workdir / "old"))
    told = screen(notebook(DPO), MissingExtra)
    assert "trl 0.9.4 does not have what llm needs" in told
    assert "why: cannot import name 'DPOConfig' from 'trl'" in told
    assert "then restart the kernel." in told


def test_a_package_that_was_loaded_before_its_update_asks_for_a_restart(notebook, screen, monkeypatch, without_trl):
    old = types.ModuleType("trl")
    old.__version__ = "0.9.4"
    monkeypatch.setitem(sys.modules, "trl", old)
    told = screen(notebook(DPO), MissingExtra)
    assert "trl 0.9.4 is loaded, " in told and "is installed, and llm cannot use what is loaded" in told
    assert "what to do: restart the kernel" in told


# the hub


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does where a model is gated."""

    def do_GET(self):
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *given):
        pass


def test_a_gated_model_says_where_its_consent_is_asked_for(notebook, screen, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    try:
        told = screen(notebook(f"{WORKER} --model some-org/gated"), ModelError)
        assert notebook["run"].worker.wait(20) == 1
    finally:
        server.shutdown()
        server.server_close()
    assert "some-org/gated is gated: its owners ask for consent before they hand it out." in told
    assert (
        "ask for access at https://huggingface.co/some-org/gated, then log in (hf auth login) or set HF_TOKEN" in told
    )
