# SPDX-License-Identifier: Apache-2.0
"""Styles ``bucket*``: products are added to the bucket of their exponent, in distributed RAM.

The result comes once per dot product, when the buckets are drained.  See ``hq_bucket_mac`` for
the function and ``docs/kernels/bucket.md`` for the architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hw.library import source_text
from hw.style import Style, Timing, refuse_codebooks
from hw.wrapper import instance, module
from hwquant.fixed import signed_bits
from hwquant.formats import Format, Minifloat
from hwquant.mac import MacSpec, Overflow

from .booth import LEAST, row_sites
from .plain import operand

__all__ = ["CORE", "FAST", "PORTABLE", "STYLE", "UNIT", "Plan", "part_sources", "plan"]

SOURCES: Final = (
    "hq_decode.sv",
    "hq_mul.sv",
    "hq_add.sv",
    "hq_chain.sv",
    "hq_lut.sv",
    "hq_lut_pair.sv",
    "hq_booth_row.sv",
    "hq_booth_first.sv",
    "hq_booth.sv",
    "hq_bucket_decode.sv",
    "hq_bucket_mul.sv",
    "hq_bucket_ram.sv",
    "hq_bucket.sv",
    "hq_drain.sv",
    "hq_bucket_mac.sv",
)
PRIMITIVES: Final = ("LUT6_2", "CARRY8", "RAM32M16", "RAM32M", "RAM32X1S", "RAM64X1S")
MAX_ADDRESS: Final = 6  # 64 words: the deepest RAM of one LUT per bit
MAX_WINDOW: Final = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How the buckets of a spec lie.

    ``window`` is log2 of the exponents that share a bucket; ``first`` .. ``last`` are the buckets'
    addresses of ``addr_bits``; ``bucket_bits`` holds every sum of the spec's length; ``steps`` are
    the drain steps; ``drop`` bits of the result lie below its unit.
    """

    window: int
    first: int
    last: int
    addr_bits: int
    bucket_bits: int
    steps: int
    drop: int
    lanes: int

    @property
    def buckets(self) -> int:
        """Number of buckets."""
        return self.last - self.first + 1

    @property
    def clears(self) -> int:
        """Words to clear: the buckets, and with more than one lane an empty word."""
        return self.buckets + (self.lanes > 1)

    @property
    def timing(self) -> Timing:
        """Cycles of the handshake."""
        return Timing(
            latency=self.steps + 3 + (self.lanes > 1),
            gap=self.steps + self.clears + 2,
            abort=self.clears + 2,
        )


def _exponents(fmt: Format) -> int:
    """Return the number of exponents of a format that shift; 0 where there is but one."""
    if not isinstance(fmt, Minifloat) or fmt.exponent_bits < 2:
        return 0
    return (1 << fmt.exponent_bits) - 1


def _significands(fmt: Format) -> tuple[int, int]:
    """Return the least and greatest signed significand."""
    if not isinstance(fmt, Minifloat):
        return (-(1 << fmt.bits - 1), (1 << fmt.bits - 1) - 1) if fmt.signed else (0, fmt.max_int)
    top = (1 << fmt.mantissa_bits + (fmt.exponent_bits > 0)) - 1
    return (-top if fmt.signed else 0), top


