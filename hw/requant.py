# SPDX-License-Identifier: Apache-2.0
"""Write a requantizer: wrapper, blocks and manifest, from a `hwquant.requant.Requantizer`.

``round`` (`RoundPack`), ``mulshift`` (`MultiplyShift`), ``search`` and ``parallel`` (`Thresholds`:
binary search, or all comparators at once) all have the same ports::

    clk_i rst_i en_i valid_i chan_i acc_i -> valid_o code_o
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from hwquant.errors import InputError, SpecError
from hwquant.fixed import Fixed, signed_bits
from hwquant.formats import Integer, Minifloat
from hwquant.requant import MultiplyShift, Requantizer, RoundPack, Thresholds

from .bundle import SpecBundle
from .library import source_text
from .manifest import format_facts
from .style import Constant, Parameter
from .wrapper import (
    checked_name,
    instance,
    interface,
    module,
    name_part,
    recorded,
    write_folder,
)

__all__ = [
    "RequantBundle",
    "generate_requant",
    "requant_from_json",
    "requant_latency",
    "requant_name",
    "requant_parameters",
    "requant_sources",
    "requant_style",
    "requant_text",
    "requant_to_json",
]

_ROUND: Final = (
    "hq_rom.sv", "hq_add.sv", "hq_bias.sv", "hq_shift.sv", "hq_clamp.sv", "hq_clip.sv",
    "hq_norm.sv", "hq_pack.sv", "hq_round.sv",
)  # fmt: skip
_SOURCES: Final = {
    "round": _ROUND,
    "mulshift": (*_ROUND, "hq_mul.sv", "hq_mulshift.sv"),
    "search": ("hq_rom.sv", "hq_thr_step.sv", "hq_thr.sv"),
    "parallel": ("hq_rom.sv", "hq_thr_step.sv", "hq_thr.sv"),
}
_TOPS: Final = {
    "round": "hq_round",
    "mulshift": "hq_mulshift",
    "search": "hq_thr",
    "parallel": "hq_thr",
}
_WORTH_SPLITTING: Final = 3  # bits that the adder must lose, see hq_bias.sv
_WORTH_CLIPPING: Final = 4  # bits above the code, see hq_clip.sv
_FEW: Final = 3  # thresholds a channel, up to which comparing with all is the smaller way
_FEW_CONSTANT: Final = 31  # the same where they are constants, with one channel


def requant_style(spec: Requantizer) -> str:
    """Return the architecture that ``auto`` picks: ``round``, ``mulshift``, ``search``, ..."""
    if isinstance(spec, RoundPack):
        return "round"
    if isinstance(spec, MultiplyShift):
        return "mulshift"
    few = _FEW_CONSTANT if spec.channels == 1 else _FEW
    return "parallel" if len(spec.codes) - 1 <= few else "search"


def _style(spec: Requantizer, style: str) -> str:
    chosen = requant_style(spec) if style == "auto" else style
    allowed = ["search", "parallel"] if isinstance(spec, Thresholds) else [requant_style(spec)]
    if chosen not in allowed:
        raise SpecError(
            f"style {style!r} cannot do {type(spec).__name__}, allowed: auto, {', '.join(allowed)}"
        )
    return chosen


def _table(words: Iterable[int], width: int) -> Constant:
    """Return a table as one number, word 0 in the low bits."""
    mask, text = (1 << width) - 1, list(words)
    value = int("".join(f"{word & mask:0{width}b}" for word in reversed(text)), 2)
    return Constant(value, width * len(text))


def _output(spec: RoundPack) -> dict[str, int]:
    fmt = spec.fmt
    integer = isinstance(fmt, Integer)
    return {
        "Float": int(not integer),
        "Signed": int(fmt.signed),
        "Narrow": int(isinstance(fmt, Integer) and fmt.narrow),
        "Bits": fmt.bits,
        "ExpBits": 0 if isinstance(fmt, Integer) else fmt.exponent_bits,
        "MaxCode": 0 if isinstance(fmt, Integer) else fmt.max_magnitude_code,
    }


def _live_bits(fmt: Integer | Minifloat) -> int:
    """Return the bits above the rounding point that tell unsaturated magnitudes apart."""
    if isinstance(fmt, Integer):
        return fmt.bits - fmt.signed
    return fmt.mantissa_bits + ((1 << fmt.exponent_bits) - 1 if fmt.exponent_bits else 0)


def _clip(spec: RoundPack, bias: list[int]) -> dict[str, Parameter] | None:
    """Return the parameters of the biased sum by ``hq_clip``, None where that is not worth while.

    ``bias`` holds half a divisor.  A bias so large that every accumulator saturates at one end is
    made smaller.
    """
    fmt, shift = spec.fmt, spec.shift[0] + spec.frac
    if not isinstance(fmt, Integer) or fmt.narrow or len(set(spec.shift)) > 1:
        return None
    rails = Fixed(spec.acc_bits + spec.frac, 0)
    offset = 1 << fmt.bits - 1 + shift if fmt.signed else 0
    ways = []
    for upper in (0, 1):
        move = offset - upper * (1 << fmt.bits + shift)
        minus = [-b - move for b in bias]
        if upper:
            minus = [max(m, rails.min_int) for m in minus]
        else:
            minus = [min(m, rails.max_int) for m in minus]
        ways.append((signed_bits(min(minus), max(minus)), upper, minus))
    bits, upper, minus = min(ways)
    width = max(spec.acc_bits + spec.frac, bits)
    if width - shift - fmt.bits < _WORTH_CLIPPING:
        return None
    return {
        "Frac": spec.frac,
        "SumBits": width,
        "Split": 0,
        "Clip": 1,
        "Upper": upper,
        "Channels": spec.channels,
        "BiasBits": bits,
        "Minus": _table(minus, bits),
        "Shift": shift,
    }


def _sum(spec: RoundPack) -> dict[str, Parameter]:
    """Return the parameters of the biased sum; see ``hq_round.sv``."""
    frac, rails = spec.frac, Fixed(spec.acc_bits, 0)
    shifts = [s + frac for s in spec.shift] * (spec.channels // len(spec.shift))
    bias = [b << frac for b in spec.bias]
    if isinstance(spec.fmt, Integer):
        bias = [b + (1 << s - 1) for b, s in zip(bias, shifts, strict=True)]
    low, high = min(bias), max(bias)
    needed = signed_bits((rails.min_int << frac) + low, (rails.max_int << frac) + high)
    bias_bits = signed_bits(-high, -low)  # the table holds what is subtracted
    whole = max(needed, bias_bits, spec.acc_bits + frac, min(shifts) + 1)
    short = max(bias_bits, max(shifts) + _live_bits(spec.fmt) + 1)
    split = spec.acc_bits + frac >= short + _WORTH_SPLITTING
    clip = None if split else _clip(spec, bias)
    if clip is not None:
        return clip
    return {
        "Frac": frac,
        "SumBits": short if split else whole,
        "Split": int(split),
        "Channels": spec.channels,
        "BiasBits": bias_bits,
        "Minus": _table((-b for b in bias), bias_bits),
        "Shift": min(shifts),
    }


def _round(spec: RoundPack) -> dict[str, Parameter]:
    own = [s - min(spec.shift) for s in spec.shift]
    parameters: dict[str, Parameter] = {"AccBits": spec.acc_bits, **_sum(spec)}
    if any(own):
        width = max(own).bit_length()
        parameters |= {"ShiftBits": width, "ChannelShift": _table(own, width)}
    return parameters | _output(spec)


def _mulshift(spec: MultiplyShift) -> dict[str, Parameter]:
    rounding = spec.rounding
    mult = spec.mult * (spec.channels // len(spec.mult))
    return {
        "AccBits": spec.acc_bits,
        "MultBits": spec.mult_bits,
        "Mult": _table(mult, spec.mult_bits),
        **_sum(rounding),
        **_output(rounding),
    }


def _thr(spec: Thresholds, *, search: bool) -> dict[str, Parameter]:
    steps = (len(spec.codes) - 1).bit_length()
    missing = (1 << steps) - len(spec.codes)
    rails = Fixed(spec.acc_bits, 0)
    rows = []
    for channel, row in enumerate(spec.thresholds):
        # A falling channel counts from the end, so there the fill is always reached.
        if channel in spec.falling:
            rows.append([rails.min_int] * missing + list(row))
        else:
            rows.append([*row, *[rails.max_int + 1] * missing])
    width = signed_bits(min(map(min, rows)), max(map(max, rows)))
    if search:
        words = [
            row[((2 * index + 1) << steps - 1 - step) - 1]
            for step in range(steps)
            for row in rows
            for index in range(1 << step)
        ]
    else:
        words = [threshold for row in rows for threshold in row]
    codes = [*spec.codes, *[0] * missing]
    return {
        "AccBits": spec.acc_bits,
        "ThrBits": width,
        "Steps": steps,
        "Channels": spec.channels,
        "Search": int(search),
        "Thresholds": _table(words, width),
        "Falling": _table((int(c in spec.falling) for c in range(spec.channels)), 1),
        "Bits": spec.bits,
        "Codes": _table(codes, spec.bits),
    }


def requant_parameters(spec: Requantizer, style: str = "auto") -> Mapping[str, Parameter]:
    """Return the parameters of the requantizer's block, in declaration order."""
    chosen = _style(spec, style)
    if isinstance(spec, RoundPack):
        return _round(spec)
    if isinstance(spec, MultiplyShift):
        return _mulshift(spec)
    return _thr(spec, search=chosen == "search")


