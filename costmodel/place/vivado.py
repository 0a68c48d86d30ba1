# SPDX-License-Identifier: Apache-2.0
"""Vivado, where a user has it: a Tcl script per kernel, and its reports read back as points.

hwquant does not run Vivado.  `write_project` leaves a folder with the RTL, a probe around the
kernel (`costmodel.place.probe`) and ``run.tcl``; once ``vivado -mode batch -source run.tcl`` has
run there, `read_project` turns ``utilization.rpt`` and ``timing.rpt`` into a measured point.
Layouts of the reports: Vivado User Guide, Design Analysis and Closure Techniques (UG906).
"""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from hw.generate import kernel_ports
from hw.library import sources_sha256
from hw.manifest import spec_from_json, spec_to_json
from hw.netlist import kernel_sources
from hw.styles import style_of
from hw.wrapper import refuse_foreign
from hwquant import atomic
from hwquant.errors import InputError, SpecError
from hwquant.mac import MacSpec

from .probe import PROBE, probe_flip_flops, probe_text

__all__ = ["VivadoPoint", "append", "parse_timing", "parse_utilization", "read_project", "tcl"]
__all__ += ["write_project"]

RECORD: Final = "kernel.json"
UTILIZATION: Final = "utilization.rpt"
TIMING: Final = "timing.rpt"

_ROWS: Final = {
    "lut": ("CLB LUTs", "Slice LUTs"),
    "lut_logic": ("LUT as Logic",),
    "lut_memory": ("LUT as Memory",),
    "ff": ("CLB Registers", "Slice Registers"),
    "carry": ("CARRY8", "CARRY4", "LOOKAHEAD8"),
    "dsp": ("DSPs", "DSP Slices"),
    "bram36": ("Block RAM Tile",),
    "uram": ("URAM",),
}
"""A count, and what its row is called in the families of parts."""
_NEEDED: Final = ("lut", "ff", "dsp")
_NUMBER: Final = r"-?\d+(?:\.\d+)?"


@dataclass(frozen=True, slots=True)
class VivadoPoint:
    """A kernel as Vivado implemented it.

    ``lut`` are LUT sites as Vivado packs them, memory included; ``ff`` is without the probe's
    flip-flops; ``bram36`` counts halves; ``wns_ns`` is the worst slack at ``period_ns``;
    ``rtl_sha256`` is the hash of the blocks that Vivado read.
    """

    weight: str
    act: str
    lanes: int
    length: int
    acc_bits: int
    overflow: str
    style: str
    part: str
    tool: str
    state: str
    lut: int
    lut_logic: int
    lut_memory: int
    ff: int
    carry: int
    dsp: int
    bram36: float
    uram: int
    period_ns: float
    wns_ns: float
    rtl_sha256: str

    @property
    def fmax_mhz(self) -> float:
        """The clock at which the slack would be nothing."""
        return round(1000 / (self.period_ns - self.wns_ns), 1)

    def to_json(self) -> dict[str, Any]:
        """Return a flat record, the clock included."""
        return asdict(self) | {"fmax_mhz": self.fmax_mhz, "source": "vivado"}


def tcl(files: tuple[str, ...], part: str, clock_mhz: float) -> str:
    """Return the script: synthesis out of context, placement, routing, both reports."""
    period = 1000 / clock_mhz
    return "\n".join(
        [
            "# Run in this folder: vivado -mode batch -source run.tcl",
            f"read_verilog -sv {{{' '.join(files)}}}",
            f"synth_design -top {PROBE} -part {part} -mode out_of_context",
            f"create_clock -name clk -period {period:.3f} [get_ports clk_i]",
            "opt_design",
            "place_design",
            "phys_opt_design",
            "route_design",
            f"report_utilization -file {UTILIZATION}",
            f"report_timing_summary -file {TIMING}",
            "",
        ]
    )


