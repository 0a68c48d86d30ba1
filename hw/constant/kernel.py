# SPDX-License-Identifier: Apache-2.0
"""Generate a constant kernel: folder, manifest, and reading both back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.manifest import MANIFEST, check_sealed, format_facts, read_record
from hw.wrapper import checked_name, interface, module, write_folder
from hwquant.errors import HwquantError, InputError

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


@dataclass(frozen=True)
class ConstantBundle:
    """A generated constant kernel on disk; see `hw.manifest.Bundle`."""

    folder: Path
    name: str
    spec: MatVecSpec
    style: str
    latency_cycles: int
    files: tuple[str, ...]
    manifest: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> ConstantBundle:
        """Read a generated folder and check every file against the manifest's hashes.

        Raises `InputError` when the manifest or a file is missing, damaged or changed.
        """
        path = Path(folder)
        record = read_record(path / MANIFEST)
        try:
            claimed, hashes = record["seal"], record["sha256"]
            bundle = cls(
                path,
                record["name"],
                spec_from_json(record["spec"]),
                record["style"],
                record["interface"]["latency_cycles"],
                tuple(record["files"]),
                record,
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{path / MANIFEST} lacks {error}; generate it again") from error
        except HwquantError as error:
            raise InputError(f"{path / MANIFEST}: {error}") from error
        check_sealed(path, record, claimed, hashes)
        return bundle


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
    from importlib.metadata import version

    design = build(spec, levels=levels)
    top = constant_name(spec) if name is None else name
    texts = constant_sources(design) | {
        f"{top}.sv": constant_text(design, top, primitive=primitive)
    }
    record = {
        "generator": f"hwquant {version('hwquant')}",
        "name": top,
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
