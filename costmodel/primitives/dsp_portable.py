# SPDX-License-Identifier: Apache-2.0
"""Formula of style ``dsp_portable``: the slice's multiplier and accumulator in LUTs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from costmodel.mapping.aig import Graph
from costmodel.mapping.logic import multiply
from costmodel.mapping.pairs import mapped
from hw.styles import dsp as style
from hwquant.formats import Codebook, Format

from .counts import Counts, counts
from .dsp import hq_dsp_operand
from .inferred import Terms, register_inferred
from .specs import Operand, SpecArrays

__all__ = ["hq_dsp_mul"]


def _bits(operand: Operand) -> NDArray[np.int64]:
    """Return how many bits of a value are registered."""
    return operand.sig_bits + operand.shift_max


@lru_cache(maxsize=65536)
def _multiplier(weight: Format, act: Format) -> tuple[int, int, int]:
    """Return sites, raw LUTs and carry positions of the multiplier between registers."""
    if isinstance(weight, Codebook) or isinstance(act, Codebook):
        return 0, 0, 0
    signed = [fmt.signed and not fmt.sign_magnitude for fmt in (weight, act)]
    widths = [
        style.value_bits(fmt) - (not twos) for fmt, twos in zip((weight, act), signed, strict=True)
    ]

    def build() -> Graph:
        graph = Graph()
        words = [graph.inputs(width) for width in widths]
        graph.outputs += multiply(graph, words[0], words[1], signed[0], signed[1])
        return graph

    return mapped(f"multiply {widths} {signed}", build)


def hq_dsp_mul(specs: SpecArrays) -> Counts:
    """Return registers and shift registers.

    Operands, product, accumulator, valid bits, restart and sign; a chain of three registers with
    nothing between is a shift register and none.  The product is as wide as its signed operands:
    one bit more for each that is unsigned, but for two without a decoder, whose bits above vanish.
    """
    weight, act, acc = specs.weight, specs.act, specs.acc
    decodes = (np.maximum(weight.exp_bits, act.exp_bits) > 1).astype(np.int64)
    both, one = weight.flips & act.flips, weight.flips ^ act.flips
    values = _bits(weight) + _bits(act)
    sign = 2 * both + one * np.where(decodes == 1, -1, 2)
    twos = weight.twos + act.twos
    wider = np.where(decodes == 1, 2 - twos, twos == 1)
    restart = 2 * (1 - decodes)
    ff = decodes * (weight.bits + act.bits) + 2 * values + wider + 3 + decodes + restart + acc
    ff = ff + sign
    return counts(ff=ff, lutram=decodes * (1 + one))


@register_inferred(style.PORTABLE.name, exact=hq_dsp_mul)
def terms(specs: SpecArrays, count: str) -> Terms:
    """Return decoders, multiplier and accumulator."""
    raw = count == "lut_raw"
    weight, act, acc = specs.weight, specs.act, specs.acc
    sites, luts, _ = specs.per_pair(_multiplier)
    multiplier = luts if raw else sites
    decoders = getattr(hq_dsp_operand(specs).packed(), count)
    flips = weight.flips | act.flips
    product = np.minimum(_bits(weight) + _bits(act), acc)
    found = Terms(len(specs))
    found.fixed(acc + decoders)
    found.add("control", 1, 3, 0.5)
    found.add("multiplier", multiplier, 1.2 if raw else 1.0, 0.3)
    found.add("multiplier, two's complement", multiplier * (weight.twos | act.twos), 0, 1)
    found.add("partial products", _bits(weight) * _bits(act), 0, 2)
    found.add("accumulator", acc, 0.0, 1)
    found.add("accumulator, signs apart", acc * flips, 0.5 if raw else 0, 1)
    found.add("product bits, signs apart", product * flips, 0.0, 1)
    shifts = [operand.exp_bits * (operand.exp_bits > 1) for operand in (weight, act)]
    large = np.maximum(weight.sig_bits, act.sig_bits)
    found.add("second exponent", np.minimum(*shifts), 0, 1.5)
    found.add("significand, both signs apart", large * (weight.flips & act.flips), 0, 1.5)
    return found
