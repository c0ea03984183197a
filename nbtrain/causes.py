"""What ended a run, in words: the exceptions of Python, the system and the libraries as errors of our own."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from packaging.utils import canonicalize_name

from nbtrain import doctor
from nbtrain.errors import MissingExtra, NbtrainError, TrainingError
from nbtrain.runs import folder
from nbtrain.runs.folder import RunFolder

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def told(error: BaseException, run: RunFolder) -> NbtrainError:
    """Whatever a run raised, as an error that says what to do; one of ours stays as it is."""
    if isinstance(error, NbtrainError):
        return error
    if any(_is_of_a_full_disk(each) for each in _chain(error)):
        return _full_disk(run, _first_line(error))
    if isinstance(error, ImportError):
        return unimportable(error, str(folder.read_params(run)["room"]))
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{Path(last[0].filename).name}, line {last[0].lineno}, in {last[0].name}" if last else ""
    what, fix = f"{type(error).__name__}: {_first_line(error)}", f"`why {run.name}` shows the whole traceback"
    return TrainingError(what, where=where, fix=f"{fix} ({run.error})")


def unimportable(error: ImportError, room: str) -> MissingExtra:
    """What a room could not import: missing, too old, or loaded in another version than is installed."""
    # transformers and trl wrap what their own modules could not import, and name none
    error = next((each for each in _chain(error) if isinstance(each, ImportError) and each.name), error)
    extra, why = doctor.extra_of(room), _first_line(error)
    install = f"{doctor.pip_line(extra)}, then restart the kernel."
    if not error.name:
        return MissingExtra(f"a library cannot be imported that {room} needs", why=why, fix=install)
    module = error.name.partition(".")[0]
    # a distribution and its module may have different names: scikit-learn is sklearn
    owner = importlib.metadata.packages_distributions().get(module, [module.replace("_", "-")])[0]
    running, lying = getattr(sys.modules.get(module), "__version__", None), doctor.installed(owner)
    if isinstance(running, str) and lying and running.split("+")[0] != lying.split("+")[0]:
        what = f"{owner} {running} is loaded, {lying} is installed, and {room} cannot use what is loaded"
        return MissingExtra(what, why=why, fix="restart the kernel: it then loads what is installed.")
    wanted = [str(each) for each in doctor.needed(extra) if canonicalize_name(each.name) == canonicalize_name(owner)]
    what = f"{owner} {lying} does not have what {room} needs" if lying else f"{room} needs {owner}, which is missing"
    where = f"nbtrain[{extra}] asks for {wanted[0]}" if wanted else ""
    return MissingExtra(what, where=where, why=why, fix=install if wanted else f"pip install -U {owner}")


def _is_of_a_full_disk(error: BaseException) -> bool:
    """Whether a write found no room: no space, a quota, or a limit on the size of files."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    # safetensors and torch write without Python, and tell only what the system said
    text = str(error)
    return os.strerror(errno.ENOSPC) in text or any(f"(os error {number})" in text for number in _FULL)


def _full_disk(run: RunFolder, said: str) -> TrainingError:
    free = shutil.disk_usage(run.path).free / 1e6
    return TrainingError(
        f"the disk is full: what the run had to write did not fit, {free:,.0f} MB are free",
        where=str(run.path),
        why=said,
        fix=f"free some space, then `resume {run.name}` goes on from its last whole checkpoint; "
        "--save-total-limit 1 keeps fewer of them, --project-name puts a run on another disk.",
    )


def _first_line(error: BaseException) -> str:
    """A message of a library can be pages long; the whole of it is in error.txt."""
    return str(error).strip().split("\n")[0][:300] or "no message"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
