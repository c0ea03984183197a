"""Runs that were never trained: a folder, what was asked, and a journal."""

import pytest

from nbtrain import events, fit, trainers
from nbtrain.run import Run
from nbtrain.runs import status
from nbtrain.runs.journal import Journal


@pytest.fixture
def made_run(workdir):
    """Makes a finished run with these losses, evaluations and samples."""

    def make(name, losses, *, room="llm", evaluations=None, samples=(), **asked):
        asked = ({"trainer": "sft"} if room == "llm" else {}) | asked
        folder = fit.prepare(trainers.load(room).Params(project_name=name, **asked))
        with Journal(folder.events) as journal:
            journal.append(events.Started(room=room, method="sft", name=name, total_steps=len(losses)))
            for step, loss in enumerate(losses, start=1):
                journal.append(events.Logged(step=step, values={"loss": loss}))
            for step, value in (evaluations or {}).items():
                journal.append(events.Evaluated(step=step, values={"loss": value}))
            if samples:
                journal.append(events.Sampled(step=len(losses), samples=tuple(samples)))
            journal.append(events.Finished(step=len(losses), values={}, seconds=1.0, model="model"))
        status.write(folder, state="finished", step=len(losses))
        return Run(folder)

    return make
