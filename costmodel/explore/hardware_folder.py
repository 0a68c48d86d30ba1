# SPDX-License-Identifier: Apache-2.0
"""A folder that holds one point as hardware, and everything needed to check it again.

It is made beside its place under a temporary name and renamed, so it is whole or not there.  An
earlier folder of ours is replaced, anything else is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

import sim
from costmodel.explore.folder import RunFolder
from costmodel.explore.folder_texts import CI, SCRIPT, readme
from costmodel.explore.hardware_plan import Goal, Plan, as_priced, folded_anew
from costmodel.explore.space import Space
from costmodel.explore.store import Row
from costmodel.explore.take import (
    Taken,
    check_inputs,
    export_point,
    point_of,
    write_kernels,
)
from costmodel.explore.weight_files import read_memory, write_memory
from costmodel.finn_files import write_finn_files
from hwquant import atomic
from hwquant.errors import InputError
from hwquant.formats import parse
from hwquant.graph import load

__all__ = ["MARK", "SUMS", "Checked", "check_folder", "take_folder"]

MARK: Final = "point.json"
SUMS: Final = "SHA256SUMS"
INPUTS: Final = "check_inputs.npy"
INDEX: Final = "weights.json"


def take_folder(
    folder: RunFolder, space: Space, row: Row, out: str | Path, goal: Goal | None = None
) -> Taken:
    """Write a finished point into the folder ``out`` of its own, and verify it from there.

    Without a ``goal`` the kernels, their number and the cost are those the point was priced with;
    with one the network is folded anew.  The folder is also written where something is not
    bit-exact: look at `Taken.sound`.

    Raises `InputError` for a point that is not of this run, a folder that is not ours, or a goal
    that no folding reaches.
    """
    target = Path(out)
    refuse_others(target)
    point = point_of(folder, space, row)
    plan = folded_anew(row, goal) if goal is not None and goal.searches else as_priced(space, row)
    with atomic.atomic_folder(target) as made:
        check = export_point(space, point, made / "model.onnx")
        np.save(made / INPUTS, check_inputs(space))
        atomic.write_text(made / "recipe.toml", point.recipe.to_toml())
        write_kernels(plan, row, made / "rtl")
        memories = _write_weights(made / "model.onnx", plan, made / "weights")
        _write_cost(made / "cost", plan)
        report = sim.verify([made / "rtl" / name for name in plan.kernels], seed=point.seed)
        report.write_junit(made / "verify.xml")
        taken = Taken(tuple(plan.kernels), check, report.to_json())
        atomic.write_text(made / "verify.json", _json(taken.to_json()))
        record = _record(folder, space, row, plan, point.seed)
        atomic.write_text(made / MARK, _json(record | {"sound": taken.sound}))
        atomic.write_text(made / "README.md", readme(record, taken, plan, memories))
        atomic.write_text(made / "verify.sh", SCRIPT)
        (made / "verify.sh").chmod(0o755)
        atomic.write_text(made / "ci" / "github-actions.yml", CI)
        atomic.write_text(made / SUMS, _sums(made))
    return taken


def refuse_others(target: Path) -> None:
    """Raise `InputError` where ``target`` is something that this command did not write."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        ours = json.loads((target / MARK).read_text())["made_by"] == "hwquant take"
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise InputError(
            f"{target} exists and was not written by hwquant take; choose a new folder with -o"
        )


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=2) + "\n"


def _record(folder: RunFolder, space: Space, row: Row, plan: Plan, seed: int) -> dict[str, Any]:
    """Return what the folder says of the point it holds."""
    return {
        "made_by": "hwquant take",
        "hwquant": version("hwquant"),
        "run": folder.root.resolve().name,
        "model": space.model,
        "data": space.data,
        "seed": seed,
        "key": row.key,
        "point": row.point,
        "metrics": row.metrics,
        "folding": plan.folding,
        "layers": [
            {"name": u.layer, "kernel": u.kernel, "pe": u.pe, "simd": u.simd, "cycles": u.cycles}
            for u in plan.units
        ],
    }


def _write_cost(folder: Path, plan: Plan) -> None:
    """Write our own record, and FINN's files where layers have kernels of their own."""
    atomic.write_text(folder / "cost.json", _json(plan.cost))
    if plan.network is not None:
        write_finn_files(plan.network, folder)