def requant_latency(spec: Requantizer, style: str = "auto") -> int:
    """Return the enabled cycles from an accumulator to its code."""
    chosen = _style(spec, style)
    if isinstance(spec, Thresholds):
        return (len(spec.codes) - 1).bit_length() + 2 if chosen == "search" else 3
    if isinstance(spec, MultiplyShift):
        return 2 + requant_latency(spec.rounding)
    return 3 + (not isinstance(spec.fmt, Integer)) + (len(set(spec.shift)) > 1)


def requant_sources(spec: Requantizer, style: str = "auto") -> dict[str, str]:
    """Return the blocks a requantizer is made of (file name to text), lower blocks first."""
    return {name: source_text(name) for name in _SOURCES[_style(spec, style)]}


def requant_name(spec: Requantizer) -> str:
    """Return the default name of a requantizer, a legal identifier.

    >>> requant_name(RoundPack("e2m1", 24, bias=(0, 5), shift=(8,)))
    'hq_round_e2m1_a24_c2'
    """
    if isinstance(spec, Thresholds):
        return f"hq_thr_l{len(spec.codes)}_a{spec.acc_bits}_c{spec.channels}"
    fmt = name_part(spec.fmt)
    return f"{_TOPS[requant_style(spec)]}_{fmt}_a{spec.acc_bits}_c{spec.channels}"


