# SPDX-License-Identifier: Apache-2.0
"""The price of points: each distinct kernel is synthesized once, networks are sums of kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import hw
from costmodel import kernel as kernel_module
from costmodel.explore.space import Space
from costmodel.kernel import KernelCost, estimate
from costmodel.network import kernel_groups, network_cost
from hwquant import cache
from hwquant.mac import MacSpec
from hwquant.workload import Layer, Workload

__all__ = ["PriceList", "kernel_key", "price_kernel", "priced", "workload_of"]

CACHE = "kernel"


@lru_cache(maxsize=1)
def _hardware_key() -> str:
    """Return the content key of everything between a spec and its price: RTL, generator, flow."""
    from hw.yosys import flow

    package = Path(hw.__file__).parent
    files = sorted((*package.rglob("*.py"), *package.rglob("*.sv")))
    files.append(Path(kernel_module.__file__))
    return cache.content_key(flow(), *((f.name, cache.file_hash(f)) for f in files))


def _identity(spec: MacSpec) -> tuple[Any, ...]:
    """Return what a kernel's hardware depends on; the length only acts through the width."""
    width = spec.accumulator.width
    return (str(spec.weight), str(spec.act), spec.lanes, width, spec.overflow.value)


def kernel_key(spec: MacSpec) -> str:
    """Return the content key of a kernel's price; raises `ToolError` when Yosys is missing."""
    return cache.content_key(CACHE, _identity(spec), _hardware_key())


def price_kernel(identity: tuple[Any, ...]) -> dict[str, Any]:
    """Synthesize one kernel (seconds); runs inside workers, imports no torch."""
    weight, act, lanes, width, overflow = identity
    spec = MacSpec(weight, act, lanes, lanes, width, overflow)
    return estimate(spec, synth=True).to_json()


def workload_of(layers: Iterable[Mapping[str, Any]]) -> Workload:
    """Rebuild a workload from the layer records of a store."""
    names = Layer.__dataclass_fields__
    records = ({name: layer[name] for name in names} for layer in layers)
    return Workload(tuple(map(Layer.from_json, records)))


class PriceList:
    """Prices of kernels, filled from the cache and from jobs; prices networks when complete."""

    def __init__(self, space: Space) -> None:
        self._folding: dict[str, Any] = {"folding": space.folding, "lanes": space.lanes}
        self._known: dict[str, KernelCost] = {}

    def missing(self, layers: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
        """Return key and identity of the kernels of a network that have no price yet.

        Raises `CacheError` for a damaged cache entry.
        """
        specs = (spec for spec, _ in kernel_groups(workload_of(layers), **self._folding))
        wanted = {kernel_key(spec): _identity(spec) for spec in specs}
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
        self, layers: Iterable[Mapping[str, Any]]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the totals of a network and its layer table, each layer with its kernel's price.

        Raises `KeyError` while a kernel is `missing`.
        """
        return priced(layers, self._folding, lambda spec: self._known[kernel_key(spec)])


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
