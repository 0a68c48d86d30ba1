# SPDX-License-Identifier: Apache-2.0
"""Take one point of a run to hardware: QONNX, its check, the kernels' RTL, and the proof."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hw
import sim
from costmodel.explore.folder import RunFolder
from costmodel.explore.measure import point_key, quantized, trained
from costmodel.explore.pricing import workload_of
from costmodel.explore.space import Space
from costmodel.explore.store import Row
from costmodel.network import kernel_groups
from hw.generate import kernel_name
from hw.manifest import spec_to_json
from hwquant import atomic
from hwquant.errors import InputError
from hwquant.ptq.recipe import Recipe

__all__ = ["Taken", "take"]

CHECK_ITEMS = 64
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Taken:
    """A point on disk: kernel names, the counts of the QONNX check and of the verification."""

    kernels: tuple[str, ...]
    check: dict[str, Any]
    verification: dict[str, Any]

    @property
    def sound(self) -> bool:
        """Whether everything that must be equal is."""
        return not self.check["failures"] and not self.verification["mismatches"]

    def to_json(self) -> dict[str, Any]:
        """Return the counts by name."""
        return {
            "kernels": list(self.kernels),
            "check": self.check,
            "verify": self.verification,
            "sound": self.sound,
        }


def take(folder: RunFolder, space: Space, row: Row) -> Taken:
    """Write ``model.onnx``, ``rtl/`` and ``verify.xml`` of a finished point into its run folder.

    Every kernel the point was priced with is generated and verified from the files on disk.
    Raises `InputError` for a point that is not of this run; what export, generation and
    verification raise passes through.
    """
    recipes = {point_key(space, recipe): recipe for recipe in space.points()}
    if row.key not in recipes:
        raise InputError(
            f"{folder.root}: this point was computed by another version of the code or the data; "
            "run the same sweep again first"
        )
    check = _export(folder, space, recipes[row.key])
    names = _generate(folder, space, row)
    report = sim.verify([folder.rtl / name for name in names], seed=space.seed)
    report.write_junit(folder.verdict)
    return Taken(names, check, report.to_json())


def _export(folder: RunFolder, space: Space, recipe: Recipe) -> dict[str, Any]:
    from hwquant.export.check import check_qonnx
    from hwquant.export.qonnx import export_qonnx

    given = trained(space.model, space.data)
    qmodel = quantized(space.model, space.data, recipe, space.seed)
    export_qonnx(qmodel, folder.model, given.data.sample)
    found = check_qonnx(folder.model, given.data.x_test[:CHECK_ITEMS].numpy()).to_json()
    names = ("images", "layers", "codes_compared", "differences", "proven", "failures", "islands")
    return {name: found[name] for name in names}


def _generate(folder: RunFolder, space: Space, row: Row) -> tuple[str, ...]:
    """Write one folder for each distinct kernel, and which layers run on it; return their names."""
    work = workload_of(row.layers)
    groups = kernel_groups(work, folding=space.folding, lanes=space.lanes)
    users: dict[str, list[str]] = {}
    specs = {kernel_name(spec): spec for spec, _ in groups}
    for spec, members in groups:
        users.setdefault(kernel_name(spec), []).extend(work.layers[i].name for i in members)
    manifest: Mapping[str, Any] = {
        "point": row.point,
        "key": row.key,
        "folding": space.folding,
        "lanes": space.lanes,
        "kernels": [
            {"name": name, "layers": users[name], "spec": spec_to_json(spec)}
            for name, spec in specs.items()
        ],
    }
    with atomic.atomic_folder(folder.rtl) as temporary:
        for name, spec in specs.items():
            hw.generate(spec, temporary / name)
        atomic.write_text(temporary / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return tuple(specs)
