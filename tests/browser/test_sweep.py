"""A sweep, live in the cell: trials come one after the other, the drawings grow, the best run is a run."""

import pytest

pytestmark = pytest.mark.browser

ROWS = (
    "rows = [{'a': n % 7, 'b': n * 5 % 11, 'target': 'high' if n % 7 + n * 5 % 11 > 8 else 'low'} for n in range(60)]"
)
SWEEP = (
    "run = %autotrain tabular --df rows --model logistic_regression --num-trials 1 --folds 2 --use-sweep "
    '--sweep-n-trials 12 --sweep-workers 2 --sweep-params \'{"seed": {"low": 0, "high": 99}, '
    '"numeric_scaler": ["standard", "minmax"]}\''
)


def test_a_sweep_is_seen_live_and_its_best_run_is_a_run(lab):
    lab.open(ROWS, SWEEP, "run.best_run.status, run.best_run.name, len(run.trials)")
    lab.run(1)
    lab.start(2)
    shown = lab.cell(2).locator
    lab.until(lambda: 1 <= shown(".nbtrain svg.course circle.mark").count() < 12, 120)
    early = lab.text(2)
    assert "of 12" in early and "running" in early
    lab.picture("sweep-early")
    lab.wait_idle(180)
    lab.picture("sweep")
    assert shown(".nbtrain svg.course circle.mark").count() == 12
    assert shown(".nbtrain svg.across path.trial").count() == 12
    assert "12 of 12" in lab.text(2) and "best" in lab.text(2) and "finished" in lab.text(2)
    assert len(lab.outputs(2)) == 1
    lab.run(3)
    assert "('finished', 'trial-" in lab.text(3) and ", 12)" in lab.text(3)
