# SPDX-License-Identifier: Apache-2.0
"""Generate a constant kernel: folder, manifest, and reading both back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hw.bundle import SpecBundle
from hw.manifest import MANIFEST, format_facts, read_record
from hw.wrapper import checked_name, interface, module, write_folder
from hwquant.errors import InputError

from .design import Design, build
from .emit import body_text, constant_sources, ports
from .spec import MatVecSpec

__all__ = [
    "KIND",
    "ConstantBundle",
    "constant_name",
    "constant_text",
    "generate_constant",
    "is_constant_folder",
    "spec_from_json",
    "spec_to_json",
]

KIND = "constant"


def spec_to_json(spec: MatVecSpec) -> dict[str, Any]:
    """Return ``spec`` as JSON-able data; `spec_from_json` reads it back."""
    return {
        "kernel": KIND,
        "weight": str(spec.weight),
        "act": str(spec.act),
        "codes": [list(row) for row in spec.codes],
        "bias": list(spec.bias),
    }


def spec_from_json(record: Any) -> MatVecSpec:
    """Rebuild a spec from `spec_to_json`.

    Raises `InputError` for missing keys and wrong types, `SpecError` for impossible values.
    """
    try:
        return MatVecSpec(record["codes"], record["weight"], record["act"], record["bias"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"constant kernel's record is damaged: {error!r}") from error


def _digest(spec: MatVecSpec) -> str:
    return hashlib.sha256(json.dumps(spec_to_json(spec)).encode()).hexdigest()


def constant_name(spec: MatVecSpec) -> str:
    """Return the default name of a kernel, a legal identifier.

    >>> constant_name(MatVecSpec([[1, 2]], "int4", "uint4"))
    'hq_const_int4_uint4_1x2_a4be06da'
    """
    weight, act = (str(fmt).replace("-", "n").replace(".", "p") for fmt in (spec.weight, spec.act))
    return f"hq_const_{weight}_{act}_{spec.outputs}x{spec.inputs}_{_digest(spec)[:8]}"


def _described(design: Design) -> str:
    spec = design.spec
    width = max(spec.out_bits)
    return (
        f"Constant {spec.weight} matrix of {spec.outputs} outputs x {spec.inputs} inputs times "
        f"a vector of {spec.act}:\n"
        "///\n"
        "///   acc_o[o] = sum over i of weight[o][i] * act_i[i] + bias[o]\n"
        "///\n"
        f"/// in units of 2**{-spec.frac}, exact, each {width} bits of two's complement, element 0 "
        "in the low bits.\n"
        "/// Every number inside is unsigned: a negative one is its inverse, and all offsets end "
        "in one\n"
        "/// constant per output.  Sums used twice are made once (n*, t*), the rest is added in "
        "rows (r*, s*).\n"
        "///\n"
        f"/// Latency {design.latency}, initiation interval 1.  Equals "
        "hw.constant.MatVecSpec.dot.\n///"
    )


def constant_text(design: Design, name: str | None = None, *, primitive: bool = True) -> str:
    """Return the kernel's module; raises `SpecError` for a name that is not a legal identifier."""
    spec = design.spec
    top = checked_name(constant_name(spec) if name is None else name)
    brief = {"act": str(spec.act), "sha256": _digest(spec), "weight": str(spec.weight)}
    return module(
        _described(design), brief, top, ports(design), body_text(design, primitive=primitive)
    )


class ConstantBundle(SpecBundle[MatVecSpec]):
    """A generated constant kernel on disk."""

    @staticmethod
    def read_spec(record: Any) -> MatVecSpec:
        """Rebuild the spec from the manifest's."""
        return spec_from_json(record)


def is_constant_folder(folder: Path) -> bool:
    """Return whether ``folder`` holds a generated constant kernel."""
    try:
        spec = read_record(folder / MANIFEST).get("spec")
    except InputError:
        return False
    return isinstance(spec, dict) and spec.get("kernel") == KIND


def generate_constant(
    spec: MatVecSpec,
    out: str | Path,
    *,
    name: str | None = None,
    levels: int = 1,
    primitive: bool = True,
) -> ConstantBundle:
    """Write the constant kernel of ``spec`` into folder ``out`` and return it.

    A register follows every ``levels`` levels of adders; without ``primitive`` no device cell is
    instantiated.  Raises `SpecError` for an illegal name, `InputError` when ``out`` cannot be
    written or holds something else.
    """
    design = build(spec, levels=levels)
    top = constant_name(spec) if name is None else name
    texts = constant_sources(design) | {
        f"{top}.sv": constant_text(design, top, primitive=primitive)
    }
    record = {
        "style": "constant" if primitive else "constant-portable",
        "spec": spec_to_json(spec),
        "formats": {"weight": format_facts(spec.weight), "act": format_facts(spec.act)},
        "accumulator": {
            "width": max(spec.out_bits),
            "frac": spec.frac,
            "out_bits": list(spec.out_bits),
        },
        "levels": levels,
        "interface": interface(design.latency, 1, ports(design)),
        "estimate": {"lut_sites": design.sites},
    }
    write_folder(out, top, "Exact constant matrix-vector kernel by hwquant", record, texts)
    return ConstantBundle.load(out)