def plan(spec: MacSpec, window: int) -> Plan:
    """Return how the buckets of ``spec`` lie when ``2**window`` exponents share one."""
    counts = [count for count in map(_exponents, (spec.weight, spec.act)) if count]
    offset, largest = len(counts), sum(counts)
    digit = 1 << window
    first, last = 0 if _fields(spec, window) else offset >> window, largest >> window
    drop = offset - (first << window)
    addr_bits = max(last.bit_length(), 1)
    ends = [w * a for w in _significands(spec.weight) for a in _significands(spec.act)]
    reach = spec.beats << digit - 1
    bucket_bits = signed_bits(min(*ends, 0) * reach, max(*ends, 0) * reach)
    if spec.accumulator.width + drop < bucket_bits:  # the rest is never seen
        bucket_bits = max(spec.accumulator.width + drop, _product_bits(spec) + digit)
    steps = last - first + 1
    if spec.lanes > 1:
        steps = max(steps, -(-(spec.accumulator.width + drop) // digit))
        if steps > last - first + 1 and first == 0 and last + 1 == 1 << addr_bits:
            addr_bits += 1  # the word read after the last bucket is one of its own
    return Plan(window, first, last, addr_bits, bucket_bits, steps, drop, spec.lanes)


def _fields(spec: MacSpec, window: int) -> bool:
    """Return whether the exponent fields are added as they are (``hq_bucket``, Fields).

    Two powers of two whose exponents one LUT can read: it tells zero, and no field needs the
    least exponent of subnormals.
    """
    total = 0
    for fmt in (spec.weight, spec.act):
        if not _exponents(fmt) or not isinstance(fmt, Minifloat) or fmt.mantissa_bits:
            return False
        total += fmt.exponent_bits
    return window == 0 and total <= 6


def _recode_act(spec: MacSpec) -> bool:
    """Return whether Booth rows recode the activation's significand; the smaller way."""
    shapes = [
        (_width(fmt), fmt.signed and not fmt.sign_magnitude) for fmt in (spec.weight, spec.act)
    ]
    (weight, weight_signed), (act, act_signed) = shapes
    if min(weight, act) < LEAST:
        return False
    return row_sites(act, weight, signed=act_signed, value_signed=weight_signed) < row_sites(
        weight, act, signed=weight_signed, value_signed=act_signed
    )


def _width(fmt: Format) -> int:
    """Return the width of a significand in the RTL."""
    if not isinstance(fmt, Minifloat):
        return fmt.bits
    return fmt.mantissa_bits + (fmt.exponent_bits > 0)


def _product_bits(spec: MacSpec) -> int:
    """Return the width of the significands' product in the RTL."""
    return _width(spec.weight) + _width(spec.act)


def _ram_luts(depth_bits: int, width: int) -> int:
    """Return the LUTs of single-port distributed RAM, as ``hq_bucket_ram`` builds it."""
    if depth_bits > 5:
        return width
    rest = width % 16
    return 8 * (width // 16) + min(8, rest if rest <= 4 else 4 + max(0, rest - 8))


def _price(spec: MacSpec, window: int) -> tuple[int, int]:
    """Return what depends on the window: LUTs, then drain steps (both: less is better)."""
    made = plan(spec, window)
    product = _product_bits(spec)
    before = (product + 1) // 2 if window == 2 and product > 2 else 0
    return made.bucket_bits + _ram_luts(made.addr_bits, made.bucket_bits) + before, made.steps


def _windows(spec: MacSpec) -> list[int]:
    return [w for w in range(MAX_WINDOW + 1) if plan(spec, w).addr_bits <= MAX_ADDRESS]


def _smallest(spec: MacSpec) -> int:
    return min(_windows(spec), key=lambda window: _price(spec, window))


def _fastest(spec: MacSpec) -> int:
    """Return the window after the smallest's: the drain takes half as long."""
    return min(_smallest(spec) + 1, MAX_WINDOW)


def refuse(spec: MacSpec) -> str | None:
    """Return why no bucket kernel does ``spec``, None where one does."""
    if (reason := refuse_codebooks(spec)) is not None:
        return reason
    if not (_exponents(spec.weight) or _exponents(spec.act)):
        return "neither operand has two exponent bits or more, so every product has one bucket"
    if spec.overflow is Overflow.SATURATE:
        return "a sum over buckets has no order in which to saturate; use overflow wrap"
    return None


def _parameters(spec: MacSpec, window: int, *, primitive: bool) -> dict[str, int]:
    """Return the parameters of block ``hq_bucket_mac``, in declaration order."""
    made = plan(spec, window)
    return {
        "Primitive": int(primitive),
        "Lanes": spec.lanes,
        **operand("Weight", spec.weight),
        **operand("Act", spec.act),
        "RecodeAct": int(_recode_act(spec)),
        "Window": made.window,
        "AddrBits": made.addr_bits,
        "First": made.first,
        "Last": made.last,
        "Steps": made.steps,
        "BucketBits": made.bucket_bits,
        "Drop": made.drop,
        "AccBits": spec.accumulator.width,
    }


def _style(name: str, window: Callable[[MacSpec], int], *, primitive: bool) -> Style:
    return Style(
        name=name,
        top="hq_bucket_mac",
        sources=SOURCES,
        latency_cycles=0,
        parameters=lambda spec: _parameters(spec, window(spec), primitive=primitive),
        refuse=refuse,
        primitives=PRIMITIVES if primitive else (),
        timing=lambda spec: plan(spec, window(spec)).timing,
    )


STYLE: Final = _style("bucket", _smallest, primitive=True)
FAST: Final = _style("bucket_fast", _fastest, primitive=True)
PORTABLE: Final = _style("bucket_portable", _smallest, primitive=False)

STYLES_HERE: Final = {style.name: style for style in (STYLE, FAST, PORTABLE)}


CORE: Final = "hq_bucket"
UNIT: Final = "hq_drain"
_UNIT_PARAMETERS: Final = ("AddrBits", "First", "Last", "Steps")
_NOT_CORE: Final = ("Lanes", "First", "Last", "Steps", "Drop", "AccBits")


def part_sources(spec: MacSpec, style: str, part: str) -> dict[str, str]:
    """Return the files of one part of a bucket kernel alone, with top module ``part_top``.

    ``part`` is `CORE`, one lane (adder, buckets, product), or `UNIT`, the sequencer that any number
    of lanes and of kernels in step can share.  The drain's data path is the core's own adder.
    """
    values = STYLES_HERE[style].parameters(spec)
    addr, digit = int(str(values["AddrBits"])), 1 << int(str(values["Window"]))
    if part == UNIT:
        bits = (
            "clk_i rst_i en_i valid_i clear_i last_i ready_o drop_o clear_o set_o shift_o drain_o"
        )
        ports = dict.fromkeys([*bits.split(), "valid_o"], 0) | {"addr_o": addr}
        chosen = {name: values[name] for name in _UNIT_PARAMETERS}
    else:
        bits = "clk_i en_i drop_i write_i clear_i set_i shift_i"
        ports = dict.fromkeys(bits.split(), 0) | {
            "addr_i": addr,
            "weight_i": spec.weight.bits,
            "act_i": spec.act.bits,
            "digit_o": digit,
            "top_o": int(str(values["BucketBits"])),
        }
        chosen = {name: value for name, value in values.items() if name not in _NOT_CORE}
    body = instance(part, chosen, tuple(ports))
    text = module(f"{part} alone, to be counted.", {"part": part}, "part_top", ports, body)
    return {name: source_text(name) for name in SOURCES[:-1]} | {"part_top.sv": text}
