# SPDX-License-Identifier: Apache-2.0
"""Units that are no plain kernel, synthesized into ``data/blocks.csv``: what formulas are held to.

Requantizers, block-scaled kernels, DSP tiles and constant kernels.  A point is a short record; the
biases, thresholds and weights that it does not give are random, from seed 1.
``python -m costmodel.block_points`` makes the file anew.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from hw.block_kernel import block_kernel_text, block_sources
from hw.catalogue import COUNTS
from hw.constant.design import build
from hw.constant.emit import constant_sources
from hw.constant.kernel import constant_text
from hw.library import source_text, sources_sha256
from hw.requant import requant_sources, requant_text
from hw.tile import TILE_SOURCES, TileSpec, tile_text
from hwquant import atomic, cache
from hwquant.block_mac import BlockMacSpec
from hwquant.errors import HwquantError, InputError
from hwquant.formats import parse
from hwquant.progress import track
from hwquant.requant import MultiplyShift, Requantizer, RoundPack, Thresholds

from .constant import random_matrix

__all__ = ["COLUMNS", "UNITS", "Point", "measure", "plan", "read", "requantizer", "write"]

COLUMNS: Final = ("unit", "spec", *COUNTS, "sources_sha256", "flow")
UNITS: Final = ("round", "mulshift", "thresholds", "block", "tile", "constant")
TOP: Final = "unit"
SEED: Final = 1
MOST_JOBS: Final = 64


@dataclass(frozen=True, slots=True)
class Point:
    """One synthesized unit: what it is, its record, its counts, and what it was made from."""

    unit: str
    spec: Mapping[str, Any]
    counts: Mapping[str, int]
    sources_sha256: str
    flow: str

    @property
    def current(self) -> bool:
        """Whether the sources are still those that were synthesized."""
        return _sha(sources(self.unit, self.spec)) == self.sources_sha256


def requantizer(unit: str, record: Mapping[str, Any]) -> Requantizer:
    """Return the requantizer of a point, its constants random."""
    rng = random.Random(SEED)
    channels, acc = record["channels"], record["acc_bits"]

    def numbers(bits: int) -> list[int]:
        return [rng.randrange(-(1 << bits - 1), 1 << bits - 1) for _ in range(channels)]

    if unit == "thresholds":
        codes, bits = record["codes"], record["threshold_bits"]
        half = 1 << bits - 1
        rows = (
            sorted(rng.randrange(-half, half) for _ in range(codes - 1)) for _ in range(channels)
        )
        permuted = tuple((5 * code + 3) % codes for code in range(codes))
        return Thresholds(permuted, tuple(tuple(row) for row in rows), acc)
    bias = numbers(record["bias_bits"])
    if unit == "mulshift":
        mult = [rng.randrange(1 << record["mult_bits"] - 2, 1 << record["mult_bits"] - 1)]
        mult += [rng.randrange(1 << record["mult_bits"] - 1) for _ in range(channels - 1)]
        return MultiplyShift(record["fmt"], acc, mult, bias, record["shift"])
    least, spread = record["shift"], record.get("spread", 0)
    shifts = [least + rng.randrange(spread + 1) for _ in range(channels)] if spread else [least]
    return RoundPack(record["fmt"], acc, bias, shifts)


def sources(unit: str, record: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of a point, ready to synthesize; the top is ``unit``.

    Raises `InputError` for an unknown unit.
    """
    if unit not in UNITS:
        raise InputError(f"unit {unit!r}, allowed: {', '.join(UNITS)}")
    top = f"{TOP}.sv"
    if unit == "block":
        values = {name: value for name, value in record.items() if name != "style"}
        spec = BlockMacSpec(**values)
        text = block_kernel_text(spec, TOP, record["style"])
        return block_sources(spec, record["style"]) | {top: text}
    if unit == "tile":
        formats = {name: parse(record[name]) for name in ("weight", "act")}
        tile = TileSpec(**{**record, **formats})
        return {name: source_text(name) for name in TILE_SOURCES} | {
            top: tile_text(tile, TOP, primitive=True)
        }
    if unit == "constant":
        shape = record["inputs"], record["outputs"]
        matrix = random_matrix(record["weights"], *shape, record["act"], seed=SEED)
        design = build(matrix, levels=record["levels"])
        return constant_sources(design) | {top: constant_text(design, TOP)}
    found, style = requantizer(unit, record), record.get("style", "auto")
    return requant_sources(found, style) | {top: requant_text(found, TOP, style)}


