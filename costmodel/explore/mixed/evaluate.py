# SPDX-License-Identifier: Apache-2.0
"""What is known of choices: losses on calibration inputs and workloads, each computed once ever.

Everything is kept in the cache under the content of the model, the data, the recipe and the code,
so a search that was killed, or another one over the same network, computes only what is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import hwquant
from costmodel.explore.measure import trained
from costmodel.explore.mixed.prices import losses_of, network_metrics, problem_of
from costmodel.explore.mixed.problem import Option, Problem
from costmodel.explore.mixed.refit import refit
from costmodel.explore.pricing import workload_of
from costmodel.explore.space import Space
from hwquant import cache
from hwquant.block import parse
from hwquant.progress import track
from hwquant.ptq.recipe import Recipe
from hwquant.workload import Workload
from hwquant.zoo.origin import content_of

if TYPE_CHECKING:
    from costmodel.explore.mixed.composed import Bench

__all__ = ["Evaluator", "Known"]

CACHE: Final = "mixed"
PARTS: Final = ("nn", "ptq", "zoo")
ARITHMETIC: Final = (
    *("formats", "codec", "codec_np", "codebook", "block", "block_np", "mac", "fixed"),
)


@dataclass(frozen=True)
class Known:
    """A choice's formats by layer, its loss, its workload, and its costs by name."""

    formats: tuple[Option, ...]
    loss: float
    work: Workload
    costs: Mapping[str, int]


@lru_cache(maxsize=1)
def _code_key() -> str:
    """Return the content key of what losses and workloads depend on: arithmetic, quantizer, zoo."""
    package = Path(hwquant.__file__).parent
    files = [file for part in PARTS for file in sorted((package / part).rglob("*.py"))]
    files += [package / f"{name}.py" for name in ARITHMETIC]
    versions = [version(name) for name in ("torch", "brevitas", "numpy")]
    return cache.content_key(versions, *((file.name, cache.file_hash(file)) for file in files))


def _names(formats: Iterable[str]) -> tuple[str, ...]:
    """Return distinct formats by the names they have everywhere."""
    return tuple(dict.fromkeys(str(parse(name)) for name in formats))


class Evaluator:
    """Measures choices of a space's network on ``items`` of its calibration inputs.

    ``space`` gives model, data, formats, folding, lanes, seed and, in its first point, the recipe
    whose steps every choice goes through.
    """

    def __init__(self, space: Space, items: int) -> None:
        self.space = space
        self.items = items
        self.base: Recipe = space.points()[0]
        self.weights = _names(space.weights)
        self.acts = _names(space.acts)

    @cached_property
    def bench(self) -> Bench:
        """The calibrated network: made when something must be computed."""
        from costmodel.explore.mixed.composed import Bench

        given = trained(self.space.model, self.space.data)
        some = given.data.x_calib[: self.items]
        return Bench(given.model, self.base, self.weights, self.acts, [some], some)

    def key(self, *what: Any) -> str:
        """Return the content key of something about this network: model, data, recipe, code."""
        model, data = self.space.model, self.space.data
        origin = (model, data, *content_of(model), *content_of(data), _code_key())
        base = (self.base.to_dict(), self.space.seed, self.items)
        return cache.content_key(origin, base, *what)

    @cached_property
    def plan(self) -> tuple[tuple[str, ...], tuple[tuple[Option, ...], ...], list[list[int]]]:
        """Paths of the layers, their options, and the ties."""
        key = self.key("plan", self.weights, self.acts)
        record = cache.load_json(CACHE, key)
        if record is None:
            bench = self.bench
            record = {
                "paths": list(bench.paths),
                "options": [[[o.weight, o.act] for o in bench.options(s)] for s in bench.sites],
                "ties": [list(tie) for tie in bench.ties],
            }
            cache.store_json(CACHE, key, record)
        options = tuple(tuple(Option(*pair) for pair in own) for own in record["options"])
        return tuple(record["paths"]), options, record["ties"]

    def known(self, formats: Sequence[Option]) -> Known:
        """Return loss and costs of a choice, from the cache where it was measured before."""
        key = self.key("choice", [(o.weight, o.act) for o in formats])
        record = cache.load_json(CACHE, key)
        if record is None:
            import torch

            torch.manual_seed(self.space.seed)
            record = self.bench.measured(formats)
            cache.store_json(CACHE, key, record)
        work = workload_of(record["layers"])
        return Known(tuple(formats), record["loss"], work, self.costs(work))

    def costs(self, work: Workload) -> dict[str, int]:
        """Return a network's costs by formula, under the space's folding and lanes."""
        return network_metrics(work, folding=self.space.folding, lanes=self.space.lanes)

    def sensitivities(self) -> dict[tuple[str, str, str], float]:
        """Return the loss of each layer alone, by path, part and format."""
        key = self.key("sensitivity", self.weights, self.acts)
        rows = cache.load_json(CACHE, key)
        if rows is None:
            found = self.bench.sensitivities(self.space.seed)
            rows = [[*name, loss] for name, loss in found.items()]
            cache.store_json(CACHE, key, rows)
        return {(path, part, fmt): loss for path, part, fmt, loss in rows}

    @cached_property
    def uniform(self) -> dict[Option, Known]:
        """The networks that have one pair of formats everywhere, by that pair."""
        pairs = [Option(w, a) for w, a in product(self.weights, self.acts)]
        found = {}
        with track("uniform formats", len(pairs)) as advance:
            for pair in pairs:
                found[pair] = self.known(self.everywhere(pair))
                advance(detail=str(pair))
        return found

    def everywhere(self, pair: Option, ends: Option | None = None) -> tuple[Option, ...]:
        """Return one pair of formats for every layer, maybe another for the first and the last."""
        _, options, ties = self.plan
        wanted = [pair] * len(options)
        if ends is not None:
            wanted[0] = wanted[-1] = ends
            for tie in ties:  # what reads the first layer's input too reads it in the same format
                for first in {0, len(options) - 1} & set(tie):
                    for i in tie:
                        wanted[i] = Option(wanted[i].weight, wanted[first].act)
        return tuple(
            want if own[0].weight else Option("", want.act)
            for want, own in zip(wanted, options, strict=True)
        )

    @cached_property
    def problem(self) -> Problem:
        """The separable problem: sensitivities, and prices of every layer under every option."""
        paths, options, ties = self.plan
        works = {pair: known.work for pair, known in self.uniform.items()}
        return problem_of(
            paths,
            options,
            works,
            self.sensitivities(),
            ties,
            folding=self.space.folding,
            lanes=self.space.lanes,
        )

    def refitted(self, networks: Iterable[Known]) -> Problem:
        """Return the problem with losses that explain those of whole ``networks`` better."""
        found = [(known.formats, known.loss) for known in networks]
        losses = refit(self.sensitivities(), self.plan[0], found)
        units, unit = losses_of(self.plan[0], self.plan[1], losses)
        return replace(self.problem, losses=units, unit=unit)
