"""The way of a run: judge, search, blend, fit the last models, save, measure, tell."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbtrain.errors import DataError, ParamError
from nbtrain.events import Evaluated, Resumed, Sampled, Started
from nbtrain.runs import process
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers.tabular import blending, estimators, judging, preparing, saving, scoring, telling, trials
from nbtrain.trainers.tabular.families import COMPARED, FAMILIES, TINY, Family
from nbtrain.trainers.tabular.judging import Judged
from nbtrain.trainers.tabular.material import Candidate, Material, Views
from nbtrain.trainers.tabular.saving import Member, Predictor
from nbtrain.trainers.tabular.search import Search

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

_LEAST = 10  # rows
_FOLDS = ((20_000, 5), (60_000, 3))  # rows up to which the table is cut into so many parts; above, one is set aside
_ASIDE = 0.2
_MANY, _FEWER = 4, 3  # with more targets than this, each with models of its own, no more parts than that


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Search, and leave the best; see the room's `train`."""
    began = time.monotonic()
    run.stage("reading the table")
    judged = judging.judge(params, run.folder.data)
    metric = scoring.chosen(judged.goal, params.metric)
    families, told = chosen(params, judged)
    table = judged.features(judged.train)
    material = Material(
        goal=judged.goal,
        views=Views(table, judged.columns.used, params),
        targets=judged.targets(judged.train),
        folds=folds(judged, params),
        threads=threads(),
    )
    if run.resume_from is None:
        run.emit(_started(params, run, judged, families, metric))
        for notice in [*judged.warnings(), *preparing.notices(table, judged.columns.used), *told]:
            run.warn(notice)
    finder = Search(params, run, material, families, metric)
    if run.resume_from is not None:
        place = str(run.resume_from.relative_to(run.folder.path))
        run.emit(Resumed(step=finder.done, checkpoint=place, differences=run.differences))
    finder.go()
    run.stage("fitting the last models")
    predictor, blend = _last(params, material, finder)
    saving.save(predictor, run.folder.model)
    saving.verify(predictor, run.folder.model, table.head(200))
    values = _tell(params, run, judged, predictor, finder, blend)
    return values | {"trials": finder.done, "train_seconds": round(time.monotonic() - began, 3)}


def chosen(params: Any, judged: Judged) -> tuple[list[Family], list[str]]:
    """The families to try, and what is to be told of the choice.

    Raises:
        ParamError: the model named does not do the task, or auto is given settings of one model.
        MissingExtra: its library is not installed.
    """
    classifies = judged.goal.classifies
    if params.model != "auto":
        family = FAMILIES[TINY if params.model == "tiny" else params.model]
        if not family.does(classifies):
            fitting = ", ".join(each.name for each in FAMILIES.values() if each.does(classifies))
            task = "classification" if classifies else "regression"
            raise ParamError(f"--model {family.name} does no {task}; those that do: {fitting}")
        estimators.require(family)
        return [family], []
    if params.model_params:
        raise ParamError("--model-params are settings of one model, and --model auto compares many", fix="name one")
    rows, taken, told = len(judged.train.frame), list[Family](), list[str]()
    for family in map(FAMILIES.__getitem__, COMPARED):
        if not family.does(classifies) or (family.name == "ridge" and classifies):
            continue
        if family.name == "mlp" and any(each.name == "neural_net" for each in taken):
            continue  # the weaker of two nets
        if rows > family.slow_above:
            told.append(f"{family.name} is not compared: too slow for {rows:,} rows.")
        elif not estimators.is_here(family):
            told.append(f"{family.name} is not compared: {family.library} is not installed.")
        else:
            taken.append(family)
    return taken, told


def folds(judged: Judged, params: Any) -> list[tuple[Array, Array]]:
    """(rows to fit to, rows to measure) of the training rows, for each trial the same.

    Raises:
        DataError: there are too few rows.
    """
    import numpy
    from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

    rows = len(judged.train.frame)
    if rows < _LEAST:
        what = f"There are {rows} rows to learn from; {_LEAST} are the least."
        raise DataError(what, fix="Give more rows.")
    usual = next((parts for most, parts in _FOLDS if rows <= most), 1)
    count = params.folds or min(usual, _FEWER if len(judged.goal.targets) > _MANY else usual)
    targets = judged.targets(judged.train)
    if count == 1:
        groups = judging.strata(targets, judged.goal)
        parts = train_test_split(numpy.arange(rows), test_size=_ASIDE, random_state=params.seed, stratify=groups)
        return [(numpy.sort(parts[0]), numpy.sort(parts[1]))]
    groups = judging.strata(targets, judged.goal, smallest=count)
    kind = KFold if groups is None else StratifiedKFold
    return list(kind(count, shuffle=True, random_state=params.seed).split(numpy.zeros(rows), groups))


