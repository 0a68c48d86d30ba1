# SPDX-License-Identifier: Apache-2.0
"""Blocks: what is learned at once, a layer, a residual or attention block, or the network.

Every choice partitions the quantized graph into runs of consecutive nodes, so that one pass over
the data serves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from torch import fx

from hwquant.errors import SpecError
from hwquant.nn.layers import MatMul
from hwquant.ptq.insert import Site, is_act_quantizer
from hwquant.ptq.job import Job
from hwquant.ptq.learn.piece import itemwise

__all__ = ["BLOCKS", "Block", "blocks"]

BLOCKS: Final = ("layer", "block", "network")
MAX_SITES: Final = 8  # a run without a cut, such as a U-Net, is split by module path from here on


@dataclass(frozen=True)
class Block:
    """Consecutive ``nodes`` of the quantized graph, and the ``sites`` with weights among them.

    ``compared`` names the nodes whose values are held against those of the float graph.
    """

    name: str
    nodes: tuple[str, ...]
    compared: tuple[str, ...]
    sites: tuple[Site, ...]


def blocks(job: Job, how: str) -> tuple[Block, ...]:
    """Return the blocks of ``job.model`` in execution order; nodes after the last are left out.

    ``layer``: each layer with weights, compared before its activation function (AdaRound).
    ``block``: the smallest runs that one tensor enters and one leaves, joined where module paths
    say that they belong together (BRECQ's residual block).  ``network``: everything at once,
    compared at every layer (EPTQ).

    Raises `SpecError` for another word.
    """
    if how not in BLOCKS:
        raise SpecError(f"blocks {how!r}, allowed: {', '.join(BLOCKS)}")
    nodes = [n for n in job.model.graph.nodes if n.op not in ("placeholder", "output")]
    sites = {s.node: s for s in job.sites if not isinstance(job.layer(s), MatMul)}
    stored = itemwise(job.model, job.batches[0][:1])
    ends = _ends(nodes, sites, stored)
    if how == "network":
        return (_block(nodes, sites, tuple(nodes[end].name for end in ends)),)
    if how == "layer":
        return tuple(_block(run, sites, (run[-1].name,)) for run in _runs(nodes, ends))
    return tuple(_block(run, sites, _results(run, stored)) for run in _joined(nodes, sites, stored))


def _ends(nodes: Sequence[fx.Node], sites: dict[str, Site], stored: frozenset[str]) -> list[int]:
    """Return the position of each layer, or of the first node behind it that can be compared.

    A layer whose result has the batch on another axis is compared where it is turned back, or
    together with the next layer.
    """
    found: list[int] = []
    for index, node in enumerate(nodes):
        waiting = not found or any(n.name in sites for n in nodes[found[-1] + 1 : index + 1])
        started = any(n.name in sites for n in nodes[: index + 1])
        if started and waiting and node.name in stored and not is_act_quantizer(node):
            found.append(index)
    return found


def _block(run: Sequence[fx.Node], sites: dict[str, Site], compared: tuple[str, ...]) -> Block:
    own = tuple(sites[node.name] for node in run if node.name in sites)
    return Block(own[0].path, tuple(node.name for node in run), compared, own)


def _runs(nodes: Sequence[fx.Node], ends: Sequence[int]) -> list[list[fx.Node]]:
    """Return the runs that end at the positions ``ends``, inclusive."""
    starts = [0, *(end + 1 for end in ends)]
    return [list(nodes[start : end + 1]) for start, end in zip(starts, ends, strict=False)]


def _joined(
    nodes: Sequence[fx.Node], sites: dict[str, Site], stored: frozenset[str]
) -> list[list[fx.Node]]:
    """Return runs between cuts, those of one block joined and those of many blocks split."""
    runs: list[list[fx.Node]] = []
    for run in _runs(nodes, _cuts(nodes, stored)):
        runs += _split(run, sites) if _count(run, sites) > MAX_SITES else [run]
    joined: list[list[fx.Node]] = []
    for run in runs:
        if joined and (not _count(run, sites) or not _count(joined[-1], sites)):
            joined[-1] += run  # an activation function or a pool ends the block before it
        elif joined and _keys(run, sites) & _keys(joined[-1], sites):
            joined[-1] += run
        else:
            joined.append(run)
    return joined


def _cuts(nodes: Sequence[fx.Node], stored: frozenset[str]) -> list[int]:
    """Return the positions after which only the value of that very node is still read."""
    position = {node: index for index, node in enumerate(nodes)}
    last_use = [max((position.get(u, len(nodes)) for u in n.users), default=0) for n in nodes]
    entries = [n for n in nodes[0].graph.nodes if n.op == "placeholder"]
    reach = max(position.get(user, -1) for entry in entries for user in entry.users)
    found = []
    for index, node in enumerate(nodes):
        if reach <= index and node.name in stored and not is_act_quantizer(node):
            found.append(index)
        if node.op != "get_attr":  # a position table may cross a cut: it is read, not computed
            reach = max(reach, last_use[index])
    if not found or found[-1] != len(nodes) - 1:
        found.append(len(nodes) - 1)
    return found


def _split(run: list[fx.Node], sites: dict[str, Site]) -> list[list[fx.Node]]:
    """Split a run where the block that module paths name changes."""
    parts: list[list[fx.Node]] = [[]]
    key = ""
    for node in run:
        if node.name in sites:
            new = block_key(sites[node.name].path)
            if key and new != key:
                parts.append([])
            key = new
        parts[-1].append(node)
    # What feeds the first layer of a part, its quantizer and activation function, was put before
    # the boundary; the quantizer belongs behind it.
    for before, after in pairwise(parts):
        while len(before) > 1 and is_act_quantizer(before[-1]):
            after.insert(0, before.pop())
    return parts


def block_key(path: str) -> str:
    """Return the part of a module path that names its block.

    Up to the first whole number (``layer1.0.conv1`` -> ``layer1.0``), else the first name that
    ends in a digit and has parts of its own, else the path itself.
    """
    parts = path.split(".")
    for index, part in enumerate(parts[:-1]):
        if part.isdigit():
            return ".".join(parts[: index + 1])
    for index, part in enumerate(parts[:-1]):
        if part[-1:].isdigit():
            return ".".join(parts[: index + 1])
    return path


def _keys(run: Sequence[fx.Node], sites: dict[str, Site]) -> set[str]:
    return {block_key(sites[node.name].path) for node in run if node.name in sites}


def _count(run: Sequence[fx.Node], sites: dict[str, Site]) -> int:
    return sum(node.name in sites for node in run)


def _results(run: Sequence[fx.Node], stored: frozenset[str]) -> tuple[str, ...]:
    """Return the nodes whose values leave ``run``; quantizers are read by the next block."""
    inside = set(run)
    leaving = [n for n in run if n.name in stored]
    leaving = [n for n in leaving if any(user not in inside for user in n.users)]
    exact = tuple(n.name for n in leaving if not is_act_quantizer(n))
    return exact or tuple(n.all_input_nodes[0].name for n in leaving)
