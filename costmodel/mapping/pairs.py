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

from .aig import Graph, Word
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
    """Return the products of style plain in front of their adder, its positions left out.

    Sites and raw LUTs of one product that enters at S (``S = other ^ product``), then of two that
    are added to each other (one at S and DI, one at S).
    """
    if isinstance(weight, Codebook) or isinstance(act, Codebook):
        return 0, 0, 0, 0
    width = product_bits(weight, act)

    def product(graph: Graph) -> Word:
        codes = graph.inputs(weight.bits), graph.inputs(act.bits)
        sign, word = term(graph, weight, act, *codes, width)
        return [graph.xor(sign, bit) for bit in word]

    def one() -> Graph:
        graph = Graph()
        for bit in product(graph):
            other = graph.input()
            graph.position(graph.xor(other, bit), other)
        return graph

    def two() -> Graph:
        graph = Graph()
        for first, second in zip(product(graph), product(graph), strict=True):
            graph.position(graph.xor(first, second), first)
        return graph

    sites, raw, _ = mapped(f"plain one {weight} {act}", one)
    pair_sites, pair_raw, _ = mapped(f"plain two {weight} {act}", two)
    return sites - width, raw - width, pair_sites - width, pair_raw - width
