"""What is asked of a sweep in words: shown with its trials, joined by the URL of its storage."""

import json

import pytest

from nbtrain import cli
from nbtrain.errors import DataError, ParamError, RunError
from nbtrain.sweep import plan
from nbtrain.sweep.joining import joined


@pytest.fixture
def stored(asked, tmp_path):
    """A sweep in a storage of its own, of which no trial was begun: its URL and its book."""

    def make(**values):
        url = f"sqlite:///{tmp_path}/shared.db"
        params = asked(tmp_path / "sweep", sweep_storage=url, sweep_study="a-sweep", **values)
        (tmp_path / "sweep").mkdir()
        return url, plan.study(params, plan.RunFolder(tmp_path / "sweep"))

    return make


def test_it_is_shown_with_what_each_trial_tried_and_came_to(swept, capsys):
    assert cli.main(["show", str(swept.path)]) == 0
    told = capsys.readouterr().out
    assert "finished, step 8 of 8" in told and told.count(": complete") == 8
    best = int(swept.record.end.values["trial"])
    assert f"trial {best}: complete {swept.record.trials[best].value:#.4g} (lr" in told


def test_whoever_joins_has_the_parameters_of_the_sweep_and_a_folder_of_their_own(stored):
    url, book = stored(pause=0.5)
    params = joined([url, "--workers", "3"])
    assert (params.pause, params.sweep_workers, params.sweep_study, params.sweep_storage) == (0.5, 3, "a-sweep", url)
    assert "a-sweep-" in params.project_name and len(book.trials()) == 8
    assert joined([url, "--study", "a-sweep", "--project-name", "mine"]).project_name == "mine"


@pytest.mark.parametrize(
    "words",
    [[], ["runs/sweep"], ["sqlite:///a.db", "more"], ["sqlite:///a.db", "--workers"], ["a.db", "--nonsense", "1"]],
)
def test_words_that_name_no_storage_are_refused(words, capsys):
    assert cli.main(["sweep-worker", *words]) == 2
    assert "sweep-worker" in capsys.readouterr().err or words[-1:] == ["--workers"]


def test_a_sweep_that_is_not_there_is_told_with_the_nearest(stored):
    url, _ = stored()
    with pytest.raises(ParamError, match="no sweep 'a-swep'. Did you mean a-sweep?"):
        joined([url, "--study", "a-swep"])


def test_one_of_another_version_is_not_joined(stored):
    url, book = stored()
    book._study.set_user_attr("nbtrain", "0.0.1")
    with pytest.raises(RunError, match="made by 0.0.1"):
        joined([url])


def test_data_that_is_not_on_this_machine_is_asked_for(stored, tmp_path):
    url, book = stored()
    known = json.loads(book.about["params"])
    book._study.set_user_attr("params", json.dumps({**known, "data_path": "/far/away/rows.csv"}))
    with pytest.raises(DataError, match="not on this machine: /far/away/rows.csv") as caught:
        joined([url])
    assert "--data-path" in caught.value.fix


def test_a_password_in_the_url_is_not_repeated(capsys):
    assert cli.main(["sweep-worker", "postgresql://ann:" + "s3cret@host/db"]) == 2
    assert "s3cret" not in capsys.readouterr().err
