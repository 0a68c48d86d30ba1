# SPDX-License-Identifier: Apache-2.0
"""Cover an and-inverter graph with LUT6s and count them: a small technology mapper.

Priority cuts by depth and area flow, then area recovery under the depth found (A. Mishchenko et
al., "Combinational and sequential mapping with priority cuts", ICCAD 2007).  It stands in for the
synthesizer where a formula needs the LUTs of a pair of formats; formulas scale its counts to what
Yosys makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .aig import Graph

__all__ = ["AREA", "CELL_AREA", "Cover", "cover"]

LUT_INPUTS: Final = 6
CUTS: Final = 8
PASSES: Final = 3
RECOVERIES: Final = 2
AREA: Final = (0, 0.9, 0.9, 0.92, 0.95, 1.0, 1.05)
"""Cost of a LUT by its inputs: small ones share sites."""
CELL_AREA: Final = (0, 1.0, 2.0, 3.0, 3.0, 3.0, 5.0)
"""Cost of a LUT by its inputs as in Yosys' library of this device, which prefers small ones."""


@dataclass(frozen=True, slots=True)
class Cover:
    """LUTs of a graph: ``inputs`` of each (sets of nodes as bit masks), by output node.

    ``raw`` counts them, ``sites`` packs them: a carry position is a site with its S, and with DI
    where both together use five inputs; others pair up.
    """

    luts: dict[int, int]
    raw: int
    sites: int
    positions: int


def cover(graph: Graph, slack: int = 0, area: Sequence[float] = AREA) -> Cover:
    """Map ``graph``; depths may grow by ``slack`` LUTs for the sake of ``area`` (by inputs)."""
    fanin = graph.fanin
    size = len(fanin)
    roots = [literal >> 1 for literal in graph.outputs]
    roots += [literal >> 1 for position in graph.positions for literal in position]
    wanted = _cone(fanin, roots)
    order = [node for node in range(size) if node in wanted and fanin[node] is not None]
    covers = [
        _map(graph, order, roots, slack, refs, area)
        for refs in (_fanouts(fanin, order, roots), _reach(fanin, order, roots))
    ]
    luts = min(covers, key=lambda found: sum(area[mask.bit_count()] for mask in found.values()))
    return Cover(luts, len(luts), _sites(graph, luts), len(graph.positions))


def _fanouts(
    fanin: list[tuple[int, int] | None], order: list[int], roots: list[int]
) -> list[float]:
    """Return how many gates and roots read each node."""
    refs = [0.0] * len(fanin)
    for node in order:
        for literal in fanin[node] or ():
            refs[literal >> 1] += 1
    for root in roots:
        refs[root] += 1
    return refs


def _reach(fanin: list[tuple[int, int] | None], order: list[int], roots: list[int]) -> list[float]:
    """Return how many roots depend on each node: how often it is read if all read it directly."""
    seen = [0] * len(fanin)
    for index, root in enumerate(roots):
        seen[root] |= 1 << index
    for node in reversed(order):
        for literal in fanin[node] or ():
            seen[literal >> 1] |= seen[node]
    return [float(mask.bit_count()) for mask in seen]


def _map(
    graph: Graph,
    order: list[int],
    roots: list[int],
    slack: int,
    refs: list[float],
    area: Sequence[float],
) -> dict[int, int]:
    """Return a cover that starts from an estimate of how often each node is read."""
    fanin = graph.fanin
    cuts = _enumerate(graph, order, refs, area)
    required: dict[int, int] | None = None
    chosen: dict[int, int] = {}
    for _ in range(PASSES):
        depth, chosen = _choose(graph, order, cuts, refs, required, area)
        luts = _used(fanin, roots, chosen)
        required = _required(luts, roots, depth, slack)
        refs = [0.0] * len(fanin)
        for mask in luts.values():
            for leaf in _members(mask):
                refs[leaf] += 1
        for root in roots:
            refs[root] += 1
        refs = [max(count, 0.5) for count in refs]
    return _recover(graph, order, cuts, chosen, roots, area)


def _cone(fanin: list[tuple[int, int] | None], roots: list[int]) -> set[int]:
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        gate = fanin[node]
        if gate is not None:
            stack += [gate[0] >> 1, gate[1] >> 1]
    return seen


@lru_cache(maxsize=1 << 16)
def _members(mask: int) -> tuple[int, ...]:
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return tuple(found)


