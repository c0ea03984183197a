"""A function as a parameter's value: kept in the run folder, so that another process, or another day, has it too.

A function whose source can stand alone is kept as a file of Python, with the imports and functions it uses; any other
(with a closure, from a shell) as a pickle, which only the same Python version reads.
"""

from __future__ import annotations

import builtins
import dis
import importlib
import importlib.util
import inspect
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from nbtrain.errors import ParamError, nearest
from nbtrain.runs.files import atomic_write

_NAMED = re.compile(r"(?P<place>[\w.]+|.+\.py):(?P<name>[A-Za-z_]\w*)")


def is_place(value: Any) -> bool:
    """Whether `value` names a function: `module:function`, `FILE.py:function`, or a file that `store` wrote."""
    if not isinstance(value, str):
        return False
    return bool(_NAMED.fullmatch(value)) or (value.endswith((".py", ".pkl")) and Path(value).expanduser().is_file())


def store(function: Callable[..., Any], folder: Path) -> Path:
    """Write `function` into `folder`; `load` of the path gives it back.

    Raises:
        ParamError: it can be neither written nor pickled.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = getattr(function, "__name__", type(function).__name__).strip("<>")
    written = _source(function)
    if written is not None:
        path = folder / f"{name}.py"
        atomic_write(path, written)
        return path
    import cloudpickle

    path = folder / f"{name}.pkl"
    try:
        content = cloudpickle.dumps(function)
    except Exception as error:
        what = f"the function {name} cannot be handed to the training process"
        fix = "keep it in a file: FILE.py:function"
        raise ParamError(what, why=f"{type(error).__name__}: {error}", fix=fix) from None
    atomic_write(path, content)
    with suppress(OSError, TypeError):  # for whoever wants to know what was run
        atomic_write(path.with_suffix(".txt"), inspect.getsource(function))
    return path


def kept(value: Any, folder: Path) -> Any:
    """`value` with the path of each function, itself or in a list, in its place."""
    if isinstance(value, list):
        return [kept(each, folder / str(place)) for place, each in enumerate(value)]  # two may have one name
    return str(store(value, folder)) if callable(value) else value


def load(place: str | os.PathLike[str]) -> Callable[..., Any]:
    """The function that `place` names, as `is_place` says; FILE.py alone: the function of that name.

    Raises:
        ParamError: it is not there, or raised while it was loaded.
    """
    place = os.fspath(place)
    if place.endswith(".pkl"):
        with _told(place):
            import pickle  # what is read was written by `store`, or is the user's own word

            return pickle.loads(Path(place).expanduser().read_bytes())
    named = _NAMED.fullmatch(place)
    origin, name = (named["place"], named["name"]) if named else (place, Path(place).stem)
    found = _member(module(origin), name)
    if not callable(found):
        raise ParamError(f"{place} is no function but a {type(found).__name__}")
    return found


def module(origin: str) -> ModuleType:
    """A module by its name, or a file of Python.

    Raises:
        ParamError: it is not there, or raised while it was loaded.
    """
    if not origin.endswith(".py"):
        with _told(origin):
            return importlib.import_module(origin)
    path = Path(origin).expanduser().resolve()
    if not path.is_file():
        raise ParamError(f"there is no file {origin}")
    spec = importlib.util.spec_from_file_location(f"nbtrain_user_{path.stem}", path)
    assert spec and spec.loader
    opened = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # a dataclass in it looks itself up there
    with _told(origin):
        spec.loader.exec_module(opened)
    return opened


def last_line(error: BaseException) -> str:
    """Where the error was raised, in words."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name}" if frames else ""


@contextmanager
def _told(place: str) -> Iterator[None]:
    """The user's code is loaded inside; whatever it raises is told in words."""
    here = os.getcwd()
    if here not in sys.path:  # the worker runs with -P: the folder a user is in is searched last, not first
        sys.path.append(here)
    try:
        yield
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ParamError(f"{place} cannot be loaded", where=last_line(error), why=why) from error


def _member(module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        known = [word for word in vars(module) if not word.startswith("_")]
        raise ParamError(f"{module.__name__} has no function {name!r}.{nearest(name, known)}")
    return getattr(module, name)


def _source(function: Any) -> str | None:
    """A file that defines `function` by itself, None where there is none."""
    # names in annotations need not be there where it is loaded
    parts = {"": "from __future__ import annotations"}
    try:
        _gather(function, parts)
    except (OSError, TypeError, _Bound):
        return None
    written = "\n\n\n".join(parts.values()) + "\n"
    try:
        compile(written, "", "exec")
    except SyntaxError:
        return None
    return written


class _Bound(Exception):
    """The function needs something that only lives where it was made."""


def _gather(function: Any, parts: dict[str, str]) -> None:
    """What `function` needs, and then itself, in the order in which a file has to define it."""
    if not isinstance(function, FunctionType) or function.__closure__ or function.__name__ == "<lambda>":
        raise _Bound
    own = textwrap.dedent(inspect.getsource(function))
    if not own.startswith("def "):
        raise _Bound  # decorated, or a method
    parts[function.__name__] = ""
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    if not all(isinstance(value, (str, int, float, bool, type(None))) for value in defaults):
        raise _Bound
    for name in _globals(function.__code__):
        value = function.__globals__.get(name, parts)
        if name in parts or (value is parts and hasattr(builtins, name)):
            continue
        if isinstance(value, ModuleType):
            parts[name] = f"import {value.__name__} as {name}" if value.__name__ != name else f"import {name}"
        elif isinstance(value, FunctionType) and value.__module__ == function.__module__ and value.__name__ == name:
            _gather(value, parts)
        elif isinstance(value, (str, int, float, bool, type(None))):
            parts[name] = f"{name} = {value!r}"
        else:
            parts[name] = _imported(value, name)
    del parts[function.__name__]
    parts[function.__name__] = own.rstrip()


def _imported(value: Any, name: str) -> str:
    """The line that imports `value` from where it was made."""
    module, own = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if module in (None, "__main__") or getattr(sys.modules.get(module), own, None) is not value:
        raise _Bound
    return f"from {module} import {own} as {name}" if own != name else f"from {module} import {name}"


def _globals(code: CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _globals(inner)
