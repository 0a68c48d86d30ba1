# SPDX-License-Identifier: Apache-2.0
"""Which points are not worth measuring: those whose cheapest form is beyond a limit already.

Formats and shapes fix the weight bits and the cycles of a point; LUT sites also depend on the
accumulators, which only the weights certify.  What is compared with a limit is a lower bound: each
accumulator holds a single product, and a formula's price is the low end of its interval.  So a
pruned point is beyond the limit whatever its weights turn out to be, at the interval's level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costmodel.explore.pricing import formula_price, interval_of, priced
from costmodel.explore.space import LIMITS, Point, Space
from costmodel.parts import find_part
from hwquant.fixed import signed_bits
from hwquant.formats import Format, parse
from hwquant.mac import product_range
from hwquant.ptq.recipe import Recipe, signed_of, unsigned_of

__all__ = ["lower_bounds", "reason_to_prune", "shapes_with"]


def shapes_with(outline: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[dict[str, Any]]:
    """Return the layer records of ``recipe``, accumulators as wide as one product.

    ``outline`` is what `costmodel.explore.measure.outline` returns.
    """
    found = []
    for entry in outline:
        record = {k: v for k, v in entry.items() if k not in ("first_or_last", "non_negative")}
        settings = recipe.settings(record["name"], first_or_last=entry["first_or_last"])
        act: Any = settings.act
        if act.min_int >= 0 and not entry["non_negative"]:
            act = signed_of(act)
        elif act.min_int < 0 and settings.act_unsigned and entry["non_negative"]:
            act = unsigned_of(act)
        weight: Any = act if record["op"] == "matmul" else settings.weight
        low, high = product_range(weight, act)
        width = signed_bits(min(low, 0), max(high, 0))
        found.append(record | {"weight": str(weight), "act": str(act), "acc_bits": width})
    return found


def lower_bounds(
    space: Space, outline: Sequence[Mapping[str, Any]], point: Point
) -> dict[str, float]:
    """Return the least that a point can cost, by the names of `LIMITS`."""
    layers = shapes_with(outline, point.recipe)
    folding: dict[str, Any] = {"folding": space.folding, "lanes": space.lanes}
    totals, _ = priced(layers, folding, lambda spec: formula_price(spec, point.style))
    low, _ = interval_of(layers, folding, point.style)
    own = [int(layer["weights"]) * _format(layer["weight"]).bits for layer in layers]
    macs = sum(int(layer["length"]) * int(layer["outputs"]) for layer in layers)
    found = totals | {"lut_sites": low, "weight_bits": sum(own), "macs": macs}
    return {name: found[name] for name in LIMITS}


def _format(text: str) -> Format:
    return parse(text)


def reason_to_prune(
    space: Space, outline: Sequence[Mapping[str, Any]], point: Point
) -> tuple[str, dict[str, float]]:
    """Return why a point need not be measured (empty: it must be), and its lower bounds."""
    bounds = lower_bounds(space, outline, point)
    for name, limit in space.limits.items():
        if bounds[name] > limit:
            return f"{name} is {bounds[name]:g} at least, the limit is {limit:g}", bounds
    rooms = [(name, find_part(name)) for name in space.parts]
    lut = bounds["lut_sites"] + bounds["memory_luts"]
    if rooms and all(lut > part.lut or bounds["dsp"] > part.dsp for _, part in rooms):
        return f"{lut:g} LUTs at least, more than {', '.join(n for n, _ in rooms)} have", bounds
    return "", bounds
