# SPDX-License-Identifier: Apache-2.0
"""Write a block-dot kernel: an integer kernel for the sum inside a block, and the window behind it.

The block's sum comes from any style with a result every beat (`hw.styles`), at its exact width;
``hq_block_seq`` follows the blocks and their scales beside it, ``hq_block_acc`` adds the scaled
sums in the window.  Ports::

    clk_i rst_i en_i valid_i clear_i last_i weight_i weight_scale_i act_i act_scale_i
    -> valid_o acc_o      once per block

``clear_i`` comes with the first beat of a dot product, ``last_i`` with the last of each block; the
scales are taken with ``last_i``.  Lanes without data carry code 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from hwquant.block import ScaleFormat
from hwquant.block_mac import BlockMacSpec, Rounding
from hwquant.errors import InputError, SpecError
from hwquant.mac import Overflow

from .bundle import SpecBundle
from .catalogue import Choice, style_name
from .library import source_text
from .manifest import MANIFEST, format_facts, read_record
from .style import Parameter, Style
from .styles import fitting, style_of
from .unit_catalogue import UnitRow, current_rows, price_of
from .wrapper import checked_name, instance, interface, module, recorded, write_folder

__all__ = [
    "BLOCK_SOURCES",
    "BlockBundle",
    "block_from_json",
    "block_kernel_name",
    "block_kernel_text",
    "block_latency",
    "block_sources",
    "block_style",
    "block_to_json",
    "generate_block",
    "is_block_folder",
]

BLOCK_SOURCES: Final = (
    "hq_add.sv",
    "hq_acc.sv",
    "hq_block_scale.sv",
    "hq_block_seq.sv",
    "hq_block_acc.sv",
)
_STAGES: Final = 3  # of hq_block_acc
_KIND: Final = "block"


def block_to_json(spec: BlockMacSpec) -> dict[str, Any]:
    """Return ``spec`` as JSON-able data; `block_from_json` reads it back."""
    return {
        "kind": _KIND,
        "weight": str(spec.weight),
        "act": str(spec.act),
        "lanes": spec.lanes,
        "length": spec.length,
        "window": list(spec.bounds),
        "rounding": spec.rounding.value,
        "overflow": spec.overflow.value,
    }


def block_from_json(record: Any) -> BlockMacSpec:
    """Rebuild a spec from `block_to_json`.

    Raises `InputError` for missing keys and wrong types, `SpecError` for impossible values.
    """
    try:
        if record["kind"] != _KIND:
            raise InputError(f"kernel spec of kind {record['kind']!r}, needed {_KIND!r}")
        msb, lsb = record["window"]
        return BlockMacSpec(
            record["weight"],
            record["act"],
            record["lanes"],
            record["length"],
            (msb, lsb),
            record["rounding"],
            record["overflow"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"block kernel spec is damaged: {error!r}") from error


def block_style(name: str, spec: BlockMacSpec) -> tuple[Style, str]:
    """Return the style of the sum inside a block, and why.

    ``auto`` takes the smallest block kernel that was measured for the pair (`hw.unit_catalogue`),
    and for a pair that was not the style of the smallest integer kernel with a result every beat.

    Raises `SpecError` for a style with one result per dot product, one that cannot do the elements,
    or rounding ``exact`` in a window that can lose bits.
    """
    if spec.rounding is Rounding.EXACT and not spec.lossless:
        least = spec.scale_exps[0] + spec.unit_exp
        raise SpecError(
            f"window {spec.bounds[0]}:{spec.bounds[1]} can lose bits and the rounding is exact; "
            f"allowed: an lsb of {least} or less, or rounding nearest or floor"
        )
    known = _measured(spec) if name in ("auto", "auto-beat") else None
    choice = known or style_name("auto-beat" if name == "auto" else name, spec.element)
    style = style_of(choice.style, spec.element)
    if style.timing is not None:
        raise SpecError(f"style {style.name} has one result per dot product, needed one per beat")
    return style, choice.why


def _measured(spec: BlockMacSpec) -> Choice | None:
    """Return the smallest block kernel measured for the pair, nearest in lanes, then window."""
    able = {style.name for style in fitting(spec.element) if style.timing is None}
    pair, (msb, lsb) = (str(spec.weight), str(spec.act)), spec.bounds
    near = [
        ((abs(record["lanes"] - spec.lanes), abs(bits - (msb - lsb))), row)
        for record, row in _rows()
        for bits in [record["window"][0] - record["window"][1]]
        if (record["weight"], record["act"]) == pair and row.style in able
    ]
    if not near:
        return None
    least = min(distance for distance, _ in near)
    same = sorted((row for distance, row in near if distance == least), key=lambda row: row.luts)
    where = (
        "this kernel" if not any(least) else f"the nearest block kernel measured ({same[0].name})"
    )
    others = "".join(f"; {row.style} {row.luts}" for row in same[1:]) or "; no other verified"
    return Choice(same[0].style, f"{same[0].luts} LUTs for {where}{others}")


@cache
def _rows() -> tuple[tuple[Any, UnitRow], ...]:
    return current_rows(
        "block",
        lambda record, style: tuple(block_sources(block_from_json(record), style)),
    )


def block_latency(spec: BlockMacSpec, style: str = "plain") -> int:
    """Return the enabled cycles from a block's last beat to its result."""
    return block_style(style, spec)[0].latency(spec.element) + _STAGES


