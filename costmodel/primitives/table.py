# SPDX-License-Identifier: Apache-2.0
"""Formula of style ``table``: exact."""

from __future__ import annotations

from functools import lru_cache

from hw.styles import table as style
from hwquant.formats import Format

from .accumulate import hq_tally
from .counts import Counts
from .packing import block, matched
from .specs import SpecArrays, register_formula

__all__ = ["hq_table_mac"]


@lru_cache(maxsize=65536)
def _tables(weight: Format, act: Format) -> tuple[int, ...]:
    """Return the product's low bits and what its computed nets are made of."""
    found = style.tables(weight, act)
    return len(found.bits), *matched([frozenset(code.nets) - {0} for code in found.codes])


@register_formula(style.STYLE.name)
def hq_table_mac(specs: SpecArrays) -> Counts:
    """One lane whose product is a few tables: the computed nets, then the accumulator; exact.

    Every computed net is a LUT; two of at most five inputs together share a site.  The product's
    bits cost nothing beyond the accumulator's own LUTs.
    """
    low, sites, raw, one, two, three, four = specs.per_pair(_tables)
    codes = block(sites=sites, raw=raw, one=one, two=two, three=three, four=four)
    registers = block(ff=specs.weight.bits + specs.act.bits)
    return (registers + codes + hq_tally(low, specs.acc)).packed()
