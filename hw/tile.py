# SPDX-License-Identifier: Apache-2.0
"""Tiles: ``weights`` x ``acts`` multiply-accumulates whose products come from one DSP slice.

A packed multiplication is an outer product, so its kernel is an output-stationary tile: every beat
takes a few weights and a few activations and adds each product to an accumulator of its own.
Ports::

    clk_i rst_i en_i valid_i clear_i weight_i[weights] act_i[acts] -> valid_o acc_o[weights][acts]

The reference of place (i, j) is `hwquant.mac.MacSpec.accumulate` on weight i and activation j.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hwquant.errors import InputError, SpecError
from hwquant.formats import Format, Integer, Minifloat
from hwquant.mac import MacSpec

from .bundle import SpecBundle
from .library import source_text
from .manifest import MANIFEST, format_facts, read_record
from .packing import Layout, Range, multiplicand, pack
from .style import Constant, Parameter
from .styles.plain import operand
from .styles.table import ACCUMULATOR_SOURCES
from .unit_catalogue import price_of
from .wrapper import checked_name, instance, interface, module, recorded, write_folder

__all__ = [
    "TILE_PRIMITIVES",
    "TILE_SOURCES",
    "TileBundle",
    "TileSpec",
    "generate_tile",
    "is_tile_folder",
    "tile_from_json",
    "tile_latency",
    "tile_layout",
    "tile_name",
    "tile_parameters",
    "tile_text",
    "tile_to_json",
]

TILE_SOURCES: Final = (
    "hq_decode.sv",
    *ACCUMULATOR_SOURCES,
    "hq_mux_shift.sv",
    "hq_tree_shift.sv",
    "hq_delay.sv",
    "hq_dsp_mul.sv",
    "hq_dsp_tile.sv",
)
TILE_PRIMITIVES: Final = ("LUT6_2", "CARRY8", "DSP48E2")
ADDERS: Final = ("lut", "dsp")


@dataclass(frozen=True, slots=True)
class TileSpec:
    """A tile: formats, ``length`` products between two clears, accumulators of ``acc`` bits.

    ``adder`` says where sums are made: ``"lut"``, an accumulator in LUTs for each product, or
    ``"dsp"``, in the slice itself, whose fields then hold whole sums (integers of few bits).
    ``weights`` and ``acts`` are operands of a beat, None for the most products.

    Raises `SpecError` for what a slice cannot do.
    """

    weight: Format
    act: Format
    length: int = 256
    acc: int | None = None
    adder: str = "lut"
    weights: int | None = None
    acts: int | None = None

    def __post_init__(self) -> None:
        for fmt in (self.weight, self.act):
            if not isinstance(fmt, Integer | Minifloat):
                raise SpecError(f"tile of {fmt}, allowed: integers and minifloats")
        if self.adder not in ADDERS:
            raise SpecError(f"tile adder {self.adder!r}, allowed: {', '.join(ADDERS)}")
        layout, width = tile_layout(self), self.mac.accumulator.width
        if self.adder == "dsp":
            if not (isinstance(self.weight, Integer) and isinstance(self.act, Integer)):
                raise SpecError("tile adder 'dsp', allowed for integers; take 'lut'")
            if width > layout.stride:
                raise SpecError(
                    f"tile accumulators of {width} bits, fields have {layout.stride}; "
                    "take adder 'lut' or fewer operands"
                )
        elif width < _product_bits(self):
            raise SpecError(
                f"tile accumulators of {width} bits, allowed from {_product_bits(self)}"
            )

    @property
    def mac(self) -> MacSpec:
        """The multiply-accumulate of every place."""
        acc = "auto" if self.acc is None else self.acc
        return MacSpec(self.weight, self.act, 1, self.length, acc)  # type: ignore[arg-type]


def tile_layout(spec: TileSpec) -> Layout:
    """Return how the tile's operands are packed.

    >>> from hwquant.formats import parse
    >>> layout = tile_layout(TileSpec(parse("int4"), parse("int4")))
    >>> layout.weights, layout.acts, layout.stride
    (2, 2, 11)
    """
    terms = spec.length if spec.adder == "dsp" else 1
    return pack(
        multiplicand(spec.weight),
        multiplicand(spec.act),
        terms=terms,
        weights=spec.weights,
        acts=spec.acts,
    )


def _shift(fmt: Format) -> int:
    return (1 << fmt.exponent_bits) - 2 if isinstance(fmt, Minifloat) and fmt.exponent_bits else 0


def _significand_bits(spec: TileSpec) -> int:
    """Return the width of a field that holds one product: unsigned where no operand is negative."""
    product = tile_layout(spec).product
    return product.bits if product.low < 0 else max(product.high.bit_length(), 1)


def _product_bits(spec: TileSpec) -> int:
    shifts = sum(max(_shift(fmt), 0) for fmt in (spec.weight, spec.act))
    return _significand_bits(spec) + shifts


def _bias(layout: Layout) -> int:
    if not layout.signed:
        return 0
    return sum(1 << (k + 1) * layout.stride - 1 for k in range(layout.count - 1))


def _decodes(spec: TileSpec) -> bool:
    return any(isinstance(f, Minifloat) and f.exponent_bits > 1 for f in (spec.weight, spec.act))


def tile_latency(spec: TileSpec) -> int:
    """Return the enabled cycles from a beat to its results."""
    layout = tile_layout(spec)
    wide, many = (
        (multiplicand(spec.weight), layout.weights)
        if layout.weights_wide
        else (multiplicand(spec.act), layout.acts)
    )
    stages = 2 if wide.low < 0 and many > 1 else 1
    return stages + 2 + _decodes(spec) + (spec.adder == "lut")


def tile_parameters(spec: TileSpec, *, primitive: bool = True) -> Mapping[str, Parameter]:
    """Return the parameters of block ``hq_dsp_tile``, in declaration order."""
    layout = tile_layout(spec)
    return {
        "Primitive": int(primitive),
        "Weights": layout.weights,
        "Acts": layout.acts,
        **operand("Weight", spec.weight),
        **operand("Act", spec.act),
        "WeightsWide": int(layout.weights_wide),
        "Stride": layout.stride,
        "WeightStep": layout.weight_step,
        "ActStep": layout.act_step,
        "Bias": Constant(_bias(layout), 48),
        "SigBits": _significand_bits(spec),
        "ProductBits": _product_bits(spec),
        "Decode": int(_decodes(spec)),
        "InDsp": int(spec.adder == "dsp"),
        "AccBits": spec.mac.accumulator.width,
    }


def tile_to_json(spec: TileSpec) -> dict[str, Any]:
    """Return ``spec`` as JSON-able data; `tile_from_json` reads it back."""
    return {
        "tile": True,
        "weight": str(spec.weight),
        "act": str(spec.act),
        "length": spec.length,
        "acc": spec.acc,
        "adder": spec.adder,
        "weights": spec.weights,
        "acts": spec.acts,
    }


def tile_from_json(record: Any) -> TileSpec:
    """Rebuild a spec; raises `InputError` for wrong keys, `SpecError` for impossible values."""
    from hwquant.formats import parse

    wanted = {"tile", "weight", "act", "length", "acc", "adder", "weights", "acts"}
    if not isinstance(record, dict) or set(record) != wanted:
        raise InputError(f"tile spec {record!r}, needed exactly {sorted(wanted)}")
    values = {key: value for key, value in record.items() if key != "tile"}
    return TileSpec(**values | {name: parse(values[name]) for name in ("weight", "act")})


def tile_name(spec: TileSpec) -> str:
    """Return the default name of a tile, a legal identifier."""
    layout = tile_layout(spec)
    weight, act = (str(fmt).replace("-", "n") for fmt in (spec.weight, spec.act))
    shape = f"{layout.weights}x{layout.acts}"
    return f"hq_tile_{weight}_{act}_{shape}_a{spec.mac.accumulator.width}_{spec.adder}"


def _ports(spec: TileSpec) -> dict[str, int]:
    layout = tile_layout(spec)
    return {
        **dict.fromkeys(("clk_i", "rst_i", "en_i", "valid_i", "clear_i"), 0),
        "weight_i": layout.weights * spec.weight.bits,
        "act_i": layout.acts * spec.act.bits,
        "valid_o": 0,
        "acc_o": layout.count * spec.mac.accumulator.width,
    }


def tile_text(spec: TileSpec, name: str | None = None, *, primitive: bool = True) -> str:
    """Return the wrapper module of a tile."""
    top = checked_name(tile_name(spec) if name is None else name)
    ports = _ports(spec)
    comment = f"Tile {spec.weight} x {spec.act}: see hq_dsp_tile for function and timing."
    body = instance("hq_dsp_tile", tile_parameters(spec, primitive=primitive), tuple(ports))
    return module(comment, tile_to_json(spec), top, ports, body)


class TileBundle(SpecBundle[TileSpec]):
    """A generated tile on disk."""

    @staticmethod
    def read_spec(record: Any) -> TileSpec:
        """Rebuild the spec from the manifest's."""
        return tile_from_json(record)


