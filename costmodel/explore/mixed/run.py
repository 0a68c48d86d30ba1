# SPDX-License-Identifier: Apache-2.0
"""Run a search into a folder: the same store, report and commands as a sweep's.

The folder's rows are the networks that the search ends with.  Each is quantized on all calibration
inputs and scored once on the test part; what was only tried stays in the cache and the journal.
A search that was killed goes on with the same command.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from costmodel.explore import folder as run_folder
from costmodel.explore.measure import measure, measurement_key, point_key
from costmodel.explore.mixed import finder
from costmodel.explore.mixed.budget import refuse_impossible
from costmodel.explore.mixed.evaluate import Evaluator, Known
from costmodel.explore.mixed.problem import Option
from costmodel.explore.mixed.search import METHODS, require_optuna
from costmodel.explore.mixed.separable import LOSS
from costmodel.explore.mixed.thin import thin
from costmodel.explore.pricing import PriceList, price_kernel
from costmodel.explore.space import Space, coordinates
from costmodel.explore.store import Row, Status, Store, to_csv
from hwquant import atomic, cache
from hwquant.errors import InputError
from hwquant.progress import note, track
from hwquant.ptq.recipe import Recipe

__all__ = ["EXACT", "Found", "Question", "mixed_recipe", "search"]

EXACT: Final = "exact"
AUTO: Final = "auto"
SETTINGS: Final = "search.json"
JOURNAL: Final = "search.journal"


@dataclass(frozen=True)
class Question:
    """What is searched for: a front of loss and ``axis`` within ``limits``, or one network.

    ``objective`` is ``loss`` (only the network of least loss within the limits) or the cost that
    is traded for it.  ``items`` calibration inputs give the losses; at most ``points`` networks are
    kept.  ``method`` is ``exact``, ``nsga2``, ``tpe`` or ``auto``: exact where the cost adds up,
    else NSGA-II.

    Raises `InputError` for an unknown method or a space with more than one recipe.
    """

    space: Space
    objective: str = "lut_sites"
    limits: Mapping[str, int] = field(default_factory=dict)
    method: str = AUTO
    trials: int = 200
    items: int = 256
    points: int = 12

    def __post_init__(self) -> None:
        allowed = (AUTO, EXACT, *METHODS)
        if self.method not in allowed:
            raise InputError(f"method {self.method!r}, allowed: {', '.join(allowed)}")
        if "same" in self.space.acts:
            raise InputError("search: acts 'same' names no format; name the formats to choose from")

    @property
    def axis(self) -> str:
        """The cost of the front; beside a sole loss the first that is limited."""
        return next(iter(self.limits), "lut_sites") if self.objective == LOSS else self.objective

    def to_json(self) -> dict[str, Any]:
        """Return what decides the result, the space left out."""
        record = asdict(self)
        del record["space"]
        return record


@dataclass(frozen=True)
class Found:
    """A finished search: folder, rows, recipes by key, how many networks were measured for it."""

    folder: run_folder.RunFolder
    space: Space
    rows: Sequence[Row]
    recipes: Mapping[str, Recipe]
    measured: int
    method: str


def mixed_recipe(base: Recipe, paths: Sequence[str], formats: Sequence[Option]) -> Recipe:
    """Return ``base`` with the commonest formats, and overrides for the layers that differ."""
    weights = Counter(option.weight for option in formats if option.weight)
    acts = Counter(option.act for option in formats)
    record = base.to_dict() | {"act": acts.most_common(1)[0][0]}
    if weights:
        record["weight"] = weights.most_common(1)[0][0]
    record.pop("first_last", None)
    overrides = {path: dict(table) for path, table in record["overrides"].items()}
    for path, option in zip(paths, formats, strict=True):
        own = {"act": option.act} | ({"weight": option.weight} if option.weight else {})
        changed = {part: fmt for part, fmt in own.items() if fmt != record[part]}
        if changed or path in overrides:
            overrides[path] = overrides.get(path, {}) | changed
    return Recipe.from_dict(record | {"overrides": overrides})


def search(question: Question, root: str | Path) -> Found:
    """Run or resume a search in folder ``root``.

    Raises `InputError` for a folder that cannot be used, or a budget that cannot be kept,
    `ToolError` when Optuna is needed and missing.
    """
    run_folder.refuse_foreign(root, question.space)  # before minutes of work, not after
    _refuse_other(Path(root) / SETTINGS, question)
    if question.method in METHODS:
        require_optuna()  # before hours of work, not after
    evaluator = Evaluator(question.space, question.items)
    refuse_impossible(evaluator, question.limits)
    folder = run_folder.prepare(root, question.space)
    atomic.write_text(folder.root / SETTINGS, json.dumps(question.to_json(), indent=1) + "\n")
    method, every = _every(question, evaluator, folder.root / JOURNAL)
    kept = finder.calibrated_front(finder.within(every, question.limits), question.axis)
    if not kept:
        least = min(point.costs[question.axis] for point in every)
        raise InputError(
            f"no network that was tried keeps the budget; the least {question.axis} is {least}; "
            "raise the budget or --trials"
        )
    kept = kept[-1:] if question.objective == LOSS else _thinned(kept, question)
    paths = evaluator.plan[0]
    points = {}
    for known in kept:
        recipe = mixed_recipe(evaluator.base, paths, known.formats)
        points[point_key(question.space, recipe)] = (recipe, known)
    rows = _finish(question, folder, points)
    recipes = {key: recipe for key, (recipe, _) in points.items()}
    return Found(folder, question.space, rows, recipes, len(every), method)


def _refuse_other(path: Path, question: Question) -> None:
    """Raise `InputError` where the folder holds a search with other settings."""
    mine = question.to_json()
    theirs = json.loads(path.read_text()) if path.is_file() else mine
    for name, value in mine.items():
        if theirs.get(name) != value:
            raise InputError(
                f"{path.parent} holds another search ({name}: {theirs.get(name)!r} there, "
                f"{value!r} here); choose another folder with -o"
            )


def _every(question: Question, evaluator: Evaluator, journal: Path) -> tuple[str, list[Known]]:
    """Return the method used and all networks that were measured as a whole."""
    axis, limits = question.axis, question.limits
    adds_up = {axis, *limits} <= set(evaluator.problem.costs)
    method = question.method
    if method == AUTO:
        method = EXACT if adds_up else METHODS[0]
    if method == EXACT and not adds_up:
        first = next(name for name in (axis, *limits) if name not in evaluator.problem.costs)
        raise InputError(
            f"method exact: {first} does not add up over layers here (folding "
            f"{question.space.folding}); allowed: {', '.join(METHODS)}"
        )
    if method != EXACT:
        require_optuna()
    # Where the axis does not add up, bit operations lead to good starts.
    lead = axis if axis in evaluator.problem.costs else "bops"
    starts = finder.exact(evaluator, lead, limits, question.points * 2)
    starts += finder.within(finder.uniform_family(evaluator), limits)
    if method == EXACT:
        return method, starts
    starts = list({start.formats: start for start in starts}.values())
    good = finder.calibrated_front(starts, axis)
    found = finder.searched(
        evaluator, axis, limits, good, trials=question.trials, journal=journal, method=method
    )
    return method, [*starts, *found]


def _thinned(kept: Sequence[Known], question: Question) -> list[Known]:
    costs = [point.costs[question.axis] for point in kept]
    return [kept[i] for i in thin(costs, [point.loss for point in kept], question.points)]


def _finish(
    question: Question,
    folder: run_folder.RunFolder,
    points: Mapping[str, tuple[Recipe, Known]],
) -> Sequence[Row]:
    """Score and price every point once, and write it down as a sweep does."""
    space = question.space
    prices = PriceList(space)
    with Store(folder.store) as store, track("networks", len(points)) as advance:
        store.enroll((key, _point(recipe)) for key, (recipe, _) in points.items())
        done = {row.key for row in store.rows() if row.status is Status.DONE}
        for key, (recipe, known) in points.items():
            if key not in done:
                record = _measured(space, recipe)
                for kernel, identity in prices.missing(record["layers"]).items():
                    note(f"synthesizing {identity[0]} x {identity[1]}, {identity[2]} lanes")
                    prices.add(kernel, price_kernel(identity))
                totals, layers = prices.network(record["layers"])
                told = {"calib_loss": known.loss, "calib_loss_items": question.items}
                store.save(key, Status.DONE, record["metrics"] | totals | told, layers)
            advance()
        rows = list(store.rows())
    to_csv(rows, folder.csv)
    return rows


def _measured(space: Space, recipe: Recipe) -> dict[str, Any]:
    """Return what a sweep measures of a point, from its cache where it is known."""
    key = measurement_key(space, recipe, space.seed)
    record: dict[str, Any] | None = cache.load_json("point", key)
    if record is None:
        items = (space.test_items, space.calib_items)
        record = measure(space.model, space.data, recipe.to_dict(), space.seed, items)
        cache.store_json("point", key, record)
    return record


def _point(recipe: Recipe) -> dict[str, Any]:
    """Return the columns of a point; what take needs to find its recipe again is among them."""
    return coordinates(recipe) | {"overrides": recipe.to_dict()["overrides"]}
