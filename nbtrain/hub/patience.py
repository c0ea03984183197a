"""What the hub's client raises, as ours; and what is tried again, since it may pass."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from nbtrain.errors import NbtrainError, ParamError, RunError
from nbtrain.models.faults import NO_NETWORK

NEW_TOKEN = "make one with the right to write at https://huggingface.co/settings/tokens"
_BUSY = (408, 425, 429)  # refusals that pass with time; any other of the 400s stays
_LONGEST = 300.0  # seconds that the hub may let us wait

Pause = Callable[[str, float], object]
"""Called with a sentence and the seconds until another attempt: it tells, and waits. What it raises is the end."""
Result = TypeVar("Result")


def pause(sentence: str, seconds: float) -> None:
    """Tell it as a warning, and wait."""
    warnings.warn(sentence, stacklevel=2)
    time.sleep(seconds)


def persist(action: Callable[[], Result], pauses: Sequence[float], pause: Pause) -> Result:
    """What `action` gives, tried again where what it raises may pass.

    Args:
        pauses: seconds before each attempt after the first; more where the hub says so.

    Raises:
        NbtrainError: what `in_words` made of it, the last time or for good.
    """
    for seconds in pauses:
        try:
            return action()
        except RunError as error:
            if not _may_pass(error):
                raise
            seconds = max(seconds, _wait_of(error))
            # what the client says is long, and a cell shows the beginning
            what = error.what[0].upper() + error.what[1:]
            pause(f"{what}, and is tried again in {seconds:.0f} s: {error.why}", seconds)
    return action()


@contextmanager
def in_words(repo_id: str, doing: str = "the upload to") -> Iterator[None]:
    """What the hub's client raises, as ours.

    Args:
        doing: what was done with the repository.

    Raises:
        RunError: what the hub, or the way to it, said. ParamError: `repo_id` is no name.
    """
    try:
        yield
    except NbtrainError:
        raise
    except Exception as error:
        raise _told(error, repo_id, doing) from error


def _may_pass(error: NbtrainError) -> bool:
    """Whether what `in_words` raised may be gone when the same is tried again."""
    chain = _chain(error)[1:]
    if any(isinstance(each, (ValueError, NbtrainError)) for each in chain) or "OfflineModeIsEnabled" in _names(chain):
        return False
    status = _status(chain)
    return bool(chain) and (status is None or status >= 500 or status in _BUSY)


def _wait_of(error: NbtrainError) -> float:
    """Seconds after which the hub wants to be asked again, 0 where it said nothing; at most five minutes."""
    answers = (getattr(each, "response", None) for each in _chain(error))
    asked = next((answer.headers.get("Retry-After", "") for answer in answers if answer is not None), "")
    return min(float(asked), _LONGEST) if asked.isdecimal() else 0.0


def _told(error: Exception, repo_id: str, doing: str) -> NbtrainError:
    chain = _chain(error)
    names, status = _names(chain), _status(chain)
    said = {_first_line(each): type(each).__name__ for each in reversed(chain[:2])}  # often the same twice
    why = "; ".join(f"{kind}: {text}" for text, kind in reversed(said.items()))
    if "HFValidationError" in names:
        return ParamError(f"{repo_id!r} is no name of a repository: OWNER/NAME", why=_first_line(error))
    if names & NO_NETWORK:
        return RunError("the hub cannot be reached", why=why, fix="connect (and unset HF_HUB_OFFLINE)")
    if status == 401:
        return RunError("the hub does not know this token", why=why, fix=NEW_TOKEN)
    if status == 403:
        fix = f"name another owner, or {NEW_TOKEN}"
        return RunError(f"this token may not write to {repo_id}", why=why, fix=fix)
    fix = "try again: run.push_to_hub(...); where a proxy stops it, with HF_HUB_DISABLE_XET=1"
    return RunError(f"{doing} {repo_id} did not succeed", why=why, fix=fix)


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
