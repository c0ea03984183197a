"""A trained model on the hub: whether it can be put there, asked before hours of training, and the upload itself."""

from __future__ import annotations

import os
from typing import Any

from nbtrain import redact
from nbtrain.errors import ParamError
from nbtrain.hub import content, patience
from nbtrain.hub.account import checked
from nbtrain.hub.content import files
from nbtrain.hub.patience import Pause
from nbtrain.hub.sending import upload
from nbtrain.params.tokens import take
from nbtrain.runs.folder import RunFolder, find, read_params

__all__ = ["USAGE", "answer", "checked", "files", "push", "target", "upload"]

USAGE = "ID [OWNER/NAME] [--public] [--token T]"


def target(params: Any, *, pause: Pause = patience.pause) -> str:
    """The repository that --push-to-hub means, '' where it is off; the hub is asked whether it can be written.

    Raises:
        ParamError: no token, one that may not write there, no name that a repository may have, one that everybody
            may read, or an adapter that nobody could open. RunError: the hub cannot be reached, or refuses.
    """
    if not params.push_to_hub:
        return ""
    name = params.repo_id or str(params.project_name or "").rstrip("/").rpartition("/")[2]
    if not name:
        raise ParamError("--push-to-hub needs a name for the repository", fix="give --repo-id OWNER/NAME")
    if getattr(params, "peft", False) and not params.merge_adapter:
        content.refuse_local_base(params.model)
    token = getattr(params, "token", None)
    return checked(name, token, owner=params.username, private=params.hub_private, pause=pause)


def push(
    run: RunFolder,
    repo_id: str | None = None,
    *,
    private: bool | None = None,
    token: str | None = None,
    pause: Pause = patience.pause,
) -> str:
    """Put the model of a run, its card with the curve, its script and its config into one commit of a repository.

    Args:
        repo_id: owner/name, or a name of the token's owner; made where there is none; None: as the run was asked to be
            called there, or as it is called.
        private: whether only the owner may read it; None: as the run was asked, which is True where nothing was said.
        token: None: the environment's, or that of the hub login.
        pause: see `patience.persist`.

    Returns:
        Its address.

    Raises:
        ParamError: no token, no valid name, or everybody may read what is private. RunError: no model, no network, no
            permission, a secret in a file, or the upload broke off.
    """
    redact.remember_environment()
    asked = read_params(run)["params"] if run.params.is_file() else {}
    private = asked.get("hub_private", True) if private is None else private
    name = repo_id or asked.get("repo_id") or run.name
    place = checked(name, token, owner=asked.get("username"), private=private, pause=pause)
    sent = content.of_run(run, place)
    told = f"{run.name}, trained by nbtrain"
    return upload(sent, place, private=private, token=token, message=told, pause=pause)


def answer(tokens: list[Any], root: str | os.PathLike[str] = ".") -> str:
    """Do what `push ...` asks; what came of it, for a screen.

    Raises:
        ParamError: the words are wrong. RunError: there is no such run; and as `push` does.
    """
    own, rest = take(tokens, switches=("--public",), valued=("--token",))
    if len(rest) not in (1, 2) or any(str(word).startswith("-") for word in rest):
        raise ParamError(f"push needs a run: push {USAGE}", fix="`runs` lists them")
    run, *repo_id = rest
    folder = run.folder if hasattr(run, "folder") else find(run, root)
    address = push(folder, *map(str, repo_id), private=False if "--public" in own else None, token=own.get("--token"))
    return f"Uploaded: {address}"
