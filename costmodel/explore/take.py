# SPDX-License-Identifier: Apache-2.0
"""Take one point of a run to hardware: QONNX, its check, the kernels' RTL, and the proof."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import hw
import sim
from costmodel.explore.folder import RunFolder
from costmodel.explore.hardware_plan import Plan, as_priced
from costmodel.explore.measure import point_key, quantized, trained
from costmodel.explore.space import Point, Space, coordinates
from costmodel.explore.store import Row, Status
from hw.layers import LAYERS
from hw.manifest import spec_to_json
from hwquant import atomic
from hwquant.errors import HwquantError, InputError
from hwquant.ptq.recipe import Recipe

__all__ = [
    "Taken",
    "check_inputs",
    "export_point",
    "point_of",
    "recipe_in",
    "take",
    "write_kernels",
]

CHECK_ITEMS = 64
CHECK_NUMBERS = 1 << 21  # at most so many input numbers, unless one item has more
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
    point = point_of(folder, space, row)
    check = export_point(space, point, folder.model)
    plan = as_priced(space, row)
    with atomic.atomic_folder(folder.rtl) as temporary:
        write_kernels(plan, row, temporary)
    report = sim.verify([folder.rtl / name for name in plan.kernels], seed=point.seed)
    report.write_junit(folder.verdict)
    return Taken(tuple(plan.kernels), check, report.to_json())


def recipe_in(space: Space, row: Row) -> Recipe | None:
    """Return the recipe that the coordinates of a point tell, None where they are not enough.

    A point that is not of the space's product (a search's) has its recipe's fields among them.
    """
    names = {field.name for field in fields(Recipe)}
    told = {name: value for name, value in row.point.items() if name in names}
    base = dict(space.recipe)
    if told.get("overrides"):
        base.pop("first_last", None)  # a search says the format of every layer
    steps = told.get("steps")
    if isinstance(steps, str):
        told["steps"] = steps.split("+")
    try:
        return Recipe.from_dict(base | told)
    except HwquantError:
        return None


def point_of(folder: RunFolder, space: Space, row: Row) -> Point:
    """Return recipe, seed and style of a finished point, checked against the point's key.

    Raises `InputError` for one that is not finished or not of this run.
    """
    if row.status is not Status.DONE:
        raise InputError(f"{folder.root}: the point is {row.status}, only finished ones are taken")
    for point in _likely(space, row):
        if point_key(space, point) == row.key:
            return point
    raise InputError(
        f"{folder.root}: this point was computed by another version of the code or the data; "
        "run the same sweep again first"
    )


def _likely(space: Space, row: Row) -> Iterator[Point]:
    """Yield the points of the space with these coordinates, then what they tell by themselves."""
    yield from (point for point in space.plan() if coordinates(point) == row.point)
    recipe, style = recipe_in(space, row), str(row.point.get("style", "plain"))
    if recipe is not None:
        for seed in dict.fromkeys((row.point.get("seed", space.seed), space.seed, 0)):
            yield Point(recipe, int(seed), style)


def check_inputs(space: Space) -> Any:
    """Return the test items that exports are checked on, float32 of shape (n, ...)."""
    most = min(space.test_items or CHECK_ITEMS, CHECK_ITEMS)
    items = trained(space.model, space.data).data.x_test[:most].numpy()
    return items[: max(CHECK_NUMBERS * len(items) // max(items.size, 1), 1)]


def export_point(space: Space, point: Point, path: Path) -> dict[str, Any]:
    """Quantize the point again, write it as QONNX and compare the file code for code."""
    from hwquant.export.check import check_qonnx
    from hwquant.export.qonnx import export_qonnx

    given = trained(space.model, space.data)
    items = (space.test_items, space.calib_items)
    qmodel = quantized(space.model, space.data, point.recipe, point.seed, items)
    export_qonnx(qmodel, path, given.data.sample)
    found = check_qonnx(path, check_inputs(space)).to_json()
    names = ("images", "layers", "codes_compared", "differences", "proven", "failures", "islands")
    return {name: found[name] for name in names}


def write_kernels(plan: Plan, row: Row, folder: Path) -> None:
    """Write one folder for each distinct kernel, ``layers.json`` as ``hwquant rtl`` does, and more.

    ``manifest.json`` says which point it is, the folding, and which layers use which kernel.
    """
    for name, (spec, style) in plan.kernels.items():
        hw.generate(spec, folder / name, style=style)
    users = {unit.layer: unit.kernel for unit in plan.units}
    atomic.write_text(folder / LAYERS, json.dumps({"layers": users}, indent=2) + "\n")
    manifest: Mapping[str, Any] = {
        "point": row.point,
        "key": row.key,
        "folding": plan.folding,
        "kernels": [
            {"name": name, "layers": plan.users(name), "style": style, "spec": spec_to_json(spec)}
            for name, (spec, style) in plan.kernels.items()
        ],
    }
    atomic.write_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
