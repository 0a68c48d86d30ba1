# SPDX-License-Identifier: Apache-2.0
"""Second moments of a layer's inputs as quantized and as the float network has them, together.

GPFQ and Qronos choose weights ``q`` for quantized inputs ``Y`` so that ``q Y`` comes near ``w X``
with the float inputs ``X`` of the same items.  ``|q Y - w X|^2`` needs no more than
``H = Y Y^T`` and ``G = X Y^T``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.kernel import quantize_unit
from hwquant.nn.layers import MatMul
from hwquant.nn.quantizers import weight_quantizer
from hwquant.ptq.hessian import Hessian, from_rows, gram, patches, pieces, to_rows
from hwquant.ptq.insert import Site
from hwquant.ptq.job import Job
from hwquant.ptq.run import Lockstep

__all__ = ["Moments", "relative_error", "round_mismatched", "visit_pairs"]


class Moments:
    """Sums ``Y Y^T`` and ``X Y^T`` over the patches of a layer, float64, one matrix a group."""

    def __init__(self, layer: Any) -> None:
        self._own, self._cross = Hessian(layer), Hessian(layer)

    def add(self, quantized: Tensor, exact: Tensor) -> None:
        """Add a batch of inputs: what the layer reads, and what its float twin reads."""
        own, cross = self._own, self._cross
        step = own.items(quantized)
        for start in range(0, len(quantized), step):
            y = patches(own.layer, quantized[start : start + step].float())
            x = patches(own.layer, exact[start : start + step].float())
            own.total += gram(y)
            cross.total += torch.bmm(x, y.transpose(1, 2))
            own.patches += y.shape[2]
            cross.patches += y.shape[2]

    def matrices(self, path: str) -> tuple[Tensor, Tensor]:
        """Return (H, G), each 2/n times its sum, (groups, columns, columns).

        Zeros when nothing came.  Raises `InputError` naming ``path`` for NaN or infinite inputs.
        """
        return self._own.matrix(path), self._cross.matrix(path)


def relative_error(rows: Tensor, found: Tensor, h: Tensor, g: Tensor) -> Tensor:
    """Return twice the mean of ``|q Y - w X|^2 - |w X|^2`` per row: (groups, outputs), float64."""
    w, q = rows.double(), found.double()
    return ((torch.bmm(q, h) - 2 * torch.bmm(w, g)) * q).sum(2)


def visit_pairs(job: Job, handle: Callable[[Site, Moments], None]) -> None:
    """Call ``handle(site, moments)`` for every layer with weights, in execution order.

    The quantized network runs with whatever ``handle`` has done to earlier layers, the float
    network beside it, one node at a time: one pass over the data.  A layer called several times is
    handled at its last call.
    """
    sites = {s.path: s for s in job.sites if not isinstance(job.layer(s), MatMul)}
    own, twin = _reads(job.model, sites), _reads(job.reference, sites)
    pairs: dict[str, list[tuple[Site, str]]] = {}
    for path, sources in own.items():
        for source, exact in zip(sources, twin[path], strict=True):
            pairs.setdefault(source, []).append((sites[path], exact))
    wanted = Counter(exact for sources in pairs.values() for _, exact in sources)
    left = {path: len(sources) for path, sources in own.items()}
    sums: dict[str, Moments] = {}
    batches = tuple(pieces(job.batches))
    floats = _Ahead(Lockstep(job.reference, {}).walk(batches), wanted)

    def look(name: str, values: list[Tensor]) -> list[Tensor]:
        for site, source in pairs[name]:
            moments = sums.setdefault(site.path, Moments(job.layer(site)))
            for quantized, exact in zip(values, floats.take(source), strict=True):
                moments.add(quantized, exact)
            left[site.path] -= 1
            if not left[site.path]:
                handle(site, sums.pop(site.path))
        return values

    with torch.no_grad():
        Lockstep(job.model, dict.fromkeys(pairs, look)).run(batches)


@dataclass
class _Ahead:
    """Runs the float graph just far enough, and keeps what will still be asked for."""

    steps: Iterator[tuple[str, list[Any]]]
    wanted: Counter[str]

    def __post_init__(self) -> None:
        self.kept: dict[str, list[Tensor]] = {}

    def take(self, name: str) -> list[Tensor]:
        """Return the values of a node; forget them when nobody else will ask."""
        while name not in self.kept:
            node, values = next(self.steps)
            if self.wanted[node]:
                self.kept[node] = values
        self.wanted[name] -= 1
        return self.kept[name] if self.wanted[name] else self.kept.pop(name)


def _reads(graph: fx.GraphModule, sites: dict[str, Site]) -> dict[str, list[str]]:
    """Return, by layer, the node each of its calls reads."""
    found: dict[str, list[str]] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module" and str(node.target) in sites:
            found.setdefault(str(node.target), []).append(node.all_input_nodes[0].name)
    return found


def round_mismatched(
    job: Job,
    name: str,
    method: Callable[[Tensor, Tensor, Tensor, Callable[[Tensor, Any], Tensor]], Tensor],
) -> None:
    """Round every layer with ``method(rows, H, G, nearest)``, on frozen scales.

    ``nearest(values, columns)`` rounds the values of some columns, (groups, outputs, columns) each.
    A row that came out worse than round-to-nearest on the same data keeps round-to-nearest, and so
    do the columns whose input is always zero.
    """
    from hwquant.progress import track

    layers = [site for site in job.sites if not isinstance(job.layer(site), MatMul)]
    with track(name, len(layers)) as advance:

        def handle(site: Site, moments: Moments) -> None:
            layer = job.layer(site)
            quantizer = weight_quantizer(layer)
            weight = layer.weight.detach()
            rows = to_rows(layer, weight)
            scale = to_rows(layer, quantizer.scale_of(weight))
            h, g = moments.matrices(site.path)

            def nearest(values: Tensor, columns: Any) -> Tensor:
                step = scale[:, :, columns]
                unit = values.float() / torch.where(step == 0, 1.0, step)
                return quantize_unit(unit, quantizer.fmt) * step

            start = nearest(rows, slice(None))
            found = method(rows, h, g, nearest)
            dead = h.diagonal(dim1=1, dim2=2) <= 0
            found = torch.where(dead.unsqueeze(1), start, found)
            # Written so that a NaN counts as lost.
            kept = relative_error(rows, found, h, g) <= relative_error(rows, start, h, g)
            found = torch.where(kept.unsqueeze(2), found, start)
            weights = from_rows(layer, found)
            if isinstance(quantizer, BlockQuantizer):
                weights = quantizer.settled(weights, quantizer(weight))
            layer.weight.copy_(weights)
            advance(detail=site.path)

        visit_pairs(job, handle)
