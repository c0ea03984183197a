"""The list of runs: one line a run, the newest last, with the course of its loss."""

from nbtrain.answers import runs


def test_a_run_is_a_line_with_its_best_value_and_its_course(made_run, workdir):
    made_run("first", [4.0, 3.0, 2.0], evaluations={1: 3.5, 3: 2.5})
    made_run("second", [1.0, 2.0, 9.0])
    head, first, second = runs.listed().lines()
    assert head.split() == ["name", "state", "step", "best", "age", "loss"]
    assert first.split()[:5] == ["first", "finished", "3/3", "loss", "2.500"]
    assert second.split()[:4] == ["second", "finished", "3/3", "-"]
    assert first.endswith("█▅▁") and second.split()[-1][0] == "▁"


def test_the_newest_twenty_are_shown_unless_all_are_asked_for(made_run, workdir, monkeypatch):
    monkeypatch.setattr(runs, "SHOWN", 2)
    for number in range(3):
        made_run(f"run-{number}", [1.0])
    found = runs.listed()
    assert [each.name for each in found.runs] == ["run-1", "run-2"]
    assert found.lines()[-1] == "and 1 older ones: runs --all"
    assert [each.name for each in runs.listed(everything=True).runs] == ["run-0", "run-1", "run-2"]


def test_a_folder_without_runs_says_so(workdir):
    assert runs.listed().lines() == [f"no runs in {workdir.resolve()}"]
