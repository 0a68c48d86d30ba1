# SPDX-License-Identifier: Apache-2.0
"""Plain RTL that kernels are compared with: the library's ``plain`` and a textbook kernel.

Both are synthesized twice, with the multiplier kept apart and merged with its adders; the smallest
of the four is what a page calls plain RTL.  ``data/textbook_mac.sv`` is the textbook's source;
it is verified like any kernel.  Run ``python -m costmodel.baseline`` to measure again.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from hw.library import source_text, sources_sha256
from hw.manifest import spec_to_json
from hw.netlist import kernel_sources
from hw.styles import STYLES
from hw.styles.plain import STYLE as PLAIN
from hw.wrapper import instance, module
from hwquant import atomic
from hwquant.codebook import Codebook
from hwquant.errors import SpecError
from hwquant.mac import MacSpec, Overflow
from hwquant.progress import track
from sim.designs import library_kernel
from sim.engine import verify_designs
from sim.kernels import Design

__all__ = [
    "Baseline",
    "baselines",
    "has_textbook",
    "measure",
    "smallest",
    "textbook_design",
    "write",
]

FILE: Final = "data/baseline.csv"
TEXTBOOK: Final = "textbook_mac.sv"
STEPS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Baseline:
    """One synthesis of plain RTL: ``source`` is ``plain`` or ``textbook``."""

    weight: str
    act: str
    lanes: int
    acc_bits: int
    source: str
    merged: bool
    lut_sites: int
    mac_steps: int
    rtl_sha256: str
    flow: str

    @property
    def name(self) -> str:
        """What a page calls it."""
        return f"{self.source}, {'merged' if self.merged else 'split'}"

    @property
    def current(self) -> bool:
        """Whether the RTL is still what was measured."""
        return self.rtl_sha256 == _sha256(self.source)


def _textbook() -> str:
    return files("costmodel").joinpath("data", TEXTBOOK).read_text(encoding="utf-8")


def _sha256(source: str) -> str:
    if source == "plain":
        return sources_sha256(STYLES["plain"].sources)
    code = (line.partition("//")[0].strip() for line in _textbook().splitlines())
    text = "\n".join((sources_sha256(("hq_mul.sv",)), *filter(None, code)))
    return hashlib.sha256(text.encode()).hexdigest()


def has_textbook(spec: MacSpec) -> bool:
    """Return whether the textbook kernel knows both formats: not codebooks."""
    return not any(isinstance(fmt, Codebook) for fmt in (spec.weight, spec.act))


def textbook_design(spec: MacSpec, name: str = "kernel") -> Design:
    """Return the textbook kernel of ``spec``, ready to verify or to synthesize.

    Raises `SpecError` for an accumulator that clamps: the textbook's wraps.
    """
    if spec.overflow is not Overflow.WRAP:
        raise SpecError("the textbook kernel wraps, allowed: overflow wrap")
    kernel = library_kernel(spec, name, PLAIN)
    parameters = dict(PLAIN.parameters(spec))
    del parameters["Saturate"]
    ports = {
        "clk_i": 0, "rst_i": 0, "en_i": 0, "valid_i": 0, "clear_i": 0,
        "weight_i": spec.lanes * spec.weight.bits, "act_i": spec.lanes * spec.act.bits,
        "valid_o": 0, "acc_o": spec.accumulator.width,
    }  # fmt: skip
    body = instance("textbook_mac", parameters, tuple(ports))
    top = module("Textbook MAC kernel.", spec_to_json(spec), name, ports, body)
    sources = {
        "hq_mul.sv": source_text("hq_mul.sv"),
        TEXTBOOK: _textbook(),
        f"{name}.sv": top,
    }
    return Design((kernel,), sources)


def measure(spec: MacSpec) -> list[Baseline]:
    """Verify the textbook kernel and synthesize both sources, split and merged.

    Raises `MismatchError` when the textbook kernel is wrong, `ToolError` when a tool fails.
    """
    from hw.yosys import flow, synthesize

    design = textbook_design(spec)
    report = verify_designs([design], steps=STEPS)
    report.raise_for_mismatch()
    steps = sum(result.mac_steps for result in report.results)
    texts = {"plain": kernel_sources(spec, "kernel", "plain"), "textbook": dict(design.sources)}
    return [
        Baseline(
            str(spec.weight),
            str(spec.act),
            spec.lanes,
            spec.accumulator.width,
            source,
            merged,
            synthesize(sources, "kernel", merge=merged).lut_sites,
            steps if source == "textbook" else 0,
            _sha256(source),
            flow(merge=merged),
        )
        for source, sources in texts.items()
        for merged in (False, True)
    ]


def read(text: str) -> tuple[Baseline, ...]:
    """Return the rows of a baseline file's text."""
    return tuple(
        Baseline(
            row["weight"],
            row["act"],
            int(row["lanes"]),
            int(row["acc_bits"]),
            row["source"],
            row["merged"] == "1",
            int(row["lut_sites"]),
            int(row["mac_steps"]),
            row["rtl_sha256"],
            row["flow"],
        )
        for row in csv.DictReader(io.StringIO(text))
    )


@cache
def baselines() -> tuple[Baseline, ...]:
    """Return the committed measurements, those of changed RTL left out."""
    text = files("costmodel").joinpath(FILE).read_text(encoding="utf-8")
    return tuple(row for row in read(text) if row.current)


def smallest(spec: MacSpec, among: Iterable[Baseline] | None = None) -> Baseline | None:
    """Return the smallest plain RTL measured for ``spec``, None where nothing was."""
    wanted = (str(spec.weight), str(spec.act), spec.lanes, spec.accumulator.width)
    found = [
        row
        for row in (baselines() if among is None else among)
        if (row.weight, row.act, row.lanes, row.acc_bits) == wanted
    ]
    return min(found, key=lambda row: (row.lut_sites, row.merged, row.source), default=None)


def write(specs: Iterable[MacSpec], path: str | Path) -> None:
    """Measure plain RTL for ``specs`` and write the CSV file ``path``."""
    listed = list(specs)
    found: list[Baseline] = []
    with track("plain RTL", len(listed)) as advance:
        for spec in listed:
            found += measure(spec)
            _store(found, Path(path))
            advance(detail=f"{spec.weight} x {spec.act}")


def _store(found: Iterable[Baseline], target: Path) -> None:
    out = io.StringIO()
    names = [field.name for field in fields(Baseline)]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) | {"merged": int(row.merged)} for row in found)
    atomic.write_text(target, out.getvalue())


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file named first, by default the committed one; further arguments are lanes."""
    import sys

    from .catalogue import catalogue_specs

    given = sys.argv[1:] if arguments is None else list(arguments)
    path = given[0] if given else f"costmodel/{FILE}"
    lanes = [int(number) for number in given[1:]] or [1, 8]
    write(
        [spec for number in lanes for spec in catalogue_specs(number) if has_textbook(spec)], path
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
