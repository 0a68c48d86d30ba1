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

from .baseline import Baseline, baselines, smallest

__all__ = ["page", "product_bound"]

PEER: Final = {
    "int3": 33, "int4": 52, "int5": 71, "int6": 89, "int8": 137, "e1m1": 18, "e1m2": 30, "e2m1": 31,
    "e2m2": 49, "e3m1": 59, "e2m3": 65, "e3m2": 83, "e4m3": 112, "e5m2": 157,
}  # fmt: skip
"""MX-for-FPGA (the best open peer found), one MAC, same flow, estimator and accumulator width."""

FREE_INPUTS: Final = 5
NAME: Final = 24

AIM: Final[dict[int, dict[str, float]]] = {
    1: {
        "int3": 18, "int4": 26, "int5": 34, "int6": 44, "int8": 64, "e1m1": 14, "e2m0": 16,
        "e1m2": 20, "e2m1": 23, "e3m0": 25, "e2m2": 33, "e3m1": 35, "e2m3": 46, "e3m2": 46,
        "e4m3": 59, "e5m2": 57, "e2m1 x int4": 25, "e2m1 x int8": 36, "int4 x uint4": 26,
        "int8 x uint8": 64,
    },
    8: {
        "int3": 10.4, "int4": 16.4, "int6": 32, "int8": 50, "e1m1": 8.3, "e2m0": 10.8,
        "e1m2": 12.8, "e2m1": 17.3, "e2m2": 29.3, "e3m1": 40, "e2m3": 43, "e3m2": 47.5,
        "e4m3": 70, "e5m2": 75,
    },
}  # fmt: skip
"""The most that ours may take, by lanes: figures known before; bucket kernels without drain."""

HEAD: Final = """# Kernels beside plain RTL, a peer and a bound

Packed LUT6 sites, LUTs used as RAM included, of one whole kernel: registers' control, product and
accumulator, {headroom}. All rows come from one estimator and one flow,

    {flow}

but for plain RTL, of which the better of this flow and of the same with multipliers merged into
adders is shown. Every kernel was verified before it was counted (`mac_steps` in
`hw/catalogue.csv` and `costmodel/data/baseline.csv`). Nothing is placed or timed. Written by
`python -m costmodel.kernel_page`; `python -m costmodel.catalogue` and
`python -m costmodel.baseline` measure again, and
`hwquant cost --synth --style auto` gives one row.

"""


NOTES: Final = """- **ours**: the smallest verified kernel without a DSP, and its style. A `bucket`
  kernel has one result per dot product. With one lane it stands here as one MAC with its RAM (what
  "at most" is about); **with drain** adds its share of the sequencer that drains and clears, for
  dot products of 256 and 16 MACs per drain. With several lanes all of the sequencer and the merge
  of the lanes are counted. See [bucket kernels](bucket.md) for its cycles.
- **at most**: what was known before (the project's kernel goal), counted alike.
- **result every beat**: the smallest kernel that has one.
- **plain RTL**: the smaller of the library's `plain` and of the textbook kernel
  (`costmodel/data/textbook_mac.sv`: decode, `*`, shift, negate, `+`), each with its multiplier kept
  apart (split) and merged; **textbook** is the latter alone. plain / ours is without the drain.
- **MX-for-FPGA**: its multipliers with an exact accumulator of the same width, counted once, with
  the same estimator.
- **product, at least**: a bound on the product alone: each different bit that depends on more than
  five inputs needs a site, and a site has two outputs. It is not tight.
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


def _title(spec: MacSpec) -> str:
    """Return the formats' names, lists of values cut short."""
    weight, act = (
        name if len(name) <= NAME else f"{name.partition('_')[0]}_..."
        for name in (str(spec.weight), str(spec.act))
    )
    return weight if spec.weight == spec.act else f"{weight} x {act}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _line(spec: MacSpec, measured: Sequence[Row], plain_rows: Sequence[Baseline]) -> str:
    lanes = spec.lanes
    able = [row for row in measured if not row.counts["dsp"]]
    best = min(able, key=lambda row: (row.luts, row.style))
    ours = best.core_luts or best.luts
    every = [row for row in able if STYLES[row.style].timing is None]
    beat = min(every, key=lambda row: (row.luts, row.style), default=None)
    same = _title(spec)
    plain = smallest(spec, plain_rows)
    library = next((row for row in measured if row.style == "plain"), None)
    plain_luts = plain.lut_sites if plain is not None else library.luts if library else 0
    textbook = smallest(spec, [row for row in plain_rows if row.source == "textbook"])
    cells = [
        f"`{same}`",
        str(spec.accumulator.width),
        f"**{_number(ours / lanes)}** `{best.style}`",
        _number(AIM[lanes][same]) if same in AIM.get(lanes, {}) else "",
    ]
    if lanes == 1:
        cells.append(_number(round(best.luts, 1)) if best.core_luts else "")
    cells += [
        "" if beat is None else f"{_number(beat.luts / lanes)} `{beat.style}`",
        f"{_number(plain_luts / lanes)} ({'plain, split' if plain is None else plain.name})",
        "" if textbook is None else _number(textbook.lut_sites / lanes),
        f"{plain_luts / ours:.2f}",
    ]
    if lanes == 1:
        cells.append(str(PEER.get(same, "")))
        cells.append(str(product_bound(spec.weight, spec.act) or ""))
    return "| " + " | ".join(cells) + " |"


