"""A trained model on the hub: whether it can be put there, asked before hours of training, and the upload itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbtrain.errors import NbtrainError, ParamError, RunError
from nbtrain.models.faults import NO_NETWORK
from nbtrain.redact import remember
from nbtrain.runs.folder import RunFolder


def target(params: Any) -> str:
    """The repository that --push-to-hub means, '' where it is off. The hub is asked who the token's owner is.

    Raises:
        ParamError: no token, or no name that a repository may have. RunError: the hub cannot be reached, or refuses.
    """
    if not params.push_to_hub:
        return ""
    name = params.repo_id or params.project_name and str(params.project_name).rstrip("/").rpartition("/")[2]
    if not name:
        raise ParamError("--push-to-hub needs a name for the repository", fix="give --repo-id OWNER/NAME")
    with in_words(name):
        owner = params.username or _api(getattr(params, "token", None)).whoami()["name"]
        return _valid(name if "/" in name else f"{owner}/{name}")


def push(folder: RunFolder, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
    """Put the model of a run, its card, its script and its config into one commit of a repository.

    Args:
        repo_id: owner/name, or a name of the token's owner; made where there is none.
        private: of a repository that is made.
        token: None: the environment's, or that of the hub login.

    Returns:
        Its address.

    Raises:
        ParamError: no token, or no valid name. RunError: no model, no network, no permission, or the upload broke off.
    """
    if not folder.model.is_dir():
        raise RunError(f"the run {folder.name} has no model to upload", fix="wait for it, or resume it")
    found = files(folder.model) | {path.name: path for path in (folder.script, folder.config) if path.is_file()}
    if folder.card.is_file():  # it opens a folder beside it; on the hub it lies beside the weights
        card = folder.card.read_text(encoding="utf-8").replace('("model")', f'("{repo_id}")')
        found["README.md"] = card.encode()
    return upload(found, repo_id, private=private, token=token, message=f"{folder.name}, trained by nbtrain")


def files(folder: Path) -> dict[str, Path | bytes]:
    """Every file below a folder, by its place in it."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def upload(
    content: Mapping[str, Path | bytes],
    repo_id: str,
    *,
    private: bool = True,
    token: str | None = None,
    message: str = "nbtrain",
) -> str:
    """Put files into one commit of a repository; see `push`.

    Args:
        content: place in the repository to a file, or what is in it.
    """
    from huggingface_hub import CommitOperationAdd

    with in_words(repo_id):
        api = _api(token)
        url = api.create_repo(_valid(repo_id), private=private, exist_ok=True)
        added = [
            CommitOperationAdd(place, str(what) if isinstance(what, Path) else what) for place, what in content.items()
        ]
        api.create_commit(url.repo_id, added, commit_message=message)
    return str(url)


def _api(token: str | None) -> Any:
    from huggingface_hub import HfApi, get_token

    known = token or get_token()
    if not known:
        fix = "log in (hf auth login), set HF_TOKEN, or give --token; it needs the right to write"
        raise ParamError("an upload needs a token of the hub, and there is none", fix=fix)
    remember(known)
    return HfApi(token=known)


def _valid(repo_id: str) -> str:
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(repo_id)
    return repo_id


@contextmanager
def in_words(repo_id: str) -> Iterator[None]:
    """What the hub's client raises, as ours."""
    try:
        yield
    except NbtrainError:
        raise
    except Exception as error:
        # the client, its transport and its storage each have a tree of their own
        names = {kind.__name__ for kind in type(error).__mro__}
        status = getattr(getattr(error, "response", None), "status_code", None)
        first = str(error).strip().split("\n")[0][:300]
        if "HFValidationError" in names:
            raise ParamError(f"{repo_id!r} is no name of a repository: OWNER/NAME", why=first) from None
        if names & NO_NETWORK:
            what, fix = (
                "the hub cannot be reached",
                "connect (and unset HF_HUB_OFFLINE); the model is safe in its folder",
            )
        elif status == 401:
            what, fix = "the hub does not know this token", "make a new one with the right to write"
        elif status == 403:
            what, fix = f"this token may not write to {repo_id}", "give one with the right to write, or another owner"
        else:
            what, fix = f"the upload to {repo_id} did not succeed", "try again: run.push_to_hub(...)"
        raise RunError(what, why=f"{type(error).__name__}: {first}", fix=fix) from error
