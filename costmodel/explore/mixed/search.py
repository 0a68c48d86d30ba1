# SPDX-License-Identifier: Apache-2.0
"""Search where nothing adds up: Optuna proposes formats, real losses and prices answer.

Optuna is asked for formats and told the loss and the cost (ask/tell), with NSGA-II or TPE, starting
from given choices, such as those of the integer programme.  Every answer is in a journal file, so a
search that was killed goes on: a trial without an answer is asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from costmodel.explore.mixed.problem import Option
from hwquant.errors import InputError, ToolError
from hwquant.progress import track

__all__ = ["METHODS", "POPULATION", "require_optuna", "search"]

METHODS: Final = ("nsga2", "tpe")
POPULATION: Final = 24
_VIOLATION: Final = "violation"

Formats = tuple[Option, ...]


def search(
    options: Sequence[Sequence[Option]],
    ties: Sequence[Sequence[int]],
    evaluate: Callable[[Formats], tuple[float, float, float]],
    *,
    trials: int,
    journal: str | Path,
    starts: Sequence[Formats] = (),
    method: str = "nsga2",
    seed: int = 0,
) -> list[Formats]:
    """Return the formats of every finished trial, once each, in the order they were asked.

    ``evaluate`` returns loss, cost, and by how much budgets are exceeded (0 or less: kept).  The
    search ends with ``trials`` finished ones, ``starts`` among them.

    Raises `ToolError` when Optuna is missing, `InputError` for an unknown method or a journal of
    another search.
    """
    optuna = require_optuna()
    if method not in METHODS:
        raise InputError(f"search method {method!r}, allowed: {', '.join(METHODS)}")
    axes = _axes(options, ties)
    study = _study(optuna, method, Path(journal), seed)
    states = optuna.trial.TrialState
    _check_same(study, axes, journal)
    known = study.get_trials(deepcopy=False)
    for trial in known:
        if trial.state == states.RUNNING:  # its process died before it had an answer
            study.tell(trial.number, state=states.FAIL)
            study.enqueue_trial(trial.params)
    if not known:
        for start in starts:
            study.enqueue_trial(_parameters(start, ties))
    done = len(study.get_trials(deepcopy=False, states=(states.COMPLETE,)))
    spaces = {n: optuna.distributions.CategoricalDistribution(f) for n, f in axes.items()}
    with track("search", max(trials - done, 0)) as advance:
        for _ in range(trials - done):
            trial = study.ask(spaces)
            formats = _formats(trial.params, options, ties)
            loss, cost, violation = evaluate(formats)
            if hasattr(trial, "set_constraint"):
                trial.set_constraint(_VIOLATION, violation)
            else:  # before Optuna 5
                trial.set_user_attr(_VIOLATION, violation)
            study.tell(trial, (loss, cost))
            advance(detail=f"loss {loss:.4g}, cost {cost:g}")
    finished = study.get_trials(deepcopy=False, states=(states.COMPLETE,))
    return list(dict.fromkeys(_formats(trial.params, options, ties) for trial in finished))


def require_optuna() -> Any:
    """Return the module; raises `ToolError` where it is not installed, with what to do."""
    try:
        import optuna
    except ImportError as error:
        raise ToolError(
            "this search needs Optuna, which is not installed; install hwquant[search], or use "
            "--method exact where costs add up"
        ) from error
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def _study(optuna: Any, method: str, journal: Path, seed: int) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    journal.parent.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(
        JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal)))
    )
    name = "mixed"
    names = [study.study_name for study in storage.get_all_studies()]
    old = optuna.load_study(study_name=name, storage=storage) if name in names else None
    asked = len(old.get_trials(deepcopy=False)) if old is not None else 0
    number = seed * 1_000_003 + asked  # a search that goes on must not ask the same again
    settings: dict[str, Any] = {"seed": number}
    if not hasattr(optuna.Trial, "set_constraint"):
        settings["constraints_func"] = _violation
    if method == "nsga2":
        sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, **settings)
    else:
        sampler = optuna.samplers.TPESampler(**settings)
    return optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        directions=["minimize", "minimize"],
        load_if_exists=True,
    )


def _violation(trial: Any) -> tuple[float]:
    return (float(trial.user_attrs.get(_VIOLATION, 1.0)),)


def _check_same(study: Any, axes: Mapping[str, Sequence[str]], journal: str | Path) -> None:
    mine = {name: list(formats) for name, formats in axes.items()}
    theirs = study.user_attrs.get("axes")
    if theirs is None:
        study.set_user_attr("axes", mine)
    elif theirs != mine:
        raise InputError(
            f"{journal} holds a search over other layers or formats; choose another folder with -o"
        )


def _axes(
    options: Sequence[Sequence[Option]], ties: Sequence[Sequence[int]]
) -> dict[str, tuple[str, ...]]:
    """Return the parameters: a weight format for each layer, an activation format for each tie."""
    axes: dict[str, tuple[str, ...]] = {}
    for number, own in enumerate(options):
        weights = tuple(dict.fromkeys(option.weight for option in own if option.weight))
        if weights:
            axes[f"weight{number}"] = weights
        if _leader(number, ties) == number:
            axes[f"act{number}"] = tuple(dict.fromkeys(option.act for option in own))
    return axes


def _leader(number: int, ties: Sequence[Sequence[int]]) -> int:
    return next((min(tie) for tie in ties if number in tie), number)


def _formats(
    parameters: Mapping[str, str],
    options: Sequence[Sequence[Option]],
    ties: Sequence[Sequence[int]],
) -> Formats:
    return tuple(
        Option(parameters.get(f"weight{i}", ""), parameters[f"act{_leader(i, ties)}"])
        for i in range(len(options))
    )


def _parameters(formats: Formats, ties: Sequence[Sequence[int]]) -> dict[str, str]:
    found = {f"weight{i}": option.weight for i, option in enumerate(formats) if option.weight}
    leaders = {_leader(i, ties) for i in range(len(formats))}
    return found | {f"act{i}": formats[i].act for i in sorted(leaders)}
