# SPDX-License-Identifier: Apache-2.0
"""The price of points: each distinct kernel is synthesized once, networks are sums of kernels.

By formula nothing is synthesized: prices take no time and come with an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import hw
from costmodel import kernel as kernel_module
from costmodel.explore.space import Space
from costmodel.kernel import KernelCost
from costmodel.network import kernel_groups, network_cost
from costmodel.parts import find_part, utilisation
from costmodel.prices import kernel_price
from costmodel.ranges import spread
from costmodel.usage import Usage
from hwquant import cache
from hwquant.mac import MacSpec
from hwquant.workload import Layer, Workload

__all__ = ["LEVEL", "PriceList", "formula_price", "interval_of", "kernel_key", "price_kernel"]
__all__ += ["priced", "workload_of"]

CACHE = "kernel"
LEVEL = 0.9  # of the intervals of formulas


@lru_cache(maxsize=1)
def _hardware_key() -> str:
    """Return the content key of everything between a spec and its price: RTL, generator, flow."""
    from hw.yosys import flow

    package = Path(hw.__file__).parent
    files = sorted((*package.rglob("*.py"), *package.rglob("*.sv")))
    files.append(Path(kernel_module.__file__))
    return cache.content_key(flow(), *((f.name, cache.file_hash(f)) for f in files))


def _identity(spec: MacSpec, style: str) -> tuple[Any, ...]:
    """Return what a kernel's hardware depends on; the length only acts through the width.

    Styles other than plain are named, with the length: some give one result per dot product.
    """
    width = spec.accumulator.width
    plain = (str(spec.weight), str(spec.act), spec.lanes, width, spec.overflow.value)
    return plain if style == "plain" else (*plain, style, spec.length)


def kernel_key(spec: MacSpec, style: str = "plain") -> str:
    """Return the content key of a kernel's price; raises `ToolError` when Yosys is missing."""
    return cache.content_key(CACHE, _identity(spec, style), _hardware_key())


def price_kernel(identity: tuple[Any, ...]) -> dict[str, Any]:
    """Synthesize one kernel (seconds); runs inside workers, imports no torch."""
    weight, act, lanes, width, overflow, *rest = identity
    style, length = rest or ("plain", lanes)
    return kernel_price(
        MacSpec(weight, act, lanes, length, width, overflow), style, synth=True
    ).to_json()


@lru_cache(maxsize=1 << 16)
def formula_price(spec: MacSpec, style: str) -> KernelCost:
    """Return the price of a kernel without synthesis: committed measurements, else formulas."""
    return kernel_price(spec, style)


def interval_of(
    layers: Iterable[Mapping[str, Any]], folding: Mapping[str, Any], style: str
) -> tuple[float, float]:
    """Return the interval of a network's LUT sites by formula, at `LEVEL`, memories left out."""
    cost = network_cost(workload_of(layers), **folding, price=lambda s: formula_price(s, style))
    kernels = [(use.spec, use.cost, use.copies) for use in cost.kernels]
    found = spread(kernels, LEVEL)
    return found.low, found.high


def workload_of(layers: Iterable[Mapping[str, Any]]) -> Workload:
    """Rebuild a workload from the layer records of a store."""
    names = Layer.__dataclass_fields__
    records = ({name: layer[name] for name in names} for layer in layers)
    return Workload(tuple(map(Layer.from_json, records)))


class PriceList:
    """Prices of kernels, filled from the cache and from jobs; prices networks when complete."""

    def __init__(self, space: Space) -> None:
        self._folding: dict[str, Any] = {"folding": space.folding, "lanes": space.lanes}
        self._formula = space.price == "formula"
        self._parts = [(name, find_part(name)) for name in space.parts]
        self._known: dict[str, KernelCost] = {}

    def missing(
        self, layers: Iterable[Mapping[str, Any]], style: str = "plain"
    ) -> dict[str, tuple[Any, ...]]:
        """Return key and identity of the kernels of a network that have no price yet.

        Raises `CacheError` for a damaged cache entry.
        """
        if self._formula:
            return {}
        specs = (spec for spec, _ in kernel_groups(workload_of(layers), **self._folding))
        wanted = {kernel_key(spec, style): _identity(spec, style) for spec in specs}
        for key in wanted.keys() - self._known.keys():
            stored = cache.load_json(CACHE, key)
            if stored is not None:
                self._known[key] = KernelCost.from_json(stored)
        return {key: wanted[key] for key in wanted if key not in self._known}

    def add(self, key: str, record: Mapping[str, Any]) -> None:
        """Take up what `price_kernel` returned and keep it for later runs."""
        self._known[key] = KernelCost.from_json(dict(record))
        cache.store_json(CACHE, key, dict(record))

    def network(
        self, layers: Iterable[Mapping[str, Any]], style: str = "plain"
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the totals of a network and its layer table, each layer with its kernel's price.

        By formula with the interval of the LUT sites.  Of every part of the space, the share of its
        scarcest resource.  Raises `KeyError` while a kernel is `missing`.
        """
        layers = list(layers)
        if self._formula:
            totals, detail = priced(layers, self._folding, lambda s: formula_price(s, style))
            low, high = interval_of(layers, self._folding, style)
            totals |= {"lut_sites_low": low, "lut_sites_high": high, "interval_level": LEVEL}
        else:
            totals, detail = priced(
                layers, self._folding, lambda spec: self._known[kernel_key(spec, style)]
            )
        return totals | self._rooms(totals), detail

    def _rooms(self, totals: Mapping[str, Any]) -> dict[str, Any]:
        """Return the percentage of each part's scarcest resource, and in which parts all fits."""
        names = ("lut_sites", "lut_raw", "lutram", "ff", "dsp", "bram18", "uram")
        used = Usage(**{name: int(totals[f"{name}_without_conversion"]) for name in names})
        found: dict[str, Any] = {}
        for name, part in self._parts:
            shares = [share for share in utilisation(used, part).values() if share is not None]
            found[f"percent_{name}"] = max(shares)
        if self._parts:
            fitting = [name for name, _ in self._parts if found[f"percent_{name}"] <= 100]
            found["fits"] = ", ".join(fitting) or "none"
        return found


def priced(
    layers: Iterable[Mapping[str, Any]],
    folding: Mapping[str, Any],
    price: Callable[[MacSpec], KernelCost],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a network's totals and its layer table; ``price`` says what a kernel costs.

    ``folding`` holds ``folding`` and ``lanes`` (`costmodel.network`).
    """
    work = workload_of(layers)
    cost = network_cost(work, **folding, price=price)
    totals = cost.to_json()
    tables = ("kernels", "layers", "weight_bits", "macs")
    metrics = {name: value for name, value in totals.items() if name not in tables}
    for whole in ("without_conversion", "with_conversion"):
        metrics |= {f"{name}_{whole}": count for name, count in metrics.pop(whole).items()}
    detail = [
        layer.to_json()
        | {"kernel": use.kernel, "lanes": cost.kernels[use.kernel].spec.lanes}
        | {"cycles": use.cycles}
        | cost.kernels[use.kernel].cost.resources.to_json()
        for layer, use in zip(work.layers, cost.layers, strict=True)
    ]
    return metrics, detail
