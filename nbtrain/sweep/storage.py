"""The database in which sweeps are kept: opened, its tables made where they are missing, by whatever URL it has."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nbtrain.errors import MissingExtra, ParamError, RunError, nearest

BEAT_SECONDS, GRACE_SECONDS = 20, 90  # a machine that is silent for so long is gone
_RETRIES = 2  # of a trial whose machine is gone
_ATTEMPTS, _PAUSE = 5, 0.5  # at making the tables of a new database, where others make them at the same time
PASSWORD = "NBTRAIN_SWEEP_PASSWORD"


def storage(url: str) -> Any:
    """The database at `url`, its tables made where they are missing.

    Raises:
        MissingExtra: Optuna is not installed. ParamError: the URL has a password. RunError: it cannot be opened.
    """
    try:
        import optuna
        from sqlalchemy.exc import ArgumentError, SQLAlchemyError
    except ImportError as error:
        fix = 'pip install "nbtrain[sweep]"'
        raise MissingExtra(f"A sweep needs {error.name}, which is not installed", fix=fix) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    failed = f"the storage of the sweep cannot be opened: {shown(url)}"
    for attempt in range(_ATTEMPTS):
        try:
            with quiet():
                opened = optuna.storages.RDBStorage(
                    _with_password(url),
                    heartbeat_interval=BEAT_SECONDS,
                    grace_period=GRACE_SECONDS,
                    heartbeat_stale_trial_callback=_enter_anew,
                )
                _one_at_a_time(opened.engine)
                return opened
        except (ArgumentError, ImportError) as error:
            raise RunError(failed, why=str(error), fix="an SQLAlchemy URL, as sqlite:////shared/sweep.db") from None
        except SQLAlchemyError as error:
            why = str(error).split("\n")[0]
        time.sleep(_PAUSE * attempt)
    raise RunError(failed, why=why, fix="look whether the database is there and takes connections")


def known(url: str, name: str | None) -> tuple[str, dict[str, Any]]:
    """The sweep that is meant, and what was said when it was made.

    Args:
        name: of the sweep; None where the storage has one only.

    Raises:
        ParamError: there is none of this name, or there are several.
    """
    book = storage(url)
    there = [each.study_name for each in book.get_all_studies()]
    if name is None and len(there) != 1:
        what = f"{shown(url)} holds {len(there)} sweeps" if there else f"{shown(url)} holds no sweep"
        raise ParamError(what, fix=f"name one with --study: {', '.join(there[-8:])}" if there else "look at the URL")
    wanted = there[0] if name is None else name
    if wanted not in there:
        raise ParamError(f"{shown(url)} has no sweep {wanted!r}.{nearest(wanted, there)}")
    return wanted, dict(book.get_study_user_attrs(book.get_study_id_from_name(wanted)))


def shown(url: str) -> str:
    """The URL without what stands for a password."""
    before, at, after = url.rpartition("@")
    head, colon, _ = before.rpartition(":")
    return f"{head}:***@{after}" if at and colon and "//" in head and not head.endswith("//") else url


def check_url(url: str) -> None:
    """Raise ParamError where the URL holds a password: it is written into files."""
    if shown(url) != url:
        fix = f"leave it out, and set {PASSWORD} in the environment of each machine"
        raise ParamError("--sweep-storage has a password in it, which would stand in files", where=shown(url), fix=fix)


def _one_at_a_time(engine: Any) -> None:
    """Have each transaction wait for the one before it, where the database does not know how to lock a row.

    On SQLite two machines could otherwise read the same trial as waiting, and both take it.
    """
    from sqlalchemy import event

    if engine.dialect.name != "sqlite" or engine.url.database in (None, "", ":memory:"):
        return

    def leave_the_beginning_to_us(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    event.listen(engine, "connect", leave_the_beginning_to_us)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    engine.dispose()  # connections that were made before


def _with_password(url: str) -> Any:
    password = os.environ.get(PASSWORD)
    if not password:
        return url
    from sqlalchemy.engine import make_url

    made = make_url(url)
    return made.set(password=password).render_as_string(hide_password=False) if made.username else url


def _enter_anew(study: Any, trial: Any) -> None:
    """A trial whose machine is gone waits again, with the values that it had, but for nobody."""
    import optuna

    tries = trial.user_attrs.get("tries", 0) + 1
    if tries > _RETRIES:
        return
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"tries": tries, "again": trial.number},
        )
    )


@contextmanager
def quiet() -> Iterator[None]:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
