# SPDX-License-Identifier: Apache-2.0
"""The front of 10,000 points against Optuna's ``best_trials``, in one run; both find the same.

Run ``python tests/benchmarks/bench_pareto.py`` (needs the ``search`` extra).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna

from costmodel.explore.pareto import front

POINTS = 10_000
LARGE = 100_000


def _seconds(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the least time of ``repeats`` calls, and what the last one returned."""
    times, result = [], None
    for _ in range(repeats):
        started = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - started)
    return min(times), result


def _study(points: np.ndarray) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.add_trials([optuna.trial.create_trial(values=row) for row in points.tolist()])
    return study


def main() -> None:
    """Print one JSON object: seconds of both, their ratio, and the front's size."""
    rng = np.random.default_rng(0)
    points = rng.random((POINTS, 2))
    senses = ["min", "max"]
    ours, mask = _seconds(lambda: front(points, senses), 20)
    study = _study(points)
    theirs, trials = _seconds(lambda: study.best_trials, 1)
    expected = np.zeros(POINTS, dtype=bool)
    expected[[trial.number for trial in trials]] = True
    if not np.array_equal(mask, expected):
        raise SystemExit("the fronts differ")
    large = {
        f"seconds_{LARGE}_{objectives}d": round(
            _seconds(lambda k=objectives: front(rng.random((LARGE, k)), ["min"] * k), 1)[0], 4
        )
        for objectives in (2, 3)
    }
    record = {"points": POINTS, "front": int(mask.sum()), "front_seconds": round(ours, 6)}
    record |= {"best_trials_seconds": round(theirs, 3), "ratio": round(theirs / ours, 1)} | large
    print(json.dumps(record))


if __name__ == "__main__":
    main()