def _enumerate(
    graph: Graph, order: list[int], refs: list[float], area: Sequence[float]
) -> dict[int, list[int]]:
    """Return each gate's best cuts as masks of leaves, its own trivial cut left out."""
    fanin = graph.fanin
    cuts: dict[int, list[int]] = {}
    depth: dict[int, int] = dict(graph.arrival)
    depth[0] = 0
    flow: dict[int, float] = dict.fromkeys(depth, 0.0)
    support = {node: 1 << node for node in depth}
    support[0] = 0
    for node in order:
        gate = fanin[node]
        if gate is None:
            continue
        left, right = gate[0] >> 1, gate[1] >> 1
        support[node] = support[left] | support[right]
        lefts = [1 << left, *cuts.get(left, ())]
        rights = [1 << right, *cuts.get(right, ())]
        merged = {both for a in lefts for b in rights if (both := a | b).bit_count() <= LUT_INPUTS}
        if support[node].bit_count() <= LUT_INPUTS:
            merged.add(support[node])
        ranked = []
        for mask in merged:
            leaves = _members(mask)
            ranked.append(
                (
                    1 + max(map(depth.__getitem__, leaves)),
                    area[len(leaves)] + sum(map(flow.__getitem__, leaves)),
                    len(leaves),
                    mask,
                )
            )
        ranked.sort(key=lambda cut: (cut[1], cut[0], cut[2], cut[3]))
        # Those of most area are dropped, but the shallowest stay too.
        kept = ranked[:CUTS]
        kept += sorted(ranked[CUTS:])[: CUTS // 2]
        cuts[node] = [cut[3] for cut in kept]
        depth[node] = min(cut[0] for cut in ranked)
        flow[node] = ranked[0][1] / max(refs[node], 1.0)
    return cuts


def _choose(
    graph: Graph,
    order: list[int],
    cuts: dict[int, list[int]],
    refs: list[float],
    required: dict[int, int] | None,
    area: Sequence[float],
) -> tuple[dict[int, int], dict[int, int]]:
    """Return each node's depth and chosen cut: least depth, or least area that is early enough."""
    depth: dict[int, int] = dict(graph.arrival)
    depth[0] = 0
    flow: dict[int, float] = dict.fromkeys(depth, 0.0)
    chosen: dict[int, int] = {}
    for node in order:
        best: tuple[float, ...] | None = None
        limit = None if required is None else required.get(node, 1 << 30)
        for mask in cuts[node]:
            leaves = _members(mask)
            late = 1 + max(map(depth.__getitem__, leaves))
            whole = area[len(leaves)] + sum(map(flow.__getitem__, leaves))
            key = (late, whole) if limit is None else (max(late - limit, 0), whole, late)
            if best is None or (*key, mask) < best:
                best = (*key, mask)
                chosen[node], depth[node] = mask, late
                flow[node] = whole / max(refs[node], 0.5)
    return depth, chosen


def _used(
    fanin: list[tuple[int, int] | None], roots: list[int], chosen: dict[int, int]
) -> dict[int, int]:
    """Return the LUTs that the roots need: output node -> mask of inputs."""
    luts: dict[int, int] = {}
    stack = [root for root in roots if fanin[root] is not None]
    while stack:
        node = stack.pop()
        if node in luts:
            continue
        luts[node] = chosen[node]
        stack += [leaf for leaf in _members(chosen[node]) if fanin[leaf] is not None]
    return luts


def _recover(
    graph: Graph,
    order: list[int],
    cuts: dict[int, list[int]],
    chosen: dict[int, int],
    roots: list[int],
    area: Sequence[float],
) -> dict[int, int]:
    """Return the cover after choosing, for each LUT in turn, the cut that adds fewest LUTs."""
    fanin = graph.fanin
    count = [0] * len(fanin)

    def take(mask: int) -> float:
        added = area[mask.bit_count()]
        for leaf in _members(mask):
            count[leaf] += 1
            if count[leaf] == 1 and fanin[leaf] is not None:
                added += take(chosen[leaf])
        return added

    def drop(mask: int) -> float:
        freed = area[mask.bit_count()]
        for leaf in _members(mask):
            count[leaf] -= 1
            if count[leaf] == 0 and fanin[leaf] is not None:
                freed += drop(chosen[leaf])
        return freed

    for root in roots:
        count[root] += 1
        if count[root] == 1 and fanin[root] is not None:
            take(chosen[root])
    for _ in range(RECOVERIES):
        for node in order:
            if not count[node]:
                continue
            drop(chosen[node])
            best, least = chosen[node], 1e9
            for mask in cuts[node]:
                added = take(mask)
                drop(mask)
                key = added + mask.bit_count() / 64
                if key < least:
                    best, least = mask, key
            chosen[node] = best
            take(best)
    return _used(fanin, roots, chosen)


def _required(
    luts: dict[int, int], roots: list[int], depth: dict[int, int], slack: int
) -> dict[int, int]:
    latest = max((depth[root] for root in roots), default=0) + slack
    required = dict.fromkeys(roots, latest)
    for node in sorted(luts, reverse=True):
        for leaf in _members(luts[node]):
            required[leaf] = min(required.get(leaf, 1 << 30), required[node] - 1)
    return required


def _sites(graph: Graph, luts: dict[int, int]) -> int:
    """Return packed sites: `hw.sites` in short, with a greedy pairing."""
    placed: set[int] = set()
    for select, _ in graph.positions:
        placed.add(select >> 1)
    for select, data in graph.positions:
        s, d = select >> 1, data >> 1
        if d in luts and d not in placed:
            inputs = luts.get(s, 1 << s) | luts[d]
            if inputs.bit_count() <= LUT_INPUTS - 1:
                placed.add(d)
    free = [mask for node, mask in luts.items() if node not in placed]
    return len(graph.positions) + len(free) - _pairs(free)


def _pairs(masks: list[int]) -> int:
    """Return how many pairs of LUTs share a site: at most five inputs together."""
    small = sorted((mask for mask in masks if mask.bit_count() < LUT_INPUTS), key=int.bit_count)
    taken = [False] * len(small)
    pairs = 0
    for i in range(len(small) - 1, -1, -1):
        if taken[i]:
            continue
        best, most = -1, -1
        for j in range(i):
            if not taken[j] and (small[i] | small[j]).bit_count() < LUT_INPUTS:
                common = (small[i] & small[j]).bit_count()
                if common > most:
                    best, most = j, common
        if best >= 0:
            taken[i] = taken[best] = True
            pairs += 1
    return pairs
