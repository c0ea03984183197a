"""A model that cannot be used is refused in words, and none of its code is run."""

import json
import pickle
import subprocess
import sys
import textwrap

import pytest
import torch
import transformers

from nbtrain.errors import ModelError
from nbtrain.models import load

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 100,
}


def refusal(call, *arguments):
    with pytest.raises(ModelError) as caught:
        call(*arguments)
    return caught.value


def change_config(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


class Canary:
    """Unpickled, it leaves a file: a sign that code from a model was run."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def test_tiny_is_the_built_in_model():
    assert load.resolve("tiny") == str(load.TINY)


def test_a_run_stands_for_its_model(workdir):
    (workdir / "my-run" / "model").mkdir(parents=True)
    (workdir / "my-run" / "params.json").write_text("{}")
    (workdir / "my-run" / "model" / "config.json").write_text("{}")
    assert load.resolve("my-run") == str(workdir / "my-run" / "model")


def test_a_hub_id_stays_as_it_is(workdir):
    assert load.resolve("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"


def test_a_run_without_a_model_is_told_from_a_folder_without_one(workdir):
    (workdir / "my-run").mkdir()
    assert "holds no model: it has no config.json and no adapter_config.json" in refusal(load.resolve, "my-run").what
    (workdir / "my-run" / "params.json").write_text("{}")
    assert refusal(load.resolve, "my-run").what == "The run my-run has no model yet."


def test_a_path_that_is_not_there_is_answered_with_its_neighbour(workdir):
    (workdir / "models" / "first-try").mkdir(parents=True)
    error = refusal(load.resolve, "models/first-tri")
    assert error.what == "There is no folder models/first-tri. Did you mean models/first-try?"
    (workdir / "models" / "weights.gguf").touch()
    assert "is a file; a model is a folder" in refusal(load.resolve, "models/weights.gguf").what


def test_a_hub_id_that_is_not_here_while_offline_names_what_is(params, workdir):
    (workdir / "tinny").mkdir()
    error = refusal(load.causal_model, params(model="tinni"))
    assert error.what == "tinni is not on this machine, and the hub cannot be reached. Did you mean tinny?"
    assert "--model tiny" in error.fix
    assert refusal(load.tokenizer, params(model="some-org/some-model")).what.startswith(
        "some-org/some-model is not on this"
    )


def test_a_name_that_can_be_nothing_is_said_to_be_nothing(params, workdir):
    assert "neither a folder nor a hub id" in refusal(load.causal_model, params(model="no such model")).what


@pytest.mark.parametrize(
    ("model_class", "config"),
    [
        (transformers.BertForMaskedLM, transformers.BertConfig(**SMALL)),
        (transformers.LlamaForSequenceClassification, transformers.LlamaConfig(**SMALL, pad_token_id=0)),
        (
            transformers.T5ForConditionalGeneration,
            transformers.T5Config(d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2),
        ),
    ],
)
def test_a_model_made_for_something_else_is_not_opened_as_a_language_model(params, tmp_path, model_class, config):
    model_class(config).save_pretrained(tmp_path)
    error = refusal(load.causal_model, params(model=str(tmp_path)))
    assert error.what == f"{tmp_path} is not a causal language model: it is a {model_class.__name__}."


def test_code_in_a_model_is_not_run_unless_it_is_allowed(params, tiny_copy, tmp_path):
    (tiny_copy / "theirs.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    names = {
        "AutoConfig": "theirs.Config",
        "AutoModelForCausalLM": "theirs.Model",
        "AutoTokenizer": ["theirs.Words", None],
    }
    change_config(tiny_copy, model_type="theirs", auto_map=names)
    tokenizer_config = tiny_copy / "tokenizer_config.json"
    tokenizer_config.write_text(
        json.dumps(json.loads(tokenizer_config.read_text()) | {"auto_map": names, "tokenizer_class": "Words"})
    )
    error = refusal(load.causal_model, params(model=str(tiny_copy)))
    assert "brings its own Python code" in error.what and "--trust-remote-code" in error.fix
    assert "brings its own Python code" in refusal(load.tokenizer, params(model=str(tiny_copy))).what
    refusal(load.verify, tiny_copy)
    assert not (tmp_path / "ran").exists()
    refusal(
        load.causal_model, params(model=str(tiny_copy), trust_remote_code=True)
    )  # it is run, and has no class Config
    assert (tmp_path / "ran").exists()


def test_pickled_weights_are_not_read(params, tiny_copy, tmp_path):
    (tiny_copy / "model.safetensors").unlink()
    with (tiny_copy / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"lm_head.weight": Canary(tmp_path / "ran")}, file)
    error = refusal(load.causal_model, params(model=str(tiny_copy)))
    assert "has pickled weights (pytorch_model.bin); only safetensors are opened" in error.what
    refusal(load.saved_model, tiny_copy)
    assert not (tmp_path / "ran").exists()


def test_a_pickled_adapter_is_not_run(params, tmp_path):
    asked = params(peft=True, merge_adapter=False)
    load.save(load.causal_model(asked), load.tokenizer(asked), tmp_path / "model", asked)
    (tmp_path / "model" / "adapter_model.safetensors").unlink()
    with (tmp_path / "model" / "adapter_model.bin").open("wb") as file:
        pickle.dump({"lm_head.weight": Canary(tmp_path / "ran")}, file)
    refusal(load.causal_model, params(model=str(tmp_path / "model")))
    refusal(load.saved_model, tmp_path / "model")
    assert not (tmp_path / "ran").exists()


def test_a_canary_does_sing(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / "ran"))).close()
    assert (tmp_path / "ran").exists()


def test_weights_that_are_not_there_are_missed(params, tiny_copy):
    (tiny_copy / "model.safetensors").unlink()
    assert "has a config but no weights" in refusal(load.causal_model, params(model=str(tiny_copy))).what


def test_half_a_file_of_weights_is_called_damaged(params, tiny_copy):
    weights = tiny_copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000_000])
    assert "are damaged" in refusal(load.causal_model, params(model=str(tiny_copy))).what


def test_weights_of_another_shape_are_refused(params, tiny_copy):
    change_config(tiny_copy, hidden_size=96)
    assert "have other shapes" in refusal(load.causal_model, params(model=str(tiny_copy))).what


def test_tensors_that_would_start_at_random_are_named(params, tiny_copy):
    change_config(tiny_copy, num_hidden_layers=5)
    error = refusal(load.causal_model, params(model=str(tiny_copy)))
    assert "lack 9 tensors" in error.what and "model.layers.4." in error.what


def test_a_config_that_is_no_json_or_of_an_unknown_kind_is_told_as_such(params, tiny_copy):
    change_config(tiny_copy, model_type="of-the-future")
    assert "of-the-future" in refusal(load.causal_model, params(model=str(tiny_copy))).why
    (tiny_copy / "config.json").write_text("{")
    assert "not a valid JSON file" in refusal(load.causal_model, params(model=str(tiny_copy))).why


def test_a_model_without_a_tokenizer_is_told_as_such(params, tiny_copy, tmp_path):
    for file in tiny_copy.glob("tokenizer*"):
        file.unlink()
    error = refusal(load.tokenizer, params(model=str(tiny_copy)))
    assert "has no tokenizer" in error.what and "save_pretrained" in error.fix
    transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=32, n_layer=1, n_head=2)).save_pretrained(
        tmp_path / "gpt2"
    )
    assert refusal(load.tokenizer, params(model=str(tmp_path / "gpt2"))).why == "its vocabulary is empty"


def test_a_tokenizer_file_that_is_damaged_is_told_as_such(params, tiny_copy):
    (tiny_copy / "tokenizer.json").write_text("{}")
    assert "has no tokenizer that can be opened" in refusal(load.tokenizer, params(model=str(tiny_copy))).what


def test_memory_that_runs_out_while_opening_is_told_as_such(params, monkeypatch):
    def exhausted(*arguments, **named):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", exhausted)
    error = refusal(load.causal_model, params())
    assert "does not fit into memory" in error.what and "int4" in error.fix


def test_the_hub_s_refusals_are_told_in_words():
    """In a process of its own, whose hub is a server here: gated, missing, and then no server at all."""
    program = """
        import http.server, os, threading

        class Hub(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                gated = "gated" in self.path
                self.send_response(403 if gated else 404)
                self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
            do_GET = do_HEAD
            def log_message(self, *arguments): pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ.update(HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}", HF_HUB_OFFLINE="0")
        from nbtrain.errors import ModelError
        from nbtrain.models.pretrained import open_base

        def ask(model):
            try:
                open_base(model, dtype="auto")
            except ModelError as error:
                print(error.what)

        ask("some-org/gated")
        ask("some-org/missing")
        server.shutdown()
        server.server_close()
        ask("some-org/missing")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()
    assert told == [
        "some-org/gated is gated: its owners ask for consent before they hand it out.",
        "The hub has no model some-org/missing, or it is private.",
        "some-org/missing is not on this machine, and the hub cannot be reached.",
    ]
