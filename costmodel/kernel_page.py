# SPDX-License-Identifier: Apache-2.0
"""The page that sets our kernels beside plain RTL, the best open peer and a lower bound.

Run ``python -m costmodel.kernel_page`` to write ``docs/kernels/benchmark.md`` from the catalogue;
``python -m costmodel.catalogue`` measures the catalogue again, with one flow and one estimator.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from hw.catalogue import Row, rows
from hw.styles import STYLES
from hw.styles.plain import product_bits
from hwquant import atomic, codec
from hwquant.formats import Format
from hwquant.mac import MacSpec

__all__ = ["page", "product_bound"]

PEER: Final = {
    "int3": 33, "int4": 52, "int5": 71, "int6": 89, "int8": 137, "e1m1": 18, "e1m2": 30, "e2m1": 31,
    "e2m2": 49, "e3m1": 59, "e2m3": 65, "e3m2": 83, "e4m3": 112, "e5m2": 157,
}  # fmt: skip
"""MX-for-FPGA (the best open peer found), one MAC, same flow, estimator and accumulator width."""

FREE_INPUTS: Final = 5

HEAD: Final = """# Kernels beside plain RTL, a peer and a bound

Packed LUT6 sites, LUTs used as RAM included, of one whole kernel: registers' control, product and
accumulator, {headroom}. All rows come from one flow and one estimator:

    {flow}

and every kernel was verified before it was counted (`mac_steps` in `hw/catalogue.csv`). Nothing is
placed or timed. Written by `python -m costmodel.kernel_page`; `python -m costmodel.catalogue`
measures again.

"""


NOTES: Final = """A `bucket` kernel has one result per dot product and stands here with its RAM
and with its share of the sequencer that 16 kernels have in common (one lane), or all of it (several
lanes); see [bucket kernels](bucket.md) for its cycles. MX-for-FPGA's multipliers were
synthesized with an exact accumulator of the same width and counted once, with the same estimator.
The bound is on the product alone: each different bit that depends on more than five inputs needs a
site, and a site has two outputs. It is not tight.
"""


def product_bound(weight: Format, act: Format) -> int:
    """Return a lower bound on the LUT sites of any circuit that has all bits of the product.

    A site has two outputs only where both depend on the same five inputs; so each different bit
    that depends on more needs a site of its own, and there are at most two bits to a site.  Bits
    equal to a constant or to an input need none.  Codes without a value are taken as they decode
    in hardware, which is no restriction: the bound holds for codes that have one.
    """
    bits = product_bits(weight, act)
    w = [codec.decode(weight, code) for code in weight.codes]
    a = [codec.decode(act, code) for code in act.codes]
    if len(w) != 1 << weight.bits or len(a) != 1 << act.bits:
        return 0  # with excluded codes the support of a bit is not defined by this table
    products = [x * y % (1 << bits) for x in w for y in a]
    inputs = np.arange(len(products))
    trivial = {np.packbits((inputs >> i) & 1).tobytes() for i in range(weight.bits + act.bits)}
    seen: set[bytes] = set()
    wide = 0
    for position in range(bits):
        column = np.array([p >> position & 1 for p in products], np.uint8)
        key = np.packbits(column).tobytes()
        if key in seen or key in trivial or column.min() == column.max():
            continue
        seen.add(key)
        flips = (column != column[inputs ^ (1 << i)] for i in range(weight.bits + act.bits))
        wide += sum(bool(flip.any()) for flip in flips) > FREE_INPUTS
    return max(wide, -(-len(seen) // 2))


def _group(found: Iterable[Row]) -> dict[MacSpec, list[Row]]:
    groups: dict[MacSpec, list[Row]] = {}
    for row in found:
        groups.setdefault(row.spec, []).append(row)
    return groups


def _line(spec: MacSpec, measured: Sequence[Row]) -> str:
    best = min(measured, key=lambda row: (row.luts, row.style))
    plain = next((row for row in measured if row.style == "plain"), None)
    every = [row for row in measured if STYLES[row.style].timing is None]
    beat = min(every, key=lambda row: (row.luts, row.style), default=None)
    same = str(spec.weight) if spec.weight == spec.act else f"{spec.weight} x {spec.act}"
    lanes = spec.lanes
    cells = [
        f"`{same}`",
        str(spec.accumulator.width),
        f"**{best.luts / lanes:.4g}** `{best.style}`",
        "" if beat is None else f"{beat.luts / lanes:.4g} `{beat.style}`",
        "" if plain is None else f"{plain.luts / lanes:.4g}",
        "" if plain is None else f"{plain.luts / best.luts:.2f}",
    ]
    if lanes == 1:
        cells.append(str(PEER.get(same, "")))
        cells.append(str(product_bound(spec.weight, spec.act) or ""))
    return "| " + " | ".join(cells) + " |"


def page(found: Iterable[Row] | None = None) -> str:
    """Return the page for ``found`` rows, by default those of the committed catalogue."""
    groups = _group(rows() if found is None else found)
    flows = sorted({row.flow for measured in groups.values() for row in measured})
    text = HEAD.format(
        flow="\n    ".join(flows), headroom="the accumulator 8 bits wider than the sum over lanes"
    )
    for lanes in sorted({spec.lanes for spec in groups}):
        columns = [
            "format",
            "accumulator",
            "smallest",
            "result every beat",
            "plain",
            "plain / ours",
        ]
        columns += ["MX-for-FPGA", "product, at least"] if lanes == 1 else []
        text += "## One lane\n\n" if lanes == 1 else f"## {lanes} lanes, for each lane\n\n"
        text += "| " + " | ".join(columns) + " |\n|" + "---|" * len(columns) + "\n"
        text += "\n".join(_line(s, m) for s, m in groups.items() if s.lanes == lanes) + "\n\n"
    return text + NOTES


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page to the file named by the first argument."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    atomic.write_text(Path(given[0] if given else "docs/kernels/benchmark.md"), page())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
