# SPDX-License-Identifier: Apache-2.0
"""Rescale the channels of a region in every graph of a job, so that the float function stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from hwquant.nn.channel_scale import PREFIX, insert_channel_scales
from hwquant.ptq.factors import scale_inputs, scale_outputs
from hwquant.ptq.fold import folded_norms
from hwquant.ptq.insert import ACT_PREFIX, is_act_quantizer
from hwquant.ptq.job import Job
from hwquant.ptq.regions import LAYERS, Region, Tap

__all__ = ["components", "fold_factors", "insert_factors"]

LARGEST: Final = 2.0**16  # a factor beyond it helps no format and costs float32 its subnormals


def fold_factors(job: Job, region: Region, factors: Tensor) -> None:
    """Multiply what the sources of an exact region give by ``factors``, float64 per channel.

    The taps' weights are divided by them.  The float function stays as it was.
    """
    factors = factors.clamp(1 / LARGEST, LARGEST)
    for graph in (job.reference, job.model):
        for path in region.sources:
            scale_outputs(graph.get_submodule(path), factors)
    if job.unfused is not None:
        norms = folded_norms(job.unfused, job.reference)
        for path in region.sources:
            _scale_unfused(job.unfused, norms, path, factors)
    _scale_taps(job, region.taps, 1 / factors)


def components(region: Region) -> Iterator[tuple[Tap, ...]]:
    """Yield the taps of a region that must share factors when each input is multiplied by itself.

    Taps belong together when they read the same tensor.
    """
    left = list(region.taps)
    while left:
        found = [left.pop(0)]
        inputs = set(found[0].inputs)
        while near := [tap for tap in left if inputs & set(tap.inputs)]:
            found += near
            left = [tap for tap in left if tap not in near]
            inputs |= {name for tap in near for name in tap.inputs}
        yield tuple(found)


def insert_factors(job: Job, taps: tuple[Tap, ...], factors: Tensor) -> str:
    """Multiply what ``taps`` read by ``factors`` and divide their weights by them.

    An addition that read the codes of such a tensor reads the tensor itself from now on.  Returns
    an empty string, or the reason why nothing was changed.
    """
    paths = {tap.path for tap in taps}
    layer: Any = job.reference.get_submodule(taps[0].path)
    tail = 0 if isinstance(layer, nn.Linear) else layer.weight.dim() - 2
    shape = [int(factors.numel()) * taps[0].repeat, *[1] * tail]
    sources = dict.fromkeys(name for tap in taps for name in tap.inputs)
    by_name = {node.name: node for node in job.model.graph.nodes}
    modules = dict(job.model.named_modules())
    records = []
    for name in sources:
        quantizers: list[fx.Node] = []
        released: list[list[str]] = []
        readers = [u.name for u in by_name[name].users if str(u.target) in paths]
        for user in by_name[name].users:
            if not is_act_quantizer(user):
                continue
            layers = [u for u in user.users if isinstance(modules.get(str(u.target)), LAYERS)]
            if not any(str(u.target) in paths for u in layers):
                continue
            others = [u for u in user.users if u not in layers]
            if len({str(u.target) for u in layers} - paths) or (
                others and job.recipe.sums == "quantized"
            ):
                return f"{user.target} has other readers, which need its codes as they are"
            quantizers.append(user)
            released += [[user.name, other.name] for other in others]
        readers += [quantizer.name for quantizer in quantizers]
        records.append({"source": name, "readers": readers, "released": released, "shape": shape})
    factors = factors.clamp(1 / LARGEST, LARGEST)
    product = factors.repeat_interleave(taps[0].repeat).float().reshape(shape)
    insert_channel_scales(job.model, records)
    for graph in (job.reference, job.unfused):
        if graph is not None:
            insert_channel_scales(graph, _plain_records(graph, paths, shape))
    for graph in (job.reference, job.model, job.unfused):
        for module in _new_scales(graph, paths):
            module.factor = product.clone()
    job.model.meta["hwquant"].setdefault("channel_scales", []).extend(records)
    _scale_taps(job, taps, 1 / factors)
    return ""


def _plain_records(
    graph: fx.GraphModule, paths: set[str], shape: list[int]
) -> list[dict[str, Any]]:
    """Return the records for a graph without quantizers."""
    readers: dict[str, list[str]] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module" and str(node.target) in paths:
            readers.setdefault(node.all_input_nodes[0].name, []).append(node.name)
    return [
        {"source": name, "readers": nodes, "released": [], "shape": shape}
        for name, nodes in readers.items()
    ]


def _new_scales(graph: fx.GraphModule | None, paths: set[str]) -> Iterator[Any]:
    """Yield the multiplications in front of the layers at ``paths``."""
    if graph is None:
        return
    for node in graph.graph.nodes:
        if node.op != "call_module" or str(node.target) not in paths:
            continue
        source = node.all_input_nodes[0]
        if str(source.target).startswith(f"{ACT_PREFIX}."):
            source = source.all_input_nodes[0]
        if str(source.target).startswith(f"{PREFIX}."):
            yield graph.get_submodule(str(source.target))


def _scale_taps(job: Job, taps: tuple[Tap, ...], factors: Tensor) -> None:
    for graph in (job.reference, job.model, job.unfused):
        if graph is not None:
            for tap in taps:
                scale_inputs(graph.get_submodule(tap.path), factors, tap.repeat)


def _scale_unfused(unfused: fx.GraphModule, norms: dict[str, str], path: str, f: Tensor) -> None:
    """Scale what a layer gives where its batch norm is not folded: there the norm's gain."""
    source: Any = unfused.get_submodule(norms.get(path, path))
    if source.weight is None:
        source.weight = nn.Parameter(torch.ones(source.num_features), requires_grad=False)
    scale_outputs(source, f)