def _ports(spec: Requantizer) -> dict[str, int]:
    """Return port name -> vector width, 0 for a single bit."""
    bits = spec.bits if isinstance(spec, Thresholds) else spec.fmt.bits
    return {
        "clk_i": 0,
        "rst_i": 0,
        "en_i": 0,
        "valid_i": 0,
        "chan_i": max(1, (spec.channels - 1).bit_length()),
        "acc_i": spec.acc_bits,
        "valid_o": 0,
        "code_o": bits,
    }


def requant_text(spec: Requantizer, name: str | None = None, style: str = "auto") -> str:
    """Return the wrapper module of a requantizer.

    Raises `SpecError` for a name that is not a legal identifier, or a style that cannot do it.
    """
    top = checked_name(requant_name(spec) if name is None else name)
    block, ports = _TOPS[_style(spec, style)], _ports(spec)
    body = instance(block, requant_parameters(spec, style), tuple(ports))
    comment = f"Requantizer: see {block} for the function and timing."
    return module(comment, requant_to_json(spec), top, ports, body)


def requant_to_json(spec: Requantizer) -> dict[str, Any]:
    """Return ``spec`` as JSON-able data; `requant_from_json` reads it back."""
    record: dict[str, Any] = {"requantizer": type(spec).__name__, "acc_bits": spec.acc_bits}
    if isinstance(spec, Thresholds):
        return record | {
            "codes": list(spec.codes),
            "thresholds": [list(row) for row in spec.thresholds],
            "falling": sorted(spec.falling),
        }
    record |= {"fmt": str(spec.fmt), "bias": list(spec.bias)}
    if isinstance(spec, MultiplyShift):
        return record | {"mult": list(spec.mult), "shift": spec.shift}
    return record | {"shift": list(spec.shift)}


def requant_from_json(record: Any) -> Requantizer:
    """Rebuild a requantizer from `requant_to_json`.

    Raises `InputError` for missing keys and wrong types, `SpecError` for impossible values.
    """
    try:
        kind, acc_bits = record["requantizer"], record["acc_bits"]
        if kind == "RoundPack":
            return RoundPack(record["fmt"], acc_bits, record["bias"], record["shift"])
        if kind == "MultiplyShift":
            return MultiplyShift(
                record["fmt"], acc_bits, record["mult"], record["bias"], record["shift"]
            )
        if kind == "Thresholds":
            rows = tuple(tuple(row) for row in record["thresholds"])
            return Thresholds(tuple(record["codes"]), rows, acc_bits, frozenset(record["falling"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"requantizer record is damaged: {error!r}") from error
    raise InputError(f"requantizer {kind!r}, allowed: RoundPack, MultiplyShift, Thresholds")


class RequantBundle(SpecBundle[Requantizer]):
    """A generated requantizer on disk."""

    @staticmethod
    def read_spec(record: Any) -> Requantizer:
        """Rebuild the spec from the manifest's."""
        return requant_from_json(record)


def generate_requant(
    spec: Requantizer, out: str | Path, *, name: str | None = None, style: str = "auto"
) -> RequantBundle:
    """Write the requantizer ``spec`` into folder ``out`` and return it.

    The folder has the form of a kernel's (`hw.generate.generate`).
    Raises `SpecError` for an illegal name or style, `InputError` when ``out`` cannot be written
    or holds something else.
    """
    top = requant_name(spec) if name is None else name
    texts = requant_sources(spec, style)
    texts[f"{top}.sv"] = requant_text(spec, top, style)
    record = {
        "style": _style(spec, style),
        "spec": requant_to_json(spec),
        "formats": {} if isinstance(spec, Thresholds) else {"output": format_facts(spec.fmt)},
        "interface": interface(requant_latency(spec, style), 1, _ports(spec)),
        "parameters": recorded(requant_parameters(spec, style)),
    }
    write_folder(out, top, "Exact requantizer generated by hwquant", record, texts)
    return RequantBundle.load(out)
