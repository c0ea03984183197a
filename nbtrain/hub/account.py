"""Whose a token is and what it may write, asked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbtrain.errors import ParamError
from nbtrain.hub import patience
from nbtrain.hub.patience import NEW_TOKEN, Pause, in_words
from nbtrain.redact import remember

WRITES = "repo.write"  # the permission of a fine-grained token
_PAUSES = (2.0,)  # seconds before it is asked again: who has no network should not wait long to hear of it


def client(token: str | None) -> Any:
    """The hub's client with this token, the environment's, or that of the hub login.

    Raises:
        ParamError: there is none.
    """
    from huggingface_hub import HfApi, get_token

    known = token or get_token()
    if not known:
        fix = "log in (hf auth login), set HF_TOKEN, or give --token; it needs the right to write"
        raise ParamError("an upload needs a token of the hub, and there is none", fix=fix)
    remember(known)
    return HfApi(token=known)


def checked(
    name: str,
    token: str | None = None,
    *,
    owner: str | None = None,
    private: bool = True,
    pause: Pause = patience.pause,
) -> str:
    """The repository that `name` means, after asking the hub whether the token may write it. Nothing is made there.

    Args:
        name: owner/name, or a name alone.
        owner: of a name alone; None: the token's.
        private: whether what is sent is for the owner only.
        pause: called when the hub cannot be asked; see `patience.persist`.

    Raises:
        ParamError: no token, no valid name, the token may not write there, or everybody can read what is private.
        RunError: the hub cannot be reached, or refuses.
    """
    api = client(token)

    def once() -> str:
        with in_words(name, doing="asking the hub about"):
            account = api.whoami()
            repo_id = valid(name if "/" in name else f"{owner or account['name']}/{name}")
            _may_write(account, repo_id)
            if private and _is_public(api, repo_id):
                fix = "give another name, or allow it: --no-hub-private (private=False, push --public)"
                raise ParamError(f"the repository {repo_id} is there already, and everybody may read it", fix=fix)
        return repo_id

    return patience.persist(once, _PAUSES, pause)


def valid(repo_id: str) -> str:
    """`repo_id`, if a repository may be called so."""
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(repo_id)
    return repo_id


def _may_write(account: Mapping[str, Any], repo_id: str) -> None:
    """`account`: what whoami says. Where it does not say a thing, the upload will."""
    owner, mine = repo_id.split("/")[0], str(account.get("name", ""))
    access = account.get("auth", {}).get("accessToken") or {}
    role = access.get("role")
    if role == "read":
        raise ParamError("this token may only read", where=repo_id, fix=NEW_TOKEN)
    if role == "fineGrained":
        scopes = access.get("fineGrained", {}).get("scoped", ())
        writable = {scope["entity"].get("name") for scope in scopes if WRITES in scope.get("permissions", ())}
        if not writable & {owner, repo_id}:
            reach = f"it may write to {', '.join(sorted(map(str, writable)))}" if writable else "it may write nowhere"
            raise ParamError(f"this token may not write to {repo_id}", why=reach, fix=NEW_TOKEN)
        return
    roles = {mine: "admin"} | {each["name"]: each.get("roleInOrg", "") for each in account.get("orgs", ())}
    if roles.get(owner, "read") == "read":
        can = ", ".join(sorted(name for name, role in roles.items() if role != "read"))
        raise ParamError(
            f"this token, of {mine}, may not write to {repo_id}", why=f"it writes for {can}", fix=f"name one: {can}/..."
        )


def _is_public(api: Any, repo_id: str) -> bool:
    """Whether it is there and everybody may read it."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return not api.model_info(repo_id).private
    except RepositoryNotFoundError:
        return False
