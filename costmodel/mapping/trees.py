# SPDX-License-Identifier: Apache-2.0
"""Mapped logic of lanes in styles ``tree`` and ``dsp_acc`` without cells, by pair of formats.

Products are registered behind the adder of two lanes (``hq_fold``), or as they are.
"""

from __future__ import annotations

from functools import lru_cache, partial

from hw.styles import tree
from hwquant.formats import Format
from hwquant.mac import MacSpec

from .aig import FALSE, TRUE, Graph, Word
from .equal import simplified
from .lanes import lane, twos
from .mapper import AREA, CELL_AREA
from .pairs import mapped

__all__ = ["lane_products", "tree_lanes"]


@lru_cache(maxsize=1024)
def _product(weight: Format, act: Format) -> tuple[Graph, Word]:
    """Return a lane's logic: its sign, then its product."""
    found = tree.STYLE.parameters(MacSpec(weight, act))
    graph = Graph()
    codes = graph.inputs(weight.bits), graph.inputs(act.bits)
    recode, width = int(str(found["RecodeAct"])) != 0, int(str(found["ProductBits"]))
    sign, word = lane(graph, weight, act, *codes, recode, width)
    return simplified(graph, [sign, *word])


def _fold(weight: Format, act: Format, lanes: int) -> Graph:
    """Return one lane or two with what is in front of their registers."""
    graph = Graph()
    first = graph.copy(*_product(weight, act))
    if not (weight.sign_magnitude or act.sign_magnitude):
        graph.outputs = first[1:]
        return graph
    second = graph.copy(*_product(weight, act)) if lanes == 2 else [FALSE] * len(first)
    wide = [] if twos(weight) or twos(act) else [FALSE]
    words = [[graph.xor(bit, sign) for bit in (*word, *wide)] for sign, *word in (first, second)]
    for word in words:
        word[-1] ^= 1  # a number without a sign from here on
    # The carry enters at a position of its own, and leaves at one.
    graph.chain([TRUE, *words[0], FALSE], [first[0], *words[1], FALSE])
    graph.outputs = [second[0]]
    return graph


@lru_cache(maxsize=65536)
def tree_lanes(weight: Format, act: Format) -> tuple[int, ...]:
    """Return sites, raw LUTs and carry positions of one lane and its adder, then of a pair.

    The same six again, mapped by the prices of Yosys' library.
    """
    found: list[int] = []
    for area in (AREA, CELL_AREA):
        for lanes in (1, 2):
            name = f"tree {lanes} {weight} {act}"
            found += mapped(name, partial(_fold, weight, act, lanes), area)
    return tuple(found)


@lru_cache(maxsize=65536)
def lane_products(weight: Format, act: Format) -> tuple[int, ...]:
    """Return sites, raw LUTs and carry positions of a registered product, then of one negated.

    Negated where a further net says so.  The same six again, mapped by the prices of Yosys'
    library.
    """

    def build(negate: bool) -> Graph:
        graph = Graph()
        _, *word = graph.copy(*_product(weight, act))
        other = graph.input() if negate else FALSE
        graph.outputs = [graph.xor(bit, other) for bit in word]
        return graph

    found: list[int] = []
    for area in (AREA, CELL_AREA):
        for negate in (False, True):
            name = f"product {negate} {weight} {act}"
            found += mapped(name, partial(build, negate), area)
    return tuple(found)