def write_project(
    spec: MacSpec, out: str | Path, *, style: str = "plain", part: str, clock_mhz: float = 400.0
) -> Path:
    """Write RTL, probe, ``run.tcl`` and a record of the kernel into folder ``out``; returns it.

    Raises `SpecError` for a style that cannot do the spec, a part that is no name, or a clock out
    of 1..2000 MHz, `InputError` when ``out`` holds something else.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", part):
        raise SpecError(f"part {part!r}, allowed: a part's name, e.g. xczu3eg-sbva484-1-e")
    if not 1 <= clock_mhz <= 2000:
        raise SpecError(f"clock {clock_mhz:g} MHz, allowed: 1 to 2000")
    folder = Path(out)
    refuse_foreign(folder, RECORD)
    texts = kernel_sources(spec, "kernel", style)
    texts[f"{PROBE}.sv"] = probe_text("kernel", kernel_ports(spec, style))
    script = tcl(tuple(texts), part, clock_mhz)
    record = {"spec": spec_to_json(spec), "style": style, "part": part, "clock_mhz": clock_mhz}
    record["rtl_sha256"] = sources_sha256(style_of(style, spec).sources)
    with atomic.atomic_folder(folder) as temporary:
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")
        (temporary / "run.tcl").write_text(script, encoding="utf-8")
        (temporary / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return folder


def _header(text: str, name: str) -> str:
    found = re.search(rf"^\|\s*{name}\s*:\s*(.+?)\s*$", text, re.MULTILINE)
    return "" if found is None else found[1]


def parse_utilization(text: str, name: str = UTILIZATION) -> dict[str, float]:
    """Return the counts of a utilization report: the keys of a `VivadoPoint`, halves kept.

    A row that a family has not is 0; raises `InputError` when LUTs, registers or DSPs are missing.
    """
    counts: dict[str, float] = {}
    for key, labels in _ROWS.items():
        for label in labels:
            row = re.search(rf"^\|\s*{label}\*?\s*\|\s*({_NUMBER})\s*\|", text, re.MULTILINE)
            if row is not None:
                counts[key] = float(row[1])
                break
    missing = [key for key in _NEEDED if key not in counts]
    if missing:
        wanted = ", ".join(" or ".join(_ROWS[key]) for key in missing)
        raise InputError(
            f"{name} has no row {wanted}; it must be what report_utilization -file writes"
        )
    return {key: counts.get(key, 0.0) for key in _ROWS}


def parse_timing(text: str, name: str = TIMING) -> tuple[float, float]:
    """Return (period, worst negative slack) in ns of a timing summary with one clock.

    Raises `InputError` when there is no slack (no path between flip-flops, or no clock).
    """
    wanted = f"{name} must be what report_timing_summary -file writes for a design with one clock"
    summary = re.search(rf"^ *WNS\(ns\).*\n *-[- ]*\n *({_NUMBER}|NA)\s", text, re.MULTILINE)
    if summary is None:
        raise InputError(f"{name} has no design timing summary (WNS); {wanted}")
    if summary[1] == "NA":
        raise InputError(f"{name} says WNS NA: no path was timed, is the clock missing? {wanted}")
    clocks = re.findall(
        rf"^\S+\s+\{{{_NUMBER} {_NUMBER}\}}\s+({_NUMBER})\s+{_NUMBER}\s*$", text, re.MULTILINE
    )
    if len(clocks) != 1:
        raise InputError(f"{name} lists {len(clocks)} clocks; {wanted}")
    return float(clocks[0]), float(summary[1])


def read_project(folder: str | Path) -> VivadoPoint:
    """Return the point of a folder in which ``run.tcl`` has run.

    Raises `InputError` when a file is missing or is not what Vivado writes, when the report is of
    another part than the script's, or when nothing was routed.
    """
    root = Path(folder)
    texts = {}
    for name in (RECORD, UTILIZATION, TIMING):
        try:
            texts[name] = (root / name).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InputError(
                f"{root / name} cannot be read; make the folder with `hwquant place --target "
                "vivado -o DIR`, then run: vivado -mode batch -source run.tcl"
            ) from error
    try:
        record = json.loads(texts[RECORD])
        spec, style, part = spec_from_json(record["spec"]), record["style"], record["part"]
        sha = str(record["rtl_sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{root / RECORD} is damaged; write the folder again") from error
    report = texts[UTILIZATION]
    device, state = _header(report, "Device"), _header(report, "Design State")
    short = re.sub(r"[^a-z0-9]", "", part.lower())
    if device and not short.startswith(re.sub(r"[^a-z0-9]", "", device.lower())):
        raise InputError(f"{root / UTILIZATION} is of part {device}, the script's is {part}")
    if "Routed" not in state:
        raise InputError(
            f"{root / UTILIZATION} has design state {state or 'unknown'!r}, needed: Routed"
        )
    counts = parse_utilization(report, str(root / UTILIZATION))
    period, slack = parse_timing(texts[TIMING], str(root / TIMING))
    added = probe_flip_flops(kernel_ports(spec, style))
    whole = {key: int(value) for key, value in counts.items() if key != "bram36"}
    return VivadoPoint(
        str(spec.weight), str(spec.act), spec.lanes, spec.length, spec.accumulator.width,
        spec.overflow.value, style, part, _header(report, "Tool Version"), state,
        whole["lut"], whole["lut_logic"], whole["lut_memory"], whole["ff"] - added,
        whole["carry"], whole["dsp"], counts["bram36"], whole["uram"], period, slack, sha,
    )  # fmt: skip


def append(point: VivadoPoint, path: str | Path) -> int:
    """Add ``point`` to the CSV file ``path``, in place of an equal kernel's; returns the rows.

    Raises `InputError` when the file has other columns.
    """
    target = Path(path)
    columns = [field.name for field in fields(VivadoPoint)]
    rows: list[dict[str, str]] = []
    if target.is_file():
        reader = csv.DictReader(io.StringIO(target.read_text(encoding="utf-8")))
        if list(reader.fieldnames or ()) != columns:
            raise InputError(f"{target} is not a file of Vivado points; choose another name")
        rows = list(reader)
    new = {name: str(value) for name, value in asdict(point).items()}
    identity = columns[: columns.index("tool")]
    rows = [row for row in rows if any(row[name] != new[name] for name in identity)]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*rows, new])
    atomic.write_text(target, out.getvalue())
    return len(rows) + 1
