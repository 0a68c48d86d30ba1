# SPDX-License-Identifier: Apache-2.0
"""Mapped logic of a pair of formats in the places a formula needs it, computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from hw.styles.plain import product_bits
from hwquant import cache as store
from hwquant.formats import Codebook, Format

from .aig import FALSE, Graph
from .logic import term
from .mapper import cover

__all__ = ["mapped", "plain_product"]

_FILES: Final = ("aig.py", "logic.py", "mapper.py", "pairs.py")
_CACHE: Final = "mapped"


@cache
def _version() -> str:
    folder = files("costmodel.mapping")
    return store.content_key(*(folder.joinpath(name).read_text("utf-8") for name in _FILES))


def mapped(name: str, build: Callable[[], Graph]) -> tuple[int, int, int]:
    """Return (sites, raw LUTs, carry positions) of the graph that ``build`` makes.

    The result is kept in the cache under ``name``, which must say what the graph is.
    """
    key = store.content_key(_version(), name)
    found = store.load_json(_CACHE, key)
    if found is None:
        done = cover(build())
        found = [done.sites, done.raw, done.positions]
        store.store_json(_CACHE, key, found)
    sites, raw, positions = found
    return sites, raw, positions


@lru_cache(maxsize=65536)
def plain_product(weight: Format, act: Format) -> tuple[int, int, int, int]:
    """Return the product of style plain: LUTs where an adder takes it, and where it stands alone.

    Sites and raw LUTs beyond the adder's own positions where the product enters at S (``S = other
    ^ product``), then sites and raw LUTs where it is a LUT output (DI of an adder in the tree).
    """
    if isinstance(weight, Codebook) or isinstance(act, Codebook):
        return 0, 0, 0, 0
    width = product_bits(weight, act)

    def added() -> Graph:
        graph = Graph()
        sign, word = term(
            graph, weight, act, graph.inputs(weight.bits), graph.inputs(act.bits), width
        )
        for bit in word:
            other = graph.input()
            graph.position(graph.xor(other, graph.xor(sign, bit)), other)
        return graph

    def alone() -> Graph:
        graph = Graph()
        sign, word = term(
            graph, weight, act, graph.inputs(weight.bits), graph.inputs(act.bits), width
        )
        graph.outputs += [graph.xor(sign, bit) for bit in word if bit != FALSE]
        return graph

    sites, raw, _ = mapped(f"plain added {weight} {act}", added)
    alone_sites, alone_raw, _ = mapped(f"plain alone {weight} {act}", alone)
    return sites - width, raw - width, alone_sites, alone_raw
