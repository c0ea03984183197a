"""`python -P -m nbtrain.sweep.wandb_agent`: talks to Weights & Biases for one trial, in a process of its own.

wandb knows one run in a process, prints, and starts threads: none of that belongs into a driver. A line of JSON on
stdin says what to do: {"make": settings} makes a search, {"take": id} asks for a trial's values; then {"log": values}
as they come, and {"end": 0 or 1}. The answers are lines of JSON on what was stdout: {"id"}, {"given"} or {"error"}.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO


def main() -> int:
    """Do what the first line says; the exit code."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # wandb talks on stdout
    asked = json.loads(sys.stdin.readline())
    where = {"project": asked["project"], "entity": asked["entity"]}
    try:
        import wandb

        if "make" in asked:
            _say(answers, id=wandb.sweep(asked["make"], **where))
        else:
            wandb.agent(asked["take"], function=lambda: _trial(wandb, answers), count=1, **where)
    except Exception as error:
        _say(answers, error=f"{type(error).__name__}: {error}")
        return 1
    return 0


def _trial(wandb: Any, answers: TextIO) -> None:
    """One run at wandb, from the values that it was given to its end."""
    logged = wandb.init()
    _say(answers, given=dict(logged.config))
    code = 1  # the driver is gone before it said how the trial ended
    for line in sys.stdin:
        said = json.loads(line)
        if "end" in said:
            code = int(said["end"])
            break
        logged.log(said["log"])
    logged.finish(exit_code=code)


def _say(answers: TextIO, **what: Any) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
