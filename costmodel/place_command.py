# SPDX-License-Identifier: Apache-2.0
"""``hwquant place``: a kernel placed and routed, by open tools here or by Vivado elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hw.commands import mac_options, spec_from_options
from hwquant.cli import emit, json_option
from hwquant.errors import InputError

__all__ = ["place"]


@click.command()
@mac_options
@click.option("--style", default="plain", show_default=True, help="Microarchitecture.")
@click.option(
    "--target",
    type=click.Choice(["ecp5", "vivado"]),
    default="ecp5",
    show_default=True,
    help="ecp5: Yosys and nextpnr, now. vivado: write a folder with run.tcl.",
)
@click.option("--dsp", is_flag=True, help="ecp5: let Yosys use 18x18 multipliers.")
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="ecp5: place with the seeds 1 to N.",
)
@click.option("--part", default="xczu3eg-sbva484-1-e", show_default=True, help="vivado: the part.")
@click.option(
    "--clock", type=float, default=400.0, show_default=True, help="vivado: the clock in MHz."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="vivado: the folder to write.")
@click.option(
    "--import",
    "reports",
    type=click.Path(path_type=Path),
    help="Read the reports in this folder, in which run.tcl has run.",
)
@click.option(
    "--into", type=click.Path(path_type=Path), help="With --import: add the point to this CSV file."
)
@json_option
def place(
    weight: str | None,
    act: str | None,
    lanes: int,
    length: int | None,
    acc: str,
    overflow: str,
    style: str,
    target: str,
    dsp: bool,
    seeds: int,
    part: str,
    clock: float,
    out: Path | None,
    reports: Path | None,
    into: Path | None,
    as_json: bool,
) -> None:
    """Place and route one kernel and say what it uses and which clock it reaches.

    On a Lattice ECP5 (LFE5U-25F, speed grade 6) all of it runs here: Yosys, nextpnr, portable
    styles only; lut4 counts LUT4s after routing, fmax_mhz is the median over the seeds.  For AMD
    parts it writes a folder with a Vivado script, and reads Vivado's reports back.

    \b
    Examples:
      hwquant place --weight e2m1 --act int8 --length 256
      hwquant place --weight int8 --act int8 --style booth_portable --seeds 5 --json
      hwquant place --weight e4m3 --act e4m3 --length 256 --style bucket --target vivado -o e4m3
      hwquant place --import e4m3 --into points.csv
    """
    if reports is not None:
        emit(_imported(reports, into), as_json=as_json)
        return
    if into is not None:
        raise InputError("--into needs --import: the folder whose reports to read")
    if weight is None or act is None:
        raise InputError("nothing to place; give --weight and --act, or --import a folder")
    spec = spec_from_options(weight, act, lanes, length, acc, overflow)
    kernel = {"weight": str(spec.weight), "act": str(spec.act), "lanes": spec.lanes}
    kernel |= {"acc_bits": spec.accumulator.width, "style": style}
    if target == "vivado":
        from .place.vivado import write_project

        if out is None:
            raise InputError("--target vivado needs -o: the folder to write")
        folder = write_project(spec, out, style=style, part=part, clock_mhz=clock)
        emit(kernel | {"folder": str(folder), "part": part, "clock_mhz": clock}, as_json=as_json)
        return
    if out is not None:
        raise InputError("-o goes with --target vivado; an ECP5 result is printed")
    from .place.ecp5 import ecp5_flow
    from .place.ecp5 import place as place_on_ecp5

    placed = place_on_ecp5(spec, style, dsp=dsp, seeds=range(1, seeds + 1))
    emit(kernel | placed.to_json() | {"flow": ecp5_flow(dsp=dsp)}, as_json=as_json)


def _imported(folder: Path, into: Path | None) -> dict[str, Any]:
    from .place.vivado import append, read_project

    point = read_project(folder)
    record = point.to_json()
    if into is not None:
        record |= {"file": str(into), "rows": append(point, into)}
    return record