def block_kernel_name(spec: BlockMacSpec) -> str:
    """Return the default name of a kernel, a legal identifier.

    >>> block_kernel_name(BlockMacSpec("mxfp4", "mxint8", lanes=8, window=(15, -16)))
    'hq_block_mxfp4_mxint8_l8_15_n16_nearest_wrap'
    """
    msb, lsb = (str(bound).replace("-", "n") for bound in spec.bounds)
    return (
        f"hq_block_{spec.weight}_{spec.act}_l{spec.lanes}_{msb}_{lsb}_"
        f"{spec.rounding.value}_{spec.overflow.value}"
    )


def _scale(spec: BlockMacSpec) -> dict[str, int]:
    e4m3 = spec.weight.scale is ScaleFormat.E4M3
    return {"ExpBits": 5 if e4m3 else 9, "SigBits": 8 if e4m3 else 1}


def accumulate_parameters(spec: BlockMacSpec) -> Mapping[str, Parameter]:
    """Return the parameters of ``hq_block_acc``, in declaration order."""
    scale, width = _scale(spec), spec.accumulator.width
    sum_bits = spec.element.accumulator.width
    product = sum_bits + (scale["SigBits"] if scale["SigBits"] > 1 else 0)
    low, high = spec.scale_exps
    least = low + spec.unit_exp - spec.bounds[1]  # the shift of the smallest scales
    guard = min(max(-least, 0), product + 1)
    left = min(max(least + high - low + guard, guard), guard + width + 1)
    return {
        "SumBits": sum_bits,
        "SigBits": scale["SigBits"],
        "ExpBits": scale["ExpBits"],
        "Offset": least + guard,
        "Guard": guard,
        "Left": left,
        "Nearest": int(spec.rounding is Rounding.NEAREST),
        "AccBits": width,
        "Saturate": int(spec.overflow is Overflow.SATURATE),
    }


def _sequence_parameters(spec: BlockMacSpec, style: Style) -> Mapping[str, Parameter]:
    e4m3 = int(spec.weight.scale is ScaleFormat.E4M3)
    return {"Latency": style.latency(spec.element), "E4m3": e4m3, **_scale(spec)}


def _ports(spec: BlockMacSpec) -> dict[str, int]:
    """Return port name -> vector width, 0 for a single bit."""
    return {
        "clk_i": 0,
        "rst_i": 0,
        "en_i": 0,
        "valid_i": 0,
        "clear_i": 0,
        "last_i": 0,
        "weight_i": spec.lanes * spec.weight.element.bits,
        "weight_scale_i": 8,
        "act_i": spec.lanes * spec.act.element.bits,
        "act_scale_i": 8,
        "valid_o": 0,
        "acc_o": spec.accumulator.width,
    }


def _named(block: str, values: Mapping[str, Parameter], wires: Mapping[str, str]) -> str:
    """Return an instance of ``block`` with ``wires`` (port -> signal)."""
    text = instance(block, values, tuple(wires))
    for port, signal in wires.items():
        text = text.replace(f".{port}({port})", f".{port}({signal})")
    return text