def _sha(texts: Mapping[str, str]) -> str:
    """Return a hash of the RTL and of the top, which holds all parameters."""
    blocks = tuple(name for name in texts if name != f"{TOP}.sv")
    return cache.content_key(sources_sha256(blocks), texts[f"{TOP}.sv"])


def measure(unit: str, record: Mapping[str, Any]) -> Point:
    """Synthesize one point, or read the synthesis cache.

    Raises `ToolError` when Yosys is missing or fails.
    """
    from hw.yosys import flow, synthesize

    texts = sources(unit, record)
    return Point(unit, record, synthesize(texts, TOP).to_json(), _sha(texts), flow())


def _round(fmt: str, acc: int = 24, channels: int = 64, bias: int = 12, shift: int = 8) -> Any:
    names = ("fmt", "acc_bits", "channels", "bias_bits", "shift")
    return "round", dict(zip(names, (fmt, acc, channels, bias, shift), strict=True))


def _round_points() -> list[tuple[str, dict[str, Any]]]:
    every = (
        "int4", "int8", "e2m1", "e3m2", "e4m3", "uint4", "int6", "e5m2", "e2m3", "uint8", "e1m2",
        "e3m0", "e3m4", "ue2m2", "e0m3",
    )  # fmt: skip
    points = [_round(fmt) for fmt in every]
    for fmt in ("int8", "e4m3", "e2m1"):
        points += [_round(fmt, shift=3), _round(fmt, acc=16, bias=10, shift=6)]
    for fmt in ("int8", "e3m2"):
        unit, record = _round(fmt, shift=2)
        points += [(unit, record | {"spread": 12}), _round(fmt, channels=1)]
    points += [_round("int4", channels=16, bias=20), _round("e4m3", channels=256)]
    return [*points, _round("int8", bias=24), _round("uint6", acc=20, bias=20)]


def plan() -> list[tuple[str, dict[str, Any]]]:
    """Return (unit, record) of every point of the committed file."""
    points = []
    for weight, act, adder, length in (
        ("int4", "int4", "lut", 256), ("e2m1", "e2m1", "lut", 256), ("int8", "uint8", "dsp", 2),
        ("e4m3", "e4m3", "lut", 256), ("uint4", "uint4", "lut", 256), ("e3m2", "int4", "lut", 256),
    ):  # fmt: skip
        points.append(("tile", {"weight": weight, "act": act, "length": length, "adder": adder}))
    for codes, acc, channels, style in (
        (4, 16, 32, "search"), (8, 24, 8, "search"), (4, 24, 64, "parallel"),
        (16, 16, 1, "parallel"), (3, 16, 8, "parallel"), (16, 20, 4, "search"),
        (8, 24, 1, "parallel"), (2, 20, 16, "parallel"),
    ):  # fmt: skip
        record = {"codes": codes, "acc_bits": acc, "channels": channels, "style": style}
        points.append(("thresholds", record | {"threshold_bits": acc - 2}))
    for weight, act, lanes, window, rounding, overflow, style in (
        ("mxfp4", "mxfp4", 4, (15, -16), "nearest", "wrap", "tree"),
        ("mxint8", "mxint8", 2, (31, -8), "nearest", "wrap", "tree"),
        ("nvfp4", "nvfp4", 4, (15, -8), "nearest", "wrap", "tree"),
        ("mxfp4", "mxint8", 2, (20, -11), "nearest", "saturate", "tree"),
        ("mxfp6e3m2", "mxfp4", 1, (23, -8), "floor", "wrap", "tree"),
        ("nvfp4", "nvfp4", 2, (11, -4), "floor", "saturate", "tree"),
    ):
        shape = {"weight": weight, "act": act, "lanes": lanes, "length": 256, "window": window}
        points.append(
            ("block", shape | {"rounding": rounding, "overflow": overflow, "style": style})
        )
    for weights, inputs, outputs, act, levels in (
        ("ternary", 4, 4, "int4", 1), ("int4", 4, 4, "int4", 1), ("e2m1", 8, 2, "e2m1", 1),
        ("int4", 8, 4, "int8", 1), ("int3", 16, 2, "uint4", 2), ("e2m1", 4, 2, "e4m3", 1),
    ):  # fmt: skip
        shape = {"weights": weights, "inputs": inputs, "outputs": outputs}
        points.append(("constant", shape | {"act": act, "levels": levels}))
    for fmt, acc, mult in (
        ("int8", 20, 10), ("e4m3", 16, 8), ("int4", 16, 6), ("uint4", 20, 7), ("int8", 24, 12),
    ):  # fmt: skip
        record = {"fmt": fmt, "acc_bits": acc, "channels": 32, "mult_bits": mult}
        points.append(("mulshift", record | {"bias_bits": acc, "shift": mult + 4}))
    return points + _round_points()