def threads() -> int:
    """Threads of a fit: as OMP_NUM_THREADS says, else the cores that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return process.cores()


def _started(params: Any, run: ActiveRun, judged: Judged, families: Sequence[Family], metric: str) -> Started:
    facts = {
        "task": judged.goal.kind,
        "rows": len(judged.train.frame),
        "features": len(judged.columns.used),
        "families": ", ".join(family.name for family in families),
        "threads": threads(),
    }
    total = trials.planned(params)
    name, curve = run.folder.name, f"cv_{metric}"
    return Started(room=params.room, name=name, total_steps=total, facts=facts, metric=metric, curve=curve)


def _last(params: Any, material: Material, finder: Search) -> tuple[Predictor, dict[str, Any]]:
    """The models that stay, fitted to all training rows, and what is to be told of the mixture."""
    leader = finder.leader()
    if leader is None:  # stopped before the first trial was through: its settings as they are
        leader = _plain(params, finder.families[0], material)
        mixture, score = {leader.family.name: 1.0}, float("nan")
    elif params.model == "auto":
        mixture, score = blending.weights(list(finder.best.values()), material, finder.metric)
    else:
        mixture, score = {leader.family.name: 1.0}, leader.score
    members, seconds = list[Member](), dict[str, float]()
    for name, weight in mixture.items():
        began = time.monotonic()
        members.append(_member(finder.best.get(name, leader), weight, params, material))
        seconds[name] = round(time.monotonic() - began, 3)
    views = list(dict.fromkeys(member.family.view for member in members))
    preparers = {view: material.views.of(view).preparer for view in views}
    predictor = Predictor(material.goal, tuple(material.views.columns), preparers, tuple(members))
    return predictor, {"weights": mixture, "score": score, "fit_seconds": seconds}


def _plain(params: Any, family: Family, material: Material) -> Candidate:
    import numpy

    start = {name: dial.start for name, dial in family.space.items()}
    settings = {**family.fixed, **start, **(params.model_params or {})}
    return Candidate(family, 0, float("nan"), settings, (), numpy.empty((0, material.goal.width)), 0.0)


def _member(candidate: Candidate, weight: float, params: Any, material: Material) -> Member:
    family, view = candidate.family, material.views.of(candidate.family.view)
    setting = estimators.Setting(material.goal.classifies, params.seed, material.threads, categories=view.codes)
    models = []
    for at in range(len(material.goal.targets)):
        rounds = {family.rounds: max(1, candidate.rounds[at])} if candidate.rounds else {}
        settings = {**rounds, **candidate.settings}
        models.append(estimators.fit(family, settings, view.x, material.targets[:, at], setting))
    return Member(family, weight, candidate.settings, tuple(models))


def _tell(
    params: Any, run: ActiveRun, judged: Judged, predictor: Predictor, finder: Search, blend: dict[str, Any]
) -> dict[str, float]:
    """Measure, and put everything that is worth knowing into the report; the values on held-out rows."""
    goal, metric = judged.goal, finder.metric
    part = judged.valid or judged.train
    table, targets = judged.features(part), judged.targets(part)
    guesses = predictor.of_table(table)
    values = scoring.scores(goal, targets, guesses) if judged.valid else {}
    if values:
        run.emit(Evaluated(step=finder.done, values=values))
    matters = telling.importances(predictor, table, targets, metric, params.seed)
    run.report |= {
        "metric": metric,
        "search": finder.why,
        "columns": {column.name: column.kind for column in judged.columns.used},
        "left_out": dict(judged.columns.left_out),
        "leaks": list(judged.leaks),
        "families": {name: candidate.score for name, candidate in finder.best.items()},
        "ensemble": blend,
        "members": _members(predictor, table, targets),
        "trials": list(trials.table(finder.study)),
        "importances": matters,
        "targets": telling.tables(predictor, targets, guesses),
        "measured_on": "held-out rows" if judged.valid else "the training rows themselves",
    }
    telling.draw(run.folder.figures, predictor, run.report, targets, guesses)
    run.emit(Sampled(step=finder.done, samples=telling.samples(predictor, part.frame, targets, guesses, matters)))
    if judged.valid:
        _write_predictions(run, judged, predictor, guesses)
    return values


def _members(predictor: Predictor, table: Any, targets: Array) -> list[dict[str, Any]]:
    """Each family that stays: its weight, its settings, and what it is worth alone."""
    found = []
    for member in predictor.members:
        x = predictor.preparers[member.family.view].transform(table).astype("float64")
        values = scoring.scores(predictor.goal, targets, predictor.of_member(member, x))
        rounds = [model.rounds for model in member.models if model.rounds is not None]
        about = {"family": member.family.name, "weight": member.weight, "settings": dict(member.settings)}
        found.append(about | {"rounds": rounds, "values": values})
    return found


def _write_predictions(run: ActiveRun, judged: Judged, predictor: Predictor, guesses: Array) -> None:
    """predictions.jsonl: what is said of each held-out row, beside the truth."""
    assert judged.valid is not None
    said = predictor.said(guesses)
    chances = predictor.chances(guesses) if judged.goal.classifies else [None] * len(said)
    names = [target.name for target in judged.goal.targets]
    with open(run.folder.predictions, "w", encoding="utf-8") as file:
        for row, (text, chance) in enumerate(zip(said, chances, strict=True)):
            truth = {name: str(judged.valid.frame[name].iloc[row]) for name in names}
            number, place = judged.valid.places.find(row)
            line = {
                "row": number,
                "place": place,
                "predicted": text,
                "truth": truth if len(truth) > 1 else truth[names[0]],
            }
            file.write(json.dumps(line | ({"chances": chance} if chance else {}), ensure_ascii=False) + "\n")
