"""What can be wrong with a model, in words: the libraries say what they did, these errors say what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbtrain.errors import ModelError, NbtrainError, nearest

MARKS = ("config.json", "adapter_config.json")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
NO_NETWORK = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectTimeout", "ConnectionError"}


def folder_with_model(path: Path) -> Path:
    """`path`, or the model of the run that `path` is.

    Raises:
        ModelError: neither.
    """
    for folder in (path, path / "model"):
        if any((folder / mark).is_file() for mark in MARKS):
            return folder.resolve()
    if (path / "params.json").is_file():
        raise ModelError(
            f"The run {path} has no model yet.", fix="wait until it has finished, or name one of its checkpoints."
        )
    raise ModelError(
        f"The folder {path} holds no model: it has no {' and no '.join(MARKS)}.",
        fix="name the folder that from_pretrained would open.",
    )


def refuse_missing_path(model: str, path: Path) -> None:
    """A name that can only be a path, and is not there, is an error; any other may be a hub id.

    Raises:
        ModelError: with the nearest folder beside it.
    """
    if path.is_file():
        raise ModelError(
            f"{model} is a file; a model is a folder.", fix="name the folder that holds config.json and the weights."
        )
    looks_like_a_path = path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1
    if looks_like_a_path or (len(path.parts) > 1 and path.parent.is_dir()):
        beside = [str(folder) for folder in path.parent.iterdir() if folder.is_dir()] if path.parent.is_dir() else []
        raise ModelError(
            f"There is no folder {model}.{nearest(str(path), beside)}",
            where=f"--model {model}, working directory {Path.cwd()}",
            fix="give --model a folder, a run, or a hub id; --model tiny is built in.",
        )


def refuse_other_kinds(config: Any, model: str) -> None:
    """transformers also opens models that were made for something else, with a head that was never trained.

    Raises:
        ModelError: the model was made for something else.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    made_as, remote = config.architectures or [], getattr(config, "auto_map", None) or {}
    causal = CAUSAL.get(config.model_type, ())
    if "AutoModelForCausalLM" in remote or set(made_as) & set([causal] if isinstance(causal, str) else causal):
        return
    if causal and not made_as:
        return
    kind = made_as[0] if made_as else config.model_type
    raise ModelError(
        f"{model} is not a causal language model: it is a {kind}.",
        why="this trainer needs a model that writes from left to right (its config.json names a ...ForCausalLM).",
        fix="choose another --model, or the room that trains this kind.",
    )


def refuse_gaps(missing: list[str], model: str) -> None:
    """A tensor that the weights lack would be filled at random.

    Raises:
        ModelError: with the first of them.
    """
    if missing:
        raise ModelError(
            f"The weights of {model} lack {len(missing)} tensors of its config.json; the first is {missing[0]}.",
            why="they would start at random.",
            fix="take config and weights from the same model.",
        )


def refuse_empty_tokenizer(tokenizer: Any, model: str) -> None:
    """Where the tokenizer's files are missing, transformers makes some kinds up without a vocabulary.

    Raises:
        ModelError: it cannot write an ordinary word.
    """
    ids = set(tokenizer("The a", add_special_tokens=False).input_ids)
    if not ids or ids == {tokenizer.unk_token_id}:
        raise no_tokenizer(model, "its vocabulary is empty")


