# SPDX-License-Identifier: Apache-2.0
"""Mapped logic of a pair of formats in the places a formula needs it, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from hw.styles.plain import product_bits
from hwquant import cache as store
from hwquant.formats import Codebook, Format

from .aig import Graph, Word
from .equal import simplified
from .logic import term
from .mapper import AREA, CELL_AREA, cover

__all__ = ["kept", "mapped", "plain_product"]

_CACHE: Final = "mapped"


@cache
def _version() -> str:
    texts = {
        file.name: file.read_text("utf-8")
        for file in files("costmodel.mapping").iterdir()
        if file.name.endswith(".py")
    }
    return store.content_key(*(texts[name] for name in sorted(texts)))


def kept(name: str, compute: Callable[[], list[float]]) -> list[float]:
    """Return what ``compute`` returns, from the cache where it was computed before.

    ``name`` must say what it is; the key holds the mapper's sources too.
    """
    key = store.content_key(_version(), name)
    found = store.load_json(_CACHE, key)
    if found is None:
        found = compute()
        store.store_json(_CACHE, key, found)
    numbers: list[float] = found
    return numbers


def mapped(
    name: str, build: Callable[[], Graph], area: Sequence[float] = AREA
) -> tuple[int, int, int]:
    """Return (sites, raw LUTs, carry positions) of the graph that ``build`` makes.

    ``area`` is the price of a LUT by its inputs.  The result is kept in the cache under ``name``,
    which must say what the graph is.
    """

    def count() -> list[float]:
        done = cover(build(), area=area)
        return [done.sites, done.raw, done.positions]

    sites, raw, positions = kept(" ".join((name, *map(str, area))), count)
    return int(sites), int(raw), int(positions)


@lru_cache(maxsize=65536)
def plain_product(weight: Format, act: Format) -> tuple[int, ...]:
    """Return the products of style plain in front of their adder, its positions left out.

    Sites and raw LUTs of one product that enters at S (``S = other ^ product``), then of two that
    are added to each other (one at S and DI, one at S).  The same four again, mapped by the prices
    of Yosys' library instead of by the number of LUTs.
    """
    if isinstance(weight, Codebook) or isinstance(act, Codebook):
        return (0,) * 8
    width = product_bits(weight, act)

    @cache
    def single() -> tuple[Graph, Word]:
        graph = Graph()
        codes = graph.inputs(weight.bits), graph.inputs(act.bits)
        sign, word = term(graph, weight, act, *codes, width)
        return simplified(graph, [graph.xor(sign, bit) for bit in word])

    def product(graph: Graph) -> Word:
        return graph.copy(*single())

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

    found = []
    for area in (AREA, CELL_AREA):
        for name, build in (("one", one), ("two", two)):
            sites, raw, _ = mapped(f"plain {name} {weight} {act}", build, area)
            found += [sites - width, raw - width]
    return tuple(found)
