"""The book of a sweep: made once, no trial taken twice, what a trial tries does not depend on who was quicker."""

import math
import statistics
import threading

import pytest

from nbtrain.errors import ParamError, RunError
from nbtrain.sweep import storage as storages
from nbtrain.sweep.space import Dial
from nbtrain.sweep.storage import check_url, known, shown
from nbtrain.sweep.study import Study, cause

DIALS = [Dial("lr", low=1e-5, high=1e-1, log=True), Dial("size", values=(2, 4, 8)), Dial("on", values=(True, None))]


def book(place, name="s", *, lag=1, pruner="none", trials=8, direction="minimize", seed=7):
    url = f"sqlite:///{place}/study.db" if place else "sqlite:///:memory:"
    made = Study(url, name, DIALS, seed=seed, lag=lag, pruner=pruner)
    made.open(trials=trials, direction=direction, about={"room": "llm"})
    return made


def value(given):
    """A measure that likes a rate of 0.01 and small sizes."""
    return (math.log10(given["lr"]) + 2) ** 2 + given["size"] / 10


def work_through(made, order=lambda numbers: numbers):
    """Take two trials at a time and end them in the order that `order` gives; what each tried."""
    tried = {}
    while numbers := made.waiting()[:2]:
        for number in numbers:
            assert made.take(number, "me")
            tried[number] = made.draw(number, {"lr": 1e-3, "size": 4, "on": "?"})
        for number in order(numbers):
            made.tell(number, "complete", value(tried[number]))
    return tried


def test_it_is_made_once_with_its_trials_and_opened_by_others(tmp_path):
    first, second = book(tmp_path), book(tmp_path, trials=99)
    assert [trial.state.name for trial in second.trials()] == ["WAITING"] * 8
    assert second.about == {"room": "llm", "trials": 8} and second.direction == "minimize"
    assert first.take(0, "me") and not second.take(0, "you")
    assert second.take(1, "you") and first.waiting() == [2, 3, 4, 5, 6, 7]


def test_four_that_make_it_at_once_make_one_and_share_its_trials(tmp_path):
    taken, faults = [], []

    def take_some():
        try:
            mine = book(tmp_path, trials=12)
            taken.extend(number for number in range(12) if mine.take(number, "me"))
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=take_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert sorted(taken) == list(range(12)) and len(book(tmp_path).trials()) == 12


def test_the_first_trial_tries_the_values_that_stand_there_as_far_as_they_are_in_range():
    made = book(None)
    made.take(0, "me")
    given = made.draw(0, {"lr": 1e-3, "size": 3, "on": None})
    assert given["lr"] == 1e-3 and given["on"] is None and given["size"] in (2, 4, 8)
    assert made.draw(0, {"lr": 0.5, "size": 8, "on": True}) == given  # asked again, the same


def test_what_was_tried_is_not_tried_again_while_there_is_something_else():
    made = Study("sqlite:///:memory:", "s", [Dial("size", values=(1, 2, 3, 4))], seed=3, lag=1, pruner="none")
    made.open(trials=5, direction="minimize", about={})
    tried = []
    for number in range(5):
        made.take(number, "me")
        tried.append(made.draw(number, {"size": 2})["size"])
        made.tell(number, "complete", 1.0)
    assert tried[0] == 2 and sorted(tried[:4]) == [1, 2, 3, 4]


def test_what_a_trial_tries_depends_on_the_seed_and_not_on_who_was_quicker():
    tried = []
    for order, seed in ((lambda numbers: numbers, 7), (reversed, 7), (reversed, 8)):
        tried.append(work_through(book(None, lag=4, trials=10, seed=seed), order))
    assert tried[0] == tried[1] != tried[2]
    assert len({given["lr"] for given in tried[0].values()}) == 10


def test_the_sampler_learns_better_than_chance():
    tried = work_through(book(None, lag=2, trials=22))
    early, late = ([value(tried[number]) for number in numbers] for numbers in (range(1, 7), range(16, 22)))
    assert statistics.median(late) < statistics.median(early)


def test_a_trial_waits_for_those_that_it_learns_from_only(tmp_path):
    assert book(tmp_path, "one", lag=1).ready(5, []) and not book(tmp_path, "one", lag=1).ready(5, [4])
    assert book(tmp_path, "two", lag=4).ready(5, [2, 4]) and not book(tmp_path, "two", lag=4).ready(5, [1])