def refuse_without_places(tokenizer: Any, model: str) -> None:
    """The tokenizers written in Python do not tell which characters or words a token stands for.

    Raises:
        ModelError: it is one of them.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer of {model} does not tell where in a text its tokens stand.",
            why="what the model says of a token could not be found again in the text.",
            fix="choose a model with a fast tokenizer (tokenizer.json).",
        )


def no_tokenizer(model: str, why: str) -> ModelError:
    """The error for a model without the files of a tokenizer."""
    fix = "save the tokenizer into the model's folder: AutoTokenizer.from_pretrained(ORIGINAL).save_pretrained(FOLDER)"
    return ModelError(f"{model} has no tokenizer that can be opened.", why=why, fix=fix)


def no_such_layers(targets: str, model: Any) -> ModelError:
    """The error for names of layers that the model does not have."""
    kinds = ("Linear", "Conv1D", "Embedding")
    named = [(name.split(".")[-1], type(layer).__name__) for name, layer in model.named_modules()]
    layers = sorted({name for name, kind in named if any(word in kind for word in kinds)})
    found = f"--target-modules {targets} matches no layer of the model; it has {', '.join(layers)}."
    return ModelError(
        found + nearest(targets, layers),
        fix="name some of these, with commas, or leave it out: all-linear takes all but the output head.",
    )


@contextmanager
def in_words(model: str, part: str) -> Iterator[None]:
    """Whatever the libraries raise while they open `part` of `model`, as a ModelError."""
    try:
        yield
    except NbtrainError:
        raise
    except Exception as error:
        raise _told(error, model, part) from error


def _told(error: Exception, model: str, part: str) -> ModelError:
    names, text = {type(each).__name__ for each in _chain(error)}, str(error)
    if hub := _hub_error(names, model):
        return hub
    if "trust_remote_code" in text:
        return ModelError(
            f"{model} brings its own Python code, which would have to be run to open it.",
            why="code from a model can do anything that you can do on this machine.",
            fix="read it; if you trust it, add --trust-remote-code.",
        )
    if "no file named" in text or "does not appear to have a file named" in text:
        return _no_weights(model, text)
    if part == "tokenizer":
        return no_tokenizer(model, f"{type(error).__name__}: {text.splitlines()[0] if text else ''}")
    if "SafetensorError" in names:
        return ModelError(f"The weights of {model} are damaged.", why=text, fix="copy or download them again.")
    if "ignore_mismatched_sizes" in text:
        return ModelError(
            f"The weights of {model} have other shapes than its config.json says.", fix="take both from the same model."
        )
    if "OutOfMemoryError" in names or "MemoryError" in names:
        return ModelError(
            f"{model} does not fit into memory.",
            why=text,
            fix="choose a smaller model, or add --peft --quantization int4.",
        )
    # transformers may list all the kinds that it knows, screens of them
    why = textwrap.shorten(f"{type(error).__name__}: {text}", 400, placeholder=" ...")
    fix = "see that its config.json is whole and that it opens with from_pretrained; --model tiny is built in."
    return ModelError(f"The {part} of {model} cannot be opened.", why=why, fix=fix)


def _hub_error(names: set[str], model: str) -> ModelError | None:
    if "GatedRepoError" in names:
        return ModelError(
            f"{model} is gated: its owners ask for consent before they hand it out.",
            fix=f"ask for access at https://huggingface.co/{model}, then log in (hf auth login) or set HF_TOKEN.",
        )
    if "RepositoryNotFoundError" in names:
        return ModelError(
            f"The hub has no model {model}, or it is private.{_nearest_at_hand(model)}",
            fix="check the name; for a private model log in (hf auth login) or set HF_TOKEN.",
        )
    if names & NO_NETWORK:
        return ModelError(
            f"{model} is not on this machine, and the hub cannot be reached.{_nearest_at_hand(model)}",
            fix="connect (and unset HF_HUB_OFFLINE), or name a folder; --model tiny is built in.",
        )
    if "HFValidationError" in names:
        return ModelError(
            f"{model!r} is neither a folder nor a hub id (owner/name).{_nearest_at_hand(model)}",
            fix="give --model a folder, a run, or a hub id; --model tiny is built in.",
        )
    return None


def _no_weights(model: str, text: str) -> ModelError:
    folder = Path(model)
    pickled = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern)) if folder.is_dir() else []
    if folder.is_dir() and not pickled:
        return ModelError(f"{model} has a config but no weights (*.safetensors).", fix="copy or download them too.")
    found = f"pickled weights ({', '.join(pickled)})" if pickled else "no weights as safetensors"
    return ModelError(
        f"{model} has {found}; only safetensors are opened.",
        why="a pickle can run any code while it is read." if pickled else text.splitlines()[0],
        fix="where you trust it, convert it once: AutoModelForCausalLM.from_pretrained(MODEL).save_pretrained(FOLDER).",
    )


def _nearest_at_hand(model: str) -> str:
    """The nearest name among the built-in model, the hub's cache and the folders here."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cached = [repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model"]
    except CacheNotFound:
        cached = []
    return nearest(model, ["tiny", *cached, *(folder.name for folder in Path().iterdir() if folder.is_dir())])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
