# SPDX-License-Identifier: Apache-2.0
"""Count LUT6 sites in a mapped AMD netlist: how many physical LUTs the logic needs when packed.

A site is one LUT6, or two functions that together use at most five inputs (LUT6_2).  Rules, from
the slice's wiring:

1. Every used carry position costs one site: its LUT feeds the S pin, whatever S is.
2. A LUT that drives S lives in that site; driving two positions it lives in both.  Its second
   output may only be the LUT that drives DI of the same position.
3. The other LUTs are paired: first by maximum matching among LUTs that share an input, then
   among those left over, largest with smallest.
4. A LUT that drives a MUXF7 or MUXF8 needs the main output: it is paired at most with a LUT that
   shares an input and drives none.
5. An instantiated LUT6_2 is one site.  Where its O6 drives S, rule 2 holds: an O5 that drives
   anything but DI of that position is a LUT of its own, except:
6. O5 may leave the site where nothing else does.  Besides O6 itself a slice has for each LUT one
   output multiplexer (O5, O6, the sum, the carry) and two flip-flops that choose among the same
   (UltraScale+, UG574).  So O5 takes the multiplexer if the position's sum goes to the D pins of
   at most two flip-flops and nowhere else, its carry only up the chain, and DI comes from a net
   or from that O5: this is a registered ternary adder, whose O5 is the majority that the next
   position gets at its LUT and, by the bypass pin, at DI.

Rule 2 is conservative and rule 3 optimistic: Vivado pairs unrelated LUTs only when space is
short.  No placement is involved, so this is an estimate, the same for every kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from hwquant.errors import ToolError

__all__ = ["PACKING", "Netlist", "Resources", "count_resources", "pair_luts"]

PACKING: Final = "packed LUT6 sites (rules v3)"
MATCH_NODES: Final = 900
MATCH_EDGES: Final = 30_000
SITE_INPUTS: Final = 5
MAX_REGISTERS: Final = 2
DOUBLE: Final = 2

_LUTRAM: Final = {
    "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X1S": 1, "RAM64X1S": 1,
    "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4, "RAM256X1D": 8,
    "RAM512X1S": 8, "RAM32X16DR8": 8, "RAM64X8SW": 8, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1,
}  # fmt: skip
"""LUTs used as memory, by cell (UG574, from memory)."""

_CARRY: Final = {"CARRY4": 1, "CARRY8": 2}

Bit = int | str
Net = frozenset[Bit]


@dataclass(frozen=True, slots=True)
class Resources:
    """What a netlist uses.

    ``lut_sites`` is packed LUT6 sites (carry positions included), ``lut_raw`` the LUT cells and
    inverters before packing, ``lutram`` LUTs used as memory or shift registers (not in the other
    two), ``carry`` carry chains in CARRY4 units (a CARRY8 is two).
    """

    lut_sites: int
    lut_raw: int
    lutram: int
    ff: int
    dsp: int
    carry: int

    def to_json(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


@dataclass(frozen=True)
class Netlist:
    """The cells of one flat module: (type, parameters-free connections by port).

    ``inits`` holds the truth tables of instantiated LUT6_2, by number of the cell.
    """

    cells: tuple[tuple[str, Mapping[str, list[Bit]]], ...]
    outputs: frozenset[Bit]
    inits: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def from_yosys(cls, design: Mapping[str, Any], top: str) -> Netlist:
        """Take module ``top`` of a ``write_json`` file."""
        module = design["modules"][top]
        listed = [cell for cell in module["cells"].values() if cell["type"] != "$scopeinfo"]
        cells = tuple((cell["type"], cell["connections"]) for cell in listed)
        inits = {
            number: int(cell["parameters"]["INIT"], 2)
            for number, cell in enumerate(listed)
            if cell["type"] == "LUT6_2"
        }
        ports = (port for port in module["ports"].values() if port["direction"] != "input")
        return cls(cells, frozenset(bit for port in ports for bit in port["bits"]), inits)


@dataclass(frozen=True, slots=True)
class _Position:
    """One used carry position: what drives S and DI, and what the sum and the carry drive."""

    select: Bit
    data: Bit
    sum: Bit
    carry: Bit


def _is_lut(kind: str) -> bool:
    return kind == "INV" or (kind.startswith("LUT") and kind[3:].isdecimal())


def _lut_inputs(cell: Mapping[str, list[Bit]]) -> Net:
    return frozenset(
        bit
        for port, bits in cell.items()
        if port.startswith("I")
        for bit in bits
        if isinstance(bit, int)
    )


def _positions(netlist: Netlist) -> list[_Position]:
    """Return the carry positions that something reads, or that a later one in the cell needs."""
    loads: set[Bit] = {bit for bit in netlist.outputs if isinstance(bit, int)}
    for kind, cell in netlist.cells:
        for port, bits in cell.items():
            # A cell's own output among the loads is harmless: no net has two drivers.
            if not (kind in _CARRY and port in ("O", "CO")):
                loads.update(bit for bit in bits if isinstance(bit, int))
    found = []
    for kind, cell in netlist.cells:
        if kind in _CARRY:
            outputs = [bits for port in ("O", "CO") for bits in enumerate(cell.get(port, ()))]
            used = max((index + 1 for index, bit in outputs if bit in loads), default=0)
            # Absent outputs drive nothing.
            out, up = [[*cell.get(port, ()), *"x" * used] for port in ("O", "CO")]
            found += [_Position(cell["S"][i], cell["DI"][i], out[i], up[i]) for i in range(used)]
    return found


def _leaving(netlist: Netlist, positions: Iterable[_Position]) -> set[Bit]:
    """Return the S nets of the positions whose sum and carry leave the second output free."""
    readers: dict[Bit, list[str]] = {bit: ["output"] for bit in netlist.outputs}
    for kind, cell in netlist.cells:
        role = "carry" if kind in _CARRY else "ff" if kind.startswith("FD") else "logic"
        for port, bits in cell.items():
            if role == "carry" and port in ("O", "CO"):
                continue
            for bit in bits:
                readers.setdefault(bit, []).append(f"{role} {port}")
    stays: set[Bit] = set()
    spoilt: set[Bit] = set()
    for position in positions:
        sums, carries = (readers.get(net, []) for net in (position.sum, position.carry))
        free = len(sums) <= MAX_REGISTERS and set(sums) <= {"ff D"} and set(carries) <= {"carry CI"}
        (stays if free else spoilt).add(position.select)
    return stays - spoilt


def _used(netlist: Netlist) -> set[Bit]:
    """Return the nets that an output or a cell reads; only a LUT6_2's own outputs do not count."""
    found: set[Bit] = set(netlist.outputs)
    for kind, cell in netlist.cells:
        outputs = ("O5", "O6") if kind == "LUT6_2" else ()
        found.update(b for port, bits in cell.items() if port not in outputs for b in bits)
    return found


