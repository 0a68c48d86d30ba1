# SPDX-License-Identifier: Apache-2.0
"""Does mixed precision pay?  Its front against the uniform one, searched blind, scored once.

Run ``python -m costmodel.explore.mixed.study zoo:glyphs_resnet8 -o FILE.json``; a broken run goes
on.  Both fronts are chosen by costs and by losses on calibration inputs, no label read; then every
point of both is scored once on the same test items.  Of mixed networks as many are scored as there
are uniform ones on their front (`costmodel.explore.mixed.thin`), so neither gains by numbers.

The rectangle of the hypervolume is fixed before anything is scored: from the cost of the dearest
uniform network to none, and from `DROP` below the float network's accuracy up to it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from costmodel.explore.measure import trained
from costmodel.explore.mixed import finder
from costmodel.explore.mixed.evaluate import Evaluator, Known
from costmodel.explore.mixed.gain import Points, Reference, by_budget, dominated, gain
from costmodel.explore.mixed.thin import thin
from costmodel.explore.space import Space
from hwquant import atomic, cache
from hwquant.progress import note, track

__all__ = ["DROP", "Setting", "run"]

DROP: Final = 0.1
BATCH: Final = 64


@dataclass(frozen=True)
class Setting:
    """What is compared; the defaults are those of the published figures."""

    model: str
    weights: tuple[str, ...] = ("int3", "int4", "e2m1", "e3m2", "int6", "int8")
    acts: tuple[str, ...] = ("int4", "e2m1", "e3m2", "int6", "int8")
    steps: tuple[str, ...] = ("calibrate", "bias_correction")
    recipe: dict[str, Any] = field(default_factory=lambda: {"act_unsigned": True})
    folding: str = "per-layer"
    lanes: int = 8
    axis: str = "lut_sites_with_conversion"
    calib_items: int = 256
    test_from: int = 4000
    test_items: int = 8000
    exact_points: int = 24
    trials: int = 80
    method: str = "nsga2"
    draws: int = 2000
    seed: int = 0

    @property
    def test(self) -> slice:
        """The test items: those before ``test_from`` were looked at while this was written."""
        return slice(self.test_from, self.test_from + self.test_items)

    @property
    def space(self) -> Space:
        """The space that the formats and the recipe come from."""
        return Space(
            model=self.model,
            weights=self.weights,
            acts=self.acts,
            steps=(self.steps,),
            lanes=self.lanes,
            folding=self.folding,
            seed=self.seed,
            recipe=self.recipe,
        )


def as_many(uniform: Sequence[Known], mixed: Sequence[Known], axis: str) -> list[Known]:
    """Return as many mixed points as there are uniform ones, none dearer than the dearest."""
    most = max(point.costs[axis] for point in uniform)
    able = [point for point in mixed if point.costs[axis] <= most]
    places = thin([p.costs[axis] for p in able], [p.loss for p in able], len(uniform))
    return [able[place] for place in places]


def run(setting: Setting, journal: Path) -> dict[str, Any]:
    """Return the study's record: both fronts, their scores, and the gains with intervals."""
    axis = setting.axis
    evaluator = Evaluator(setting.space, setting.calib_items)
    family = finder.uniform_family(evaluator)
    uniform = finder.calibrated_front(family, axis)
    starts = finder.exact(evaluator, axis, {}, setting.exact_points)
    every = finder.searched(
        evaluator,
        axis,
        {},
        [*uniform, *starts],
        trials=setting.trials,
        journal=journal,
        method=setting.method,
    )
    fronts = {
        "uniform": uniform,
        "exact": as_many(uniform, finder.calibrated_front([*starts, *uniform], axis), axis),
        "mixed": as_many(uniform, finder.calibrated_front(every, axis), axis),
    }
    answers = _score(setting, evaluator, [p for front in fronts.values() for p in front])
    floats = _float_answers(setting)
    reference = Reference(
        float(max(point.costs[axis] for point in family)), floats.mean() - DROP, floats.mean()
    )
    points = {
        name: Points(
            np.array([point.costs[axis] for point in front], dtype=np.float64),
            np.stack([answers[point.formats] for point in front]),
        )
        for name, front in fronts.items()
    }
    measures = {"hypervolume": dominated, "by_budget": by_budget}
    gains = {
        f"{name}_{kind}": asdict(found) | {"gain": found.value, "excludes_0": found.sure}
        for kind in ("exact", "mixed")
        for name, measure in measures.items()
        for found in [
            gain(points["uniform"], points[kind], reference, measure, draws=setting.draws)
        ]
    }
    return {
        "setting": asdict(setting),
        "networks": {"uniform": len(family), "measured": len(every)},
        "float_top1": float(floats.mean()),
        "reference": asdict(reference),
        "gains": gains,
        "fronts": {
            name: [_row(point, answers[point.formats]) for point in front]
            for name, front in fronts.items()
        },
    }


def _row(point: Known, right: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "formats": [str(option) for option in point.formats],
        "loss": point.loss,
        "top1": float(right.mean()),
        **point.costs,
    }


def _right(model: Any, x: Any, y: Any) -> NDArray[np.bool_]:
    import torch

    with torch.no_grad():
        parts = zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True)
        found: NDArray[np.bool_] = torch.cat([model(a).argmax(1) == b for a, b in parts]).numpy()
    return found


def _float_answers(setting: Setting) -> NDArray[np.bool_]:
    given = trained(setting.model, "")
    return _right(given.model, given.data.x_test[setting.test], given.data.y_test[setting.test])


def _score(
    setting: Setting, evaluator: Evaluator, points: Sequence[Known]
) -> dict[tuple[Any, ...], NDArray[np.bool_]]:
    """Return which test items each network has right, by its formats; kept in the cache."""
    found: dict[tuple[Any, ...], NDArray[np.bool_]] = {}
    items = setting.test_items
    distinct = {point.formats: point for point in points}
    with track("test items", len(distinct)) as advance:
        for formats in distinct:
            key = evaluator.key("answers", [str(o) for o in formats], setting.test_from, items)
            packed = cache.load_json("mixed", key)
            if packed is None:
                from hwquant.nn.frozen import frozen

                data = trained(setting.model, "").data
                model = frozen(evaluator.bench.job(formats).model)
                right = _right(model, data.x_test[setting.test], data.y_test[setting.test])
                packed = np.packbits(right).tobytes().hex()
                cache.store_json("mixed", key, packed)
            bits = np.unpackbits(np.frombuffer(bytes.fromhex(packed), np.uint8))
            found[formats] = bits[:items].astype(bool)
            advance()
    return found


@click.command()
@click.argument("model")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--trials", type=int, default=Setting.trials, show_default=True)
@click.option("--test-from", type=int, default=Setting.test_from, show_default=True)
@click.option("--test-items", type=int, default=Setting.test_items, show_default=True)
@click.option("--calib-items", type=int, default=Setting.calib_items, show_default=True)
def main(
    model: str, output: Path, trials: int, test_from: int, test_items: int, calib_items: int
) -> None:
    """Run the study of MODEL and write its record; the journal of the search lies beside it."""
    setting = Setting(
        model,
        trials=trials,
        test_from=test_from,
        test_items=test_items,
        calib_items=calib_items,
    )
    record = run(setting, output.with_suffix(".journal"))
    atomic.write_text(output, json.dumps(record, indent=1) + "\n")
    for name, found in record["gains"].items():
        note(f"{name}: {found['gain']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})")


if __name__ == "__main__":
    main()