def block_kernel_text(spec: BlockMacSpec, name: str | None = None, style: str = "plain") -> str:
    """Return the wrapper module of a block-dot kernel: three instances.

    Raises `SpecError` for a name that is not a legal identifier, or a style that cannot do it.
    """
    top = checked_name(block_kernel_name(spec) if name is None else name)
    chosen, _ = block_style(style, spec)
    scale = _scale(spec)
    sum_bits = spec.element.accumulator.width
    control = {port: port for port in ("clk_i", "rst_i", "en_i")}
    wires = f"""  logic block_clear;
  logic block_valid;
  logic [{sum_bits - 1}:0] block_sum;
  logic take;
  logic first;
  logic [{scale["ExpBits"] - 1}:0] exponent;
  logic [{scale["SigBits"] - 1}:0] significand;
  logic unused_valid;

  assign unused_valid = block_valid;

"""
    body = wires + "\n".join(
        (
            _named(
                "hq_block_seq",
                _sequence_parameters(spec, chosen),
                control
                | {p: p for p in ("valid_i", "clear_i", "last_i", "weight_scale_i", "act_scale_i")}
                | {"clear_o": "block_clear", "take_o": "take", "first_o": "first"}
                | {"exp_o": "exponent", "sig_o": "significand"},
            ),
            _named(
                chosen.top,
                chosen.parameters(spec.element),
                control
                | {"valid_i": "valid_i", "clear_i": "block_clear"}
                | {"weight_i": "weight_i", "act_i": "act_i"}
                | {"valid_o": "block_valid", "acc_o": "block_sum"},
            ),
            _named(
                "hq_block_acc",
                accumulate_parameters(spec),
                control
                | {"take_i": "take", "first_i": "first", "sum_i": "block_sum"}
                | {"exp_i": "exponent", "sig_i": "significand"}
                | {"valid_o": "valid_o", "acc_o": "acc_o"},
            ),
        )
    )
    comment = (
        f"Block-dot kernel {spec.weight} x {spec.act}: see hq_block_acc for the function, "
        f"{chosen.top} for the sum inside a block."
    )
    return module(comment, block_to_json(spec), top, _ports(spec), body)


def block_sources(spec: BlockMacSpec, style: str = "plain") -> dict[str, str]:
    """Return the blocks a kernel is made of (file name to text), lower blocks first."""
    chosen, _ = block_style(style, spec)
    names = dict.fromkeys((*chosen.sources, *BLOCK_SOURCES))
    return {name: source_text(name) for name in names}


class BlockBundle(SpecBundle[BlockMacSpec]):
    """A generated block-dot kernel on disk."""

    @staticmethod
    def read_spec(record: Any) -> BlockMacSpec:
        """Rebuild the spec from the manifest's."""
        return block_from_json(record)


def generate_block(
    spec: BlockMacSpec, out: str | Path, *, name: str | None = None, style: str = "plain"
) -> BlockBundle:
    """Write the kernel of ``spec`` into folder ``out`` and return it.

    The folder has the form of an integer kernel's (`hw.generate.generate`).
    Raises `SpecError` for an illegal name or style, `InputError` when ``out`` cannot be written
    or holds something else.
    """
    chosen, why = block_style(style, spec)
    top = block_kernel_name(spec) if name is None else name
    texts = block_sources(spec, chosen.name)
    texts[f"{top}.sv"] = block_kernel_text(spec, top, chosen.name)
    latency = block_latency(spec, chosen.name)
    record: dict[str, Any] = {
        "style": chosen.name,
        "style_why": why,
        "spec": block_to_json(spec),
        "formats": {
            side: format_facts(fmt.element)
            | {"name": str(fmt), "block": fmt.block, "scale": fmt.scale.value}
            for side, fmt in (("weight", spec.weight), ("act", spec.act))
        },
        "accumulator": {
            "width": spec.accumulator.width,
            "frac": spec.accumulator.frac,
            "block_sum_bits": spec.element.accumulator.width,
            "lossless": spec.lossless,
        },
        "interface": interface(latency, 1, _ports(spec))
        | {"result": "once per block: last_i with its last beat, scales with it"},
        "parameters": recorded(accumulate_parameters(spec)),
    }
    measured = price_of(
        "block", block_kernel_name(spec), chosen.name, tuple(block_sources(spec, chosen.name))
    )
    if measured is not None:
        record["interface"] |= measured.timing.to_json()
        record |= measured.price()
    write_folder(out, top, "Block-dot kernel generated by hwquant", record, texts)
    return BlockBundle.load(out)


def is_block_folder(folder: Path) -> bool:
    """Return whether ``folder`` holds a block-dot kernel of ``hwquant rtl``."""
    if not (folder / MANIFEST).is_file():
        return False
    spec = read_record(folder / MANIFEST).get("spec")
    return isinstance(spec, dict) and spec.get("kind") == "block"