def _greedy(order: Iterable[int], edges: Mapping[int, set[int]]) -> set[tuple[int, int]]:
    """Return a maximal matching, scarcest node first."""
    taken: set[int] = set()
    pairs = set()
    for node in order:
        if node in taken:
            continue
        free = [other for other in edges[node] if other not in taken]
        if free:
            other = min(free, key=lambda n: (len(edges[n]), n))
            taken.update((node, other))
            pairs.add((node, other))
    return pairs


def _sharing_edges(luts: list[Net], apart: frozenset[int]) -> dict[int, set[int]]:
    """Return which LUTs share an input and fit one site together."""
    readers: dict[Bit, list[int]] = {}
    for index, inputs in enumerate(luts):
        if len(inputs) <= SITE_INPUTS:
            for bit in inputs:
                readers.setdefault(bit, []).append(index)
    edges: dict[int, set[int]] = {index: set() for index in range(len(luts))}
    for index, inputs in enumerate(luts):
        if len(inputs) > SITE_INPUTS:
            continue
        for other in {o for bit in inputs for o in readers[bit] if o > index}:
            both_apart = index in apart and other in apart
            if len(inputs | luts[other]) <= SITE_INPUTS and not both_apart:
                edges[index].add(other)
                edges[other].add(index)
    return edges


def pair_luts(luts: list[Net], apart: frozenset[int] = frozenset()) -> set[tuple[int, int]]:
    """Return which LUTs (by index; each a set of inputs) share a site with which.

    No two LUTs of ``apart`` are paired, and none of them with a LUT it shares no input with.
    Among LUTs that share an input the pairing is maximum up to `MATCH_NODES` LUTs and
    `MATCH_EDGES` possible pairs, greedy above.
    """
    edges = _sharing_edges(luts, apart)
    order = sorted((n for n in edges if edges[n]), key=lambda n: (len(edges[n]), n))
    if len(order) <= MATCH_NODES and sum(map(len, edges.values())) <= 2 * MATCH_EDGES:
        import networkx as nx

        graph = nx.Graph()
        graph.add_nodes_from(order)
        graph.add_edges_from((n, o) for n in order for o in sorted(edges[n]) if o > n)
        pairs = {
            (min(pair), max(pair))
            for part in nx.connected_components(graph)
            for pair in nx.max_weight_matching(graph.subgraph(part), maxcardinality=True)
        }
    else:
        pairs = _greedy(order, edges)
    # In a maximal matching two LUTs left over never fit through a shared input, so from here on
    # only their sizes matter.
    taken = {index for pair in pairs for index in pair} | apart
    return pairs | _pair_strangers({n: len(luts[n]) for n in range(len(luts)) if n not in taken})