def test_the_best_is_the_lowest_or_the_highest_as_the_direction_says():
    for direction, number in (("minimize", 1), ("maximize", 2)):
        made = book(None, direction, direction=direction)
        for trial, told in enumerate((0.5, 0.1, 0.9, 0.9)):
            made.take(trial, "me")
            made.tell(trial, "complete", told)
        made.take(4, "me")
        made.tell(4, "pruned", 7.0)
        assert made.best().number == number and not made.over()
        assert not made.tell(0, "failed") and made.best().number == number  # an end is told once


def test_median_pruning_ends_what_is_behind_the_others_that_were_over_before():
    made = book(None, pruner="median", trials=8)
    for number in range(5):
        made.take(number, "me")
        assert not made.report(number, 1, 1.5 - number / 10)
        made.tell(number, "complete", 1.0)
    made.take(5, "me"), made.take(6, "me")
    assert made.report(5, 1, 2.0) and not made.report(6, 1, 1.05)


def test_halving_keeps_the_best_of_each_stage():
    made = book(None, pruner="halving")
    ended = []
    for number, reached in enumerate((1.0, 2.0, 0.5, 3.0, 0.4, 5.0)):
        made.take(number, "me")
        ended.append(made.report(number, 1, reached))
    assert ended == [False, True, False, True, False, True]


def test_importance_knows_what_the_measure_comes_from():
    made = book(None, trials=12)
    assert made.importance() == {}
    work_through(made)
    shares = made.importance()
    assert sum(shares.values()) == pytest.approx(1.0) and shares["on"] < max(shares["lr"], shares["size"])


def test_a_trial_of_a_machine_that_is_gone_fails_and_waits_again_with_its_values(tmp_path, monkeypatch):
    monkeypatch.setattr(storages, "GRACE_SECONDS", 1)
    monkeypatch.setattr(storages, "BEAT_SECONDS", 1)
    made = book(tmp_path, trials=2)
    for number in range(2):
        made.take(number, "gone")
        made.draw(number, {"lr": 1e-3, "size": 2, "on": True})
    threading.Event().wait(2.5)
    made.beat([1])
    made.free_stale()
    first, second, again = made.trials()
    assert (first.state.name, second.state.name, again.state.name) == ("FAIL", "RUNNING", "WAITING")
    assert "no sign of life" in cause(first) and "owner" not in again.user_attrs
    made.take(2, "me")
    assert made.draw(2, {"lr": 0.01, "size": 8, "on": None}) == first.params


def test_a_machine_that_joins_finds_the_sweep_by_its_storage(tmp_path):
    made = book(tmp_path, "first")
    assert known(made.url, None)[0] == "first" and known(made.url, "first")[1]["room"] == "llm"
    with pytest.raises(ParamError, match="no sweep 'frist'. Did you mean first?"):
        known(made.url, "frist")
    book(tmp_path, "second")
    with pytest.raises(ParamError, match="holds 2 sweeps") as caught:
        known(made.url, None)
    assert "first, second" in caught.value.fix


def test_a_password_is_kept_out_of_files_and_comes_from_the_environment(monkeypatch):
    secret = "postgresql://ann:" + "s3cret@host:5432/db"
    assert shown(secret) == "postgresql://ann:***@host:5432/db"
    with pytest.raises(ParamError, match="password") as caught:
        check_url(secret)
    assert "s3cret" not in str(caught.value) and storages.PASSWORD in caught.value.fix
    for fine in ("postgresql://ann@host/db", "sqlite:////data/ann@work/a.db", "sqlite:///a.db"):
        check_url(fine)
    monkeypatch.setenv(storages.PASSWORD, "s3cret")
    assert storages._with_password("postgresql://ann@host/db") == "postgresql://ann:s3cret@host/db"
    assert storages._with_password("sqlite:///a.db") == "sqlite:///a.db"


def test_a_storage_that_cannot_be_opened_is_told_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(storages, "_PAUSE", 0)
    for url in (f"sqlite:///{tmp_path}/missing/study.db", "no-url", "marsdb://host/x"):
        with pytest.raises(RunError, match="storage of the sweep cannot be opened"):
            storages.storage(url)