def _key(unit: str, record: Mapping[str, Any]) -> str:
    return json.dumps([unit, record], sort_keys=True)


def read(path: str | Path | None = None) -> tuple[Point, ...]:
    """Return the points of a file, by default the committed one."""
    place = files("costmodel").joinpath("data", "blocks.csv") if path is None else Path(path)
    if not place.is_file():
        return ()
    rows = csv.DictReader(io.StringIO(place.read_text(encoding="utf-8")))
    return tuple(
        Point(
            row["unit"],
            json.loads(row["spec"]),
            {name: int(row[name]) for name in COUNTS},
            row["sources_sha256"],
            row["flow"],
        )
        for row in rows
    )


def write(
    points: Iterable[tuple[str, Mapping[str, Any]]], path: str | Path, *, jobs: int = 1
) -> list[str]:
    """Synthesize ``points`` into the CSV file ``path``; points that are current are kept.

    Returns what failed, one line each.  Raises `InputError` for impossible ``jobs``.
    """
    if not 1 <= jobs <= MOST_JOBS:
        raise InputError(f"jobs {jobs}, allowed 1..{MOST_JOBS}")
    wanted = {_key(unit, record): (unit, dict(record)) for unit, record in points}
    kept = {_key(p.unit, p.spec): p for p in read(path)}
    kept = {key: kept[key] for key in wanted if key in kept and kept[key].current}
    left, failed = [key for key in wanted if key not in kept], []
    with track("units", len(left)) as advance, ThreadPoolExecutor(jobs) as pool:
        futures = {key: pool.submit(measure, *wanted[key]) for key in left}
        for key, future in futures.items():
            try:
                kept[key] = future.result()
            except HwquantError as error:
                failed.append(f"{key}: {error}")
            _store((kept[k] for k in wanted if k in kept), path)
            advance(detail=wanted[key][0])
    return failed


def _store(points: Iterable[Point], path: str | Path) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for point in points:
        counts = {name: point.counts[name] for name in COUNTS}
        spec = json.dumps(point.spec, sort_keys=True)
        row = {"unit": point.unit, "spec": spec, **counts}
        writer.writerow(row | {"sources_sha256": point.sources_sha256, "flow": point.flow})
    atomic.write_text(path, out.getvalue())


def main() -> int:
    """Write the committed file; returns 1 when a point failed."""
    from hwquant.progress import note

    failed = write(plan(), "costmodel/data/blocks.csv", jobs=2)
    for line in failed:
        note(line)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