def _pair_strangers(sizes: Mapping[int, int]) -> set[tuple[int, int]]:
    """Pair LUTs that share nothing (index -> number of inputs): a tight fit first.

    Maximum, because a larger LUT's possible partners are always a subset of a smaller one's.
    """
    by_size: dict[int, list[int]] = {size: [] for size in range(1, SITE_INPUTS)}
    for index, size in sizes.items():
        if 1 <= size < SITE_INPUTS:
            by_size[size].append(index)
    pairs = set()
    for large, small in ((4, 1), (3, 2), (3, 1), (2, 2), (2, 1), (1, 1)):
        first, second = by_size[large], by_size[small]
        while first and second and (first is not second or len(first) > 1):
            pairs.add((first.pop(), second.pop()))
    return pairs


def _doubles(netlist: Netlist) -> list[dict[Bit, Net]]:
    """Return each instantiated LUT6_2 as output -> inputs, outputs that nobody reads left out."""
    read = _used(netlist)
    found = []
    for kind, cell in netlist.cells:
        if kind == "LUT6_2":
            inputs = _lut_inputs(cell)
            low = _lut_inputs({port: bits for port, bits in cell.items() if port != "I5"})
            halves = [(cell.get("O6", ()), inputs), (cell.get("O5", ()), low)]
            found.append({b: nets for bits, nets in halves for b in bits if b in read})
    return [double for double in found if double]


def count_resources(netlist: Netlist) -> Resources:
    """Return what ``netlist`` uses; see the module for the packing rules.

    Raises `ToolError` when a cell was not mapped to the device.
    """
    kinds = Counter(kind for kind, _ in netlist.cells)
    unmapped = sorted(kind for kind in kinds if kind.startswith(("$", "\\$")))
    if unmapped:
        raise ToolError(f"synthesis left {', '.join(unmapped)} unmapped; the count would be wrong")
    luts = {cell["O"][0]: _lut_inputs(cell) for kind, cell in netlist.cells if _is_lut(kind)}
    doubles = _doubles(netlist)
    for double in doubles:
        luts |= double
    positions = _positions(netlist)
    placed = {position.select for position in positions if position.select in luts}
    leaving = _leaving(netlist, positions)
    for double in doubles:
        ends = list(double)
        if len(ends) == DOUBLE and ends[0] in leaving:
            placed.add(ends[1])
    for position in positions:
        select, data = position.select, position.data
        if data not in luts or data in placed:
            continue
        # A plain net reaches S through the LUT and uses one of its inputs; a constant uses none.
        through: Net = frozenset([select]) if isinstance(select, int) else frozenset()
        together = any({select, data} == set(double) for double in doubles)
        if together or len(luts.get(select, through) | luts[data]) <= SITE_INPUTS:
            placed.add(data)
    # A LUT6_2 away from the carry chains is a site of its own.
    alone = [double for double in doubles if len(double) == 2 and not placed & set(double)]
    placed.update(out for double in alone for out in double)
    free = [out for out in luts if out not in placed]
    muxed = {
        bit
        for kind, cell in netlist.cells
        if kind in ("MUXF7", "MUXF8")
        for port in ("I0", "I1")
        for bit in cell[port]
    }
    apart = frozenset(index for index, out in enumerate(free) if out in muxed)
    pairs = pair_luts([luts[out] for out in free], apart)
    return Resources(
        lut_sites=len(positions) + len(alone) + len(free) - len(pairs),
        lut_raw=len(luts) - sum(len(double) - 1 for double in doubles),
        lutram=sum(_LUTRAM.get(kind, 0) * number for kind, number in kinds.items()),
        ff=sum(number for kind, number in kinds.items() if kind.startswith("FD")),
        dsp=sum(number for kind, number in kinds.items() if kind.startswith("DSP")),
        carry=sum(_CARRY.get(kind, 0) * number for kind, number in kinds.items()),
    )
