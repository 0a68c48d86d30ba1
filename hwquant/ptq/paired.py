# SPDX-License-Identifier: Apache-2.0
"""Run a named experiment: both recipes on the same networks and draws, compared item by item.

A cell is one recipe on one network (a training seed) and one draw of calibration items.  Finished
cells are kept in the cache, keyed by all that they depend on, so that a broken run resumes and
experiments share the recipes that they have in common.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache as once
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import hwquant.nn
from hwquant import cache
from hwquant.errors import InputError
from hwquant.progress import track
from hwquant.ptq.experiments import Experiment
from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.significance import bootstrap, mcnemar
from hwquant.zoo.data import Data
from hwquant.zoo.data.store import checksum
from hwquant.zoo.tasks.outputs import kl_divergence
from hwquant.zoo.tasks.score import outputs_of
from hwquant.zoo.training import TrainedModel, load

__all__ = ["MARGIN", "Arm", "Cell", "Outcome", "draw", "measure", "run"]

MARGIN: Final = 0.3  # points: less is no difference worth a method
BATCH: Final = 32  # of calibration
# Modules that judge or show what others quantize: a change there costs no new run.
BESIDE: Final = ("experiments", "paired", "significance", "plots", "facts", "commands", "sensit")


@dataclass(frozen=True)
class Cell:
    """What one recipe makes of one network: ``right`` per test item, KL to the float network.

    ``cpu_s`` are the CPU seconds of the quantization.
    """

    right: NDArray[np.bool_]
    kl: float
    cpu_s: float


@dataclass(frozen=True)
class Arm:
    """One recipe over all cells: mean accuracy (percent), KL to float, CPU seconds a cell."""

    recipe: str
    top1: float
    kl: float
    cpu_s: float


@dataclass(frozen=True)
class Outcome:
    """What an experiment found; differences are first minus second, in points of accuracy.

    ``low`` and ``high`` bound 95 % (see `hwquant.ptq.significance.bootstrap`); ``only_first`` and
    ``only_second`` count decisions that one recipe alone got right, over all cells, and ``p`` is
    McNemar's.  ``holds``: the interval excludes 0 and the mean is `MARGIN` or more.
    """

    name: str
    claim: str
    source: str
    model: str
    seeds: int
    draws: int
    calib: int
    items: int
    first: Arm
    second: Arm
    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p: float
    holds: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def draw(data: Data, calib: int, seed: int) -> tuple[Tensor, ...]:
    """Return ``calib`` calibration items drawn without replacement, in batches.

    Raises `InputError` for more items than ``data`` has.
    """
    if not 1 <= calib <= len(data.x_calib):
        raise InputError(
            f"{calib} calibration items of {data.name}, allowed 1 to {len(data.x_calib)}"
        )
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data.x_calib), generator=generator)[:calib]
    return torch.split(data.x_calib[chosen], BATCH)


def measure(
    model: nn.Module,
    recipe: Recipe,
    data: Data,
    calib: int,
    seed: int,
    wanted: Callable[[], Tensor] | None = None,
) -> Cell:
    """Quantize ``model`` on draw ``seed`` and measure it on the test part; cached.

    ``wanted`` returns the float model's outputs there, for a caller that measures many recipes.
    """
    state = checksum({name: value.numpy() for name, value in model.state_dict().items()})
    test = checksum({"x": data.x_test.numpy(), "y": data.y_test.numpy()})
    drawn = draw(data, calib, seed)
    inputs = checksum({"x": torch.cat(drawn).numpy()})
    key = cache.content_key(state, recipe.to_json(), inputs, test, _sources())
    kept: dict[str, Any] | None = cache.load_json("experiment", key)
    if kept is None:
        start = time.process_time()
        quantized = quantize(model, recipe, drawn)
        spent = time.process_time() - start
        outputs = outputs_of(quantized, data.x_test)
        right = (outputs.argmax(1) == data.y_test).numpy()
        kept = {
            "right": np.packbits(right).tobytes().hex(),
            "kl": kl_divergence(outputs, wanted() if wanted else outputs_of(model, data.x_test)),
            "cpu_s": spent,
        }
        cache.store_json("experiment", key, kept)
    packed = np.frombuffer(bytes.fromhex(kept["right"]), dtype=np.uint8)
    right = np.unpackbits(packed, count=len(data.x_test)).astype(np.bool_)
    return Cell(right, kept["kl"], kept["cpu_s"])


@once
def _sources() -> str:
    """Return a key of the code that quantizes, comments and all."""
    folders = (Path(__file__).parent, Path(hwquant.nn.__file__).parent)
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    files = [file for file in files if not file.name.startswith(BESIDE)]
    return cache.content_key(*(file.read_bytes() for file in files))


def run(
    experiment: Experiment,
    *,
    seeds: int = 3,
    draws: int = 2,
    calib: int = 512,
    items: int | None = None,
    networks: Sequence[TrainedModel] | None = None,
) -> Outcome:
    """Run ``experiment`` on ``seeds`` networks with ``draws`` calibration draws each.

    ``items`` cuts the test part; ``networks`` replaces the zoo's.  torch runs on one thread
    meanwhile, so that the result does not depend on their number.

    Raises `InputError` for counts that the data do not allow, or a task without classes.
    """
    if seeds < 1 or draws < 1 or (items is not None and items < 1):
        raise InputError(f"experiment: seeds={seeds}, draws={draws}, items={items}, allowed >= 1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cells: list[tuple[Cell, Cell]] = []
    tested = 0
    try:
        with track(f"experiment {experiment.name}", 2 * seeds * draws) as advance:
            for seed in range(seeds):
                trained = networks[seed] if networks else load(f"{experiment.model}:{seed}")
                if trained.data.task != "classify":
                    raise InputError(
                        f"experiment {experiment.name}: {experiment.model} does not classify, "
                        "allowed networks measured by top1"
                    )
                data = _cut(trained.data, items)
                tested = len(data.x_test)
                wanted = once(partial(outputs_of, trained.model, data.x_test))
                for number in range(draws):
                    pair = []
                    for recipe in (experiment.first, experiment.second):
                        pair.append(measure(trained.model, recipe, data, calib, number, wanted))
                        advance(detail=f"seed {seed}, draw {number}")
                    cells.append((pair[0], pair[1]))
    finally:
        torch.set_num_threads(threads)
    return _outcome(experiment, cells, seeds, draws, calib, tested)


def _cut(data: Data, items: int | None) -> Data:
    """Return ``data`` with the first ``items`` test items; glyphs come in random order."""
    return replace(data, x_test=data.x_test[:items], y_test=data.y_test[:items])


def _outcome(
    experiment: Experiment,
    cells: list[tuple[Cell, Cell]],
    seeds: int,
    draws: int,
    calib: int,
    items: int,
) -> Outcome:
    first = np.array([a.right for a, _ in cells])
    second = np.array([b.right for _, b in cells])
    gain = first.astype(np.int8) - second.astype(np.int8)
    difference = 100 * float(gain.mean())
    low, high = (100 * bound for bound in bootstrap(gain))
    alone = int((gain > 0).sum()), int((gain < 0).sum())
    arms = [
        Arm(
            recipe.to_json(),
            100 * float(right.mean()),
            float(np.mean([pair[side].kl for pair in cells])),
            float(np.mean([pair[side].cpu_s for pair in cells])),
        )
        for side, (recipe, right) in enumerate(
            ((experiment.first, first), (experiment.second, second))
        )
    ]
    return Outcome(
        experiment.name,
        experiment.claim,
        experiment.source,
        experiment.model,
        seeds,
        draws,
        calib,
        items,
        arms[0],
        arms[1],
        difference,
        low,
        high,
        *alone,
        mcnemar(*alone),
        holds=low > 0 and difference >= MARGIN,
    )
