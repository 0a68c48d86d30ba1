# SPDX-License-Identifier: Apache-2.0
"""Write a kernel: the hand-written blocks, one thin wrapper with named parameters, a manifest.

The wrapper carries the spec as a JSON comment and neither date nor path, so the same spec gives
the same bytes every time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwquant.mac import MacSpec, paper_bits

from .catalogue import measured_timing, style_name
from .library import source_text
from .manifest import Bundle, format_facts, spec_to_json
from .style import Style
from .styles import style_of
from .styles.plain import product_bits, product_parameters
from .wrapper import (
    checked_name,
    instance,
    interface,
    module,
    name_part,
    recorded,
    refuse_foreign,
    write_folder,
)

__all__ = [
    "generate",
    "kernel_name",
    "kernel_ports",
    "kernel_text",
    "product_bits",
    "product_text",
    "refuse_foreign",
]


def kernel_name(spec: MacSpec) -> str:
    """Return the default name of a kernel, a legal identifier.

    >>> kernel_name(MacSpec("e4m3b-2", "int8", lanes=16))
    'hq_mac_e4m3bn2_int8_l16_a48_wrap'
    """
    weight, act = (name_part(fmt) for fmt in (spec.weight, spec.act))
    width = spec.accumulator.width
    return f"hq_mac_{weight}_{act}_l{spec.lanes}_a{width}_{spec.overflow.value}"


def kernel_ports(spec: MacSpec, style: str = "plain") -> dict[str, int]:
    """Return the ports of the kernel of ``spec``: name to vector width, 0 for a single bit."""
    return _ports(spec, style_of(style, spec))


def _ports(spec: MacSpec, style: Style) -> dict[str, int]:
    per_dot = style.timing is not None
    return {
        "clk_i": 0,
        "rst_i": 0,
        "en_i": 0,
        "valid_i": 0,
        "clear_i": 0,
        **({"last_i": 0} if per_dot else {}),
        "weight_i": spec.lanes * spec.weight.bits,
        "act_i": spec.lanes * spec.act.bits,
        **({"ready_o": 0} if per_dot else {}),
        "valid_o": 0,
        "acc_o": spec.accumulator.width,
    }


def kernel_text(spec: MacSpec, name: str | None = None, style: str = "plain") -> str:
    """Return the wrapper module of a kernel; it instantiates the top block of its style.

    Raises `SpecError` for a name that is not a legal identifier, or a style that cannot do it.
    """
    top = checked_name(kernel_name(spec) if name is None else name)
    chosen = style_of(style, spec)
    ports = _ports(spec, chosen)
    comment = (
        f"MAC kernel {spec.weight} x {spec.act}: see {chosen.top} for the function and timing."
    )
    body = instance(chosen.top, chosen.parameters(spec), tuple(ports))
    return module(comment, spec_to_json(spec), top, ports, body)


def product_text(spec: MacSpec, name: str) -> str:
    """Return a combinational top with the product alone: ``weight_i, act_i -> product_o``.

    It instantiates block ``hq_product``, whose multiplier ``hq_term`` is the one in every kernel.
    ``product_o`` is two's complement, `product_bits` wide.
    """
    ports = {
        "weight_i": spec.weight.bits,
        "act_i": spec.act.bits,
        "product_o": product_bits(spec.weight, spec.act),
    }
    comment = f"Product {spec.weight} x {spec.act}: see hq_product."
    body = instance("hq_product", product_parameters(spec), tuple(ports))
    return module(comment, spec_to_json(spec), checked_name(name), ports, body)


def _per_dot(spec: MacSpec, style: Style) -> dict[str, Any]:
    """Return what a manifest says of a kernel with one result per dot product."""
    if style.timing is None:
        return {}
    timing = style.timing(spec)
    return {
        "result": "once per dot product: ready_o before a beat, last_i with its last beat",
        "gap_cycles": timing.gap,
        "abort_cycles": timing.abort,
        "cycles_per_dot": spec.beats + timing.gap,
    }


def _clock(spec: MacSpec, style: Style) -> dict[str, Any]:
    """Return the clock estimate, where this kernel was synthesized before."""
    found = measured_timing(spec, style.name)
    return {} if found is None else found.to_json()


def _manifest(spec: MacSpec, style: Style, why: str) -> dict[str, Any]:
    accumulator = spec.accumulator
    return {
        "style": style.name,
        "style_why": why,
        "dsps": style.dsps,
        "spec": spec_to_json(spec),
        "formats": {"weight": format_facts(spec.weight), "act": format_facts(spec.act)},
        "accumulator": {
            "width": accumulator.width,
            "frac": accumulator.frac,
            "exact_bits": spec.exact_bits,
            "paper_bits": paper_bits(spec.weight, spec.act, spec.length),
            "product_bits": product_bits(spec.weight, spec.act),
        },
        "interface": interface(style.latency(spec), style.initiation_interval, _ports(spec, style))
        | _per_dot(spec, style)
        | _clock(spec, style),
        "parameters": recorded(style.parameters(spec)),
    }


def generate(
    spec: MacSpec, out: str | Path, *, name: str | None = None, style: str = "plain"
) -> Bundle:
    """Write the kernel of ``spec`` into folder ``out`` and return it.

    The folder appears whole or not at all and holds ``<name>.sv`` (the top), the blocks it uses,
    ``files.f``, ``<name>.core`` and ``manifest.json``; an earlier kernel there is replaced.

    ``style`` is a style's name, or ``auto`` (`hw.catalogue.style_name`).

    Raises `SpecError` for an illegal name or style, `InputError` when ``out`` cannot be written
    or holds something else.
    """
    choice = style_name(style, spec)
    chosen = style_of(choice.style, spec)
    top = kernel_name(spec) if name is None else name
    texts = {file: source_text(file) for file in chosen.sources}
    texts[f"{top}.sv"] = kernel_text(spec, top, chosen.name)
    description = "Exact multiply-accumulate kernel generated by hwquant"
    write_folder(out, top, description, _manifest(spec, chosen, choice.why), texts)
    return Bundle.load(out)