def is_tile_folder(folder: Path) -> bool:
    """Return whether ``folder`` holds a generated tile."""
    if not (folder / MANIFEST).is_file():
        return False
    spec = read_record(folder / MANIFEST).get("spec")
    return isinstance(spec, dict) and spec.get("tile") is True


def _range(values: Range) -> list[int]:
    return [values.low, values.high]


def generate_tile(
    spec: TileSpec, out: str | Path, *, name: str | None = None, primitive: bool = True
) -> TileBundle:
    """Write the tile of ``spec`` into folder ``out``, as `hw.generate` writes a kernel.

    Raises `SpecError` for an illegal name, `InputError` when ``out`` cannot be written.
    """
    layout, accumulator = tile_layout(spec), spec.mac.accumulator
    top = tile_name(spec) if name is None else name
    record: dict[str, Any] = {
        "style": f"dsp_tile{'' if primitive else '_portable'}",
        "spec": tile_to_json(spec),
        "formats": {"weight": format_facts(spec.weight), "act": format_facts(spec.act)},
        "accumulator": {"width": accumulator.width, "frac": accumulator.frac},
        "dsps": 1,
        "layout": {
            "weights": layout.weights,
            "acts": layout.acts,
            "products": layout.count,
            "stride": layout.stride,
            "weight_step": layout.weight_step,
            "act_step": layout.act_step,
            "product": _range(layout.product),
        },
        "interface": interface(tile_latency(spec), 1, _ports(spec)),
        "parameters": recorded(tile_parameters(spec, primitive=primitive)),
    }
    measured = price_of("tile", tile_name(spec), record["style"], TILE_SOURCES)
    if measured is not None:
        record["interface"] |= measured.timing.to_json()
        record |= measured.price()
    texts = {file: source_text(file) for file in TILE_SOURCES}
    texts[f"{top}.sv"] = tile_text(spec, top, primitive=primitive)
    write_folder(out, top, "Exact tile of multiply-accumulates by hwquant", record, texts)
    return TileBundle.load(out)