def _dsp_line(spec: MacSpec, measured: Sequence[Row]) -> str:
    """Return a kernel with a DSP slice beside the smallest without."""
    best = min((r for r in measured if not r.counts["dsp"]), key=lambda r: (r.luts, r.style))
    one = min((r for r in measured if r.counts["dsp"]), key=lambda r: (r.luts, r.style))
    same = str(spec.weight) if spec.weight == spec.act else f"{spec.weight} x {spec.act}"
    cells = [
        f"`{same}`",
        str(spec.accumulator.width),
        f"{best.luts:.4g} `{best.style}`",
        f"{one.luts:.4g} `{one.style}`",
        f"{best.luts - one.luts:.4g}",
    ]
    return "| " + " | ".join(cells) + " |"


def _dsp_table(groups: dict[MacSpec, list[Row]]) -> str:
    """Return what one DSP slice saves a kernel of one lane; nothing where none was measured."""
    with_dsp = {
        spec: rows_ for spec, rows_ in groups.items() if any(r.counts["dsp"] for r in rows_)
    }
    if not with_dsp:
        return ""
    text = "## One DSP slice\n\n| format | accumulator | without | with one DSP48E2 | saved |\n"
    lines = [_dsp_line(spec, measured) for spec, measured in with_dsp.items()]
    return text + "|---|---|---|---|---|\n" + "\n".join(lines) + "\n\n"


def page(found: Iterable[Row] | None = None, plain: Iterable[Baseline] | None = None) -> str:
    """Return the page for ``found`` rows and ``plain`` RTL, by default the committed ones."""
    groups = _group(rows() if found is None else found)
    plain_rows = list(baselines() if plain is None else plain)
    flows = sorted({row.flow for measured in groups.values() for row in measured})
    text = HEAD.format(
        flow="\n    ".join(flows), headroom="the accumulator 8 bits wider than the sum over lanes"
    )
    for lanes in sorted({spec.lanes for spec in groups}):
        columns = ["format", "accumulator", "ours", "at most"]
        columns += ["with drain"] if lanes == 1 else []
        columns += ["result every beat", "plain RTL", "textbook", "plain / ours"]
        columns += ["MX-for-FPGA", "product, at least"] if lanes == 1 else []
        text += "## One lane\n\n" if lanes == 1 else f"## {lanes} lanes, for each lane\n\n"
        text += "| " + " | ".join(columns) + " |\n|" + "---|" * len(columns) + "\n"
        lines = [_line(s, m, plain_rows) for s, m in groups.items() if s.lanes == lanes]
        text += "\n".join(lines) + "\n\n"
    return text + _dsp_table(groups) + NOTES


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page to the file named by the first argument."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    atomic.write_text(Path(given[0] if given else "docs/kernels/benchmark.md"), page())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