def _write_weights(model: Path, plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """Write the memory, the codes and the bias of every layer with stored weights."""
    units = {unit.layer: unit for unit in plan.units}
    index: list[dict[str, Any]] = []
    names: set[str] = set()
    for layer in load(model).layers():
        if layer.weight_codes is None:
            continue
        if layer.name not in units:
            raise InputError(
                f"layer {layer.name} of the exported network is not in the run; sweep again"
            )
        unit, file = units[layer.name], _file_name(layer.name, names)
        width = plan.kernels[unit.kernel][0].accumulator.width
        if layer.acc_bits > width:
            raise InputError(
                f"layer {layer.name} needs {layer.acc_bits} bits, its kernel has {width}: the run "
                "was measured by another version of the code; sweep again"
            )
        codes = np.ascontiguousarray(layer.weight_codes, np.uint8)
        words = write_memory(folder / f"{file}.hex", layer.weight, codes, unit.pe, unit.simd)
        np.save(folder / f"{file}.npy", codes)
        entry = {
            "layer": layer.name,
            "memory": f"{file}.hex",
            "codes": f"{file}.npy",
            "format": str(layer.weight),
            "bits": layer.weight.bits,
            "channels": codes.shape[0],
            "length": codes.shape[1],
            "pe": unit.pe,
            "simd": unit.simd,
            "words": words,
            "word_bits": unit.pe * unit.simd * layer.weight.bits,
        }
        if layer.bias is not None:
            np.save(folder / f"{file}.bias.npy", np.asarray(layer.bias, np.int64))
            entry["bias"] = f"{file}.bias.npy"
        index.append(entry)
    folder.mkdir(exist_ok=True)
    atomic.write_text(folder / INDEX, _json({"memories": index}))
    return index


def _file_name(layer: str, taken: set[str]) -> str:
    """Return a plain file name for a layer, different from those ``taken``."""
    plain = name = re.sub(r"[^A-Za-z0-9_.-]", "_", layer).lstrip(".") or "layer"
    number = 1
    while name.lower() in taken:
        number += 1
        name = f"{plain}_{number}"
    taken.add(name.lower())
    return name


def _files(folder: Path) -> Iterable[Path]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _sums(folder: Path) -> str:
    """Return a checksum line for every file, as ``sha256sum -c`` reads them."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in _files(folder)
    )


@dataclass(frozen=True)
class Checked:
    """What a check of a folder found: files that changed, memories and codes that differ."""

    files: int
    changed: tuple[str, ...]
    weights: int
    wrong_layers: tuple[str, ...]
    codes_compared: int
    differences: int
    failures: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing changed and nothing differs."""
        return not (self.changed or self.wrong_layers or self.failures)

    def to_json(self) -> dict[str, Any]:
        """Return the counts by name."""
        return {
            "files": self.files,
            "changed": list(self.changed),
            "weights": self.weights,
            "wrong_layers": list(self.wrong_layers),
            "codes_compared": self.codes_compared,
            "differences": self.differences,
            "failures": list(self.failures),
            "sound": self.sound,
        }


def check_folder(folder: str | Path) -> Checked:
    """Check a folder of `take_folder`: checksums, weight memories, and the network code for code.

    The memories are read back and compared with the codes in ``model.onnx``; the network runs on
    the inputs it was checked on first.  The RTL is what ``hwquant verify DIR/rtl`` checks.

    Raises `InputError` for a folder that is not ours or lacks a file that is read.
    """
    root = Path(folder)
    if not (root / MARK).is_file():
        raise InputError(f"{root} holds no taken point (no {MARK}); give a folder of hwquant take")
    from hwquant.export.check import check_qonnx

    told, changed = _changed(root)
    try:
        index = json.loads((root / "weights" / INDEX).read_text())["memories"]
        inputs = np.load(root / INPUTS, allow_pickle=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{root} is damaged ({error}); take the point again") from error
    codes = {layer.name: layer.weight_codes for layer in load(root / "model.onnx").layers()}
    wrong, count = [], 0
    for entry in index:
        fmt, wanted = parse(entry["format"]), codes.get(entry["layer"])
        shape = (entry["channels"], entry["length"])
        path = root / "weights" / entry["memory"]
        try:
            found = read_memory(path, fmt, shape, entry["pe"], entry["simd"])
        except InputError:
            wrong.append(entry["layer"])
            continue
        count += found.size
        if wanted is None or not np.array_equal(found, wanted):
            wrong.append(entry["layer"])
    report = check_qonnx(root / "model.onnx", inputs).to_json()
    return Checked(
        told,
        tuple(changed),
        count,
        tuple(wrong),
        report["codes_compared"],
        report["differences"],
        tuple(report["failures"]),
    )


def _changed(root: Path) -> tuple[int, list[str]]:
    """Return how many files have a checksum, and which are gone or differ."""
    try:
        lines = (root / SUMS).read_text().splitlines()
    except OSError as error:
        raise InputError(f"{root} lacks {SUMS}; take the point again") from error
    changed = []
    for line in lines:
        told, _, name = line.partition("  ")
        path = root / name
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        if (
            not inside
            or not path.is_file()
            or hashlib.sha256(path.read_bytes()).hexdigest() != told
        ):
            changed.append(name)
    return len(lines), changed
