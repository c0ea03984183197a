"""Whose a token is and what it may write, asked before anything is sent; and what the hub's client raises, as ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nbtrain.errors import NbtrainError, ParamError, RunError
from nbtrain.models.faults import NO_NETWORK
from nbtrain.redact import remember

WRITES = "repo.write"  # the permission of a fine-grained token
_BUSY = (408, 425, 429)  # refusals that pass with time; any other of the 400s stays
_NEW_TOKEN = "make one with the right to write at https://huggingface.co/settings/tokens"


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


def checked(name: str, token: str | None, *, owner: str | None = None, private: bool = True) -> str:
    """The repository that `name` means, after asking the hub whether the token may write it. Nothing is made there.

    Args:
        name: owner/name, or a name alone.
        owner: of a name alone; None: the token's.
        private: whether what is sent is for the owner only.

    Raises:
        ParamError: no token, no valid name, the token may not write there, or everybody can read what is private.
        RunError: the hub cannot be reached, or refuses.
    """
    with in_words(name):
        api = client(token)
        account = api.whoami()
        repo_id = valid(name if "/" in name else f"{owner or account['name']}/{name}")
        _may_write(account, repo_id)
        if private and _is_public(api, repo_id):
            fix = "give another name, or allow it: --no-hub-private (private=False, push --public)"
            raise ParamError(f"the repository {repo_id} is there already, and everybody may read it", fix=fix)
    return repo_id


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
        raise ParamError("this token may only read", where=repo_id, fix=_NEW_TOKEN)
    if role == "fineGrained":
        scopes = access.get("fineGrained", {}).get("scoped", ())
        writable = {scope["entity"].get("name") for scope in scopes if WRITES in scope.get("permissions", ())}
        if not writable & {owner, repo_id}:
            reach = f"it may write to {', '.join(sorted(map(str, writable)))}" if writable else "it may write nowhere"
            raise ParamError(f"this token may not write to {repo_id}", why=reach, fix=_NEW_TOKEN)
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


@contextmanager
def in_words(repo_id: str) -> Iterator[None]:
    """What the hub's client raises, as ours.

    Raises:
        RunError: what the hub, or the way to it, said. ParamError: `repo_id` is no name.
    """
    try:
        yield
    except NbtrainError:
        raise
    except Exception as error:
        raise _told(error, repo_id) from error


def may_pass(error: NbtrainError) -> bool:
    """Whether what `in_words` raised may be gone when the same is tried again."""
    chain = _chain(error)[1:]
    if any(isinstance(each, (ValueError, NbtrainError)) for each in chain) or "OfflineModeIsEnabled" in _names(chain):
        return False
    status = _status(chain)
    return bool(chain) and (status is None or status >= 500 or status in _BUSY)


def _told(error: Exception, repo_id: str) -> NbtrainError:
    chain = _chain(error)
    names, status = _names(chain), _status(chain)
    why = "; ".join(f"{type(each).__name__}: {_first_line(each)}" for each in chain[:2])
    if "HFValidationError" in names:
        return ParamError(f"{repo_id!r} is no name of a repository: OWNER/NAME", why=_first_line(error))
    if names & NO_NETWORK:
        return RunError("the hub cannot be reached", why=why, fix="connect (and unset HF_HUB_OFFLINE)")
    if status == 401:
        return RunError("the hub does not know this token", why=why, fix=_NEW_TOKEN)
    if status == 403:
        fix = f"name another owner, or {_NEW_TOKEN}"
        return RunError(f"this token may not write to {repo_id}", why=why, fix=fix)
    fix = "try again: run.push_to_hub(...); where a proxy stops it, with HF_HUB_DISABLE_XET=1"
    return RunError(f"the upload to {repo_id} did not succeed", why=why, fix=fix)


def _chain(error: BaseException) -> list[BaseException]:
    """The error and its causes: the client, its transport and its storage each raise their own, one hides another."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _names(chain: Sequence[BaseException]) -> set[str]:
    return {kind.__name__ for each in chain for kind in type(each).__mro__}


def _status(chain: Sequence[BaseException]) -> int | None:
    codes = (getattr(getattr(each, "response", None), "status_code", None) for each in chain)
    return next((code for code in codes if code), None)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else ""
