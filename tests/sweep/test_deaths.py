"""Whatever process of a sweep dies: every trial comes to an end, and the best is the one that it would have been."""

import os
import signal
import threading
import time

import pytest

from nbtrain import sweep, trainers
from nbtrain.run import Run, start
from nbtrain.runs import status
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.seat import Seat
from nbtrain.sweep.joining import joined


def killing(place, times):
    """Kill the process of a running trial, so many times; the trials that it hit."""
    hit, end = [], time.time() + 60
    while len(hit) < times and time.time() < end:
        for folder in sorted((place / "trials").glob("trial-*")):
            now = status.stored(RunFolder(folder))
            if now.state == "running" and now.pid and folder.name not in hit and len(hit) < times:
                os.kill(now.pid, signal.SIGKILL)
                hit.append(folder.name)
        time.sleep(0.005)
    return hit


def wait_for(holds, seconds=60):
    end = time.time() + seconds
    while not holds():
        assert time.time() < end
        time.sleep(0.01)


def test_a_sweep_whose_workers_are_killed_comes_to_the_same_trials(swept, searched, trials, tmp_path):
    hit = []
    killer = threading.Thread(target=lambda: hit.extend(killing(tmp_path / "killed", 3)))
    killer.start()
    run = searched(tmp_path / "killed", pause=0.1)
    killer.join()
    assert len(hit) == 3 and run.status == "finished"
    assert trials(run) == trials(swept)
    told = [notice.message for notice in run.record.notices if "was broken off" in notice.message]
    assert len(told) == 3 and all("SIGKILL" in message for message in told)


@pytest.mark.parametrize("after", [0, 3])
def test_a_sweep_whose_driver_is_killed_is_resumed_to_the_same_trials(swept, asked, trials, tmp_path, after):
    run = start(asked(tmp_path / "driven", pause=0.1))
    wait_for(lambda: sum(trial.state == "complete" for trial in run.record.trials.values()) >= after)
    wait_for(lambda: any(trial.state == "running" for trial in run.record.trials.values()))
    os.kill(run.worker.pid, signal.SIGKILL)
    run.worker.wait(20)
    assert run.status == "failed" and "SIGKILL" in str(run.error)
    assert run.resume().wait(60).status == "finished"
    assert trials(run) == trials(swept)
    assert len(run.record.evaluations) == 8


def test_a_trial_whose_driver_is_gone_saves_and_stops(asked, tmp_path):
    run = start(asked(tmp_path / "left", pause=0.3, sweep_workers=1))
    wait_for(lambda: run.trials and status.read(run.trials[0].folder).state == "running")
    os.kill(run.worker.pid, signal.SIGKILL)
    run.worker.wait(20)
    wait_for(lambda: run.trials[0].status == "stopped")
    assert (run.trials[0].folder.model / "weights").exists()


def test_a_trial_that_kills_every_process_fails_in_the_end(asked, tmp_path):
    folder = sweep.prepare(asked(tmp_path / "deadly", pause=1.0, sweep_n_trials=1, sweep_workers=1))
    deadly = threading.Event()

    def kill_each():
        trial, seen = RunFolder(folder.path / "trials" / "trial-0"), set()
        while not deadly.is_set():
            now = status.stored(trial)
            if now.state == "running" and now.pid and now.since not in seen:
                seen.add(now.since)
                os.kill(now.pid, signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_each)
    killer.start()
    state = sweep.fit(folder)
    deadly.set()
    killer.join()
    assert state == "failed" and "SIGKILL" in Run(folder).error.why


def test_another_machine_takes_part_by_the_url_of_the_storage(asked, trials, swept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/shared.db"
    run = start(asked(tmp_path / "here", sweep_storage=url, sweep_study="shared", pause=0.3, sweep_workers=1))
    wait_for(lambda: run.record.trials)
    there = joined([url, "--workers", "1", "--project-name", "there"])
    assert there.sweep_study == "shared" and there.pause == 0.3
    folder = sweep.prepare(there)
    assert sweep.fit(folder) == "finished" and run.wait(60).status == "finished"
    other = Run(folder)
    assert len(run.trials) + len(other.trials) == 8 and len(other.trials) >= 2
    assert trials(run) == trials(other)
    assert [each["state"] for each in trials(run)] == ["complete"] * 8
    assert (other.folder.model / "weights").read_text() == (run.folder.model / "weights").read_text()


def test_a_process_stays_for_the_next_run_and_goes_after_one_that_failed(tmp_path):
    seat, pids = Seat(), []
    try:
        for name in ("good", "nan", "fails", "good"):
            folder = sweep.prepare(trainers.load("standin").Params(way=name, project_name=str(tmp_path / "run")))
            worker = seat.launch(folder)
            assert worker.wait(60) == (1 if name == "fails" else 0)
            assert folder.log.exists() and status.read(folder).pid is None
            pids.append(worker.pid)
    finally:
        seat.leave()
    assert pids[0] == pids[1] == pids[2] != pids[3]
