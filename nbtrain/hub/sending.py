"""The upload itself: one commit, tried again where it breaks off; what has arrived is not sent twice."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

from nbtrain.hub import account, patience
from nbtrain.hub.content import Content
from nbtrain.hub.patience import Pause

PAUSES = (2.0, 10.0, 30.0)
"""Seconds before another attempt of an upload; the client itself tries each file some times more."""
# of a model that was there before: with a part of the old beside the new, a library opens a mixture
WEIGHTS = ("model*.safetensors", "model.safetensors.index.json", "adapter_config.json", "adapter_model.safetensors")


def upload(
    content: Content,
    repo_id: str,
    *,
    private: bool = True,
    token: str | None = None,
    message: str = "nbtrain",
    pause: Pause = patience.pause,
) -> str:
    """Put files into one commit of a repository, which is made where there is none.

    Args:
        pause: called when it broke off; see `patience.persist`.

    Returns:
        The address.

    Raises:
        ParamError: no token, or no valid name. RunError: refused, or broken off each time.
    """
    from huggingface_hub import CommitOperationAdd

    with account.in_words(repo_id):
        api = account.client(token)
        # made once: each knows what of it has arrived
        added = [CommitOperationAdd(place, what) for place, what in content.items()]

    def once() -> str:
        with account.in_words(repo_id):
            url = api.create_repo(account.valid(repo_id), private=private, exist_ok=True)
            stale = _stale(api, url.repo_id, content)
            api.create_commit(url.repo_id, [*added, *stale], commit_message=message)
            return str(url)

    return patience.persist(once, PAUSES, pause)


def _stale(api: Any, repo_id: str, content: Content) -> list[Any]:
    """What deletes the weights of another model that lie in the repository."""
    from huggingface_hub import CommitOperationDelete

    old = set(api.list_repo_files(repo_id)) - content.keys()
    return [CommitOperationDelete(place) for place in sorted(old) if any(fnmatch(place, kind) for kind in WEIGHTS)]
