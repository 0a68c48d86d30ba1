# SPDX-License-Identifier: Apache-2.0
"""``hwquant rtl``: write the RTL of one kernel."""

from __future__ import annotations

from pathlib import Path

import click

from hwquant.cli import emit, json_option
from hwquant.errors import SpecError
from hwquant.mac import MacSpec

__all__ = ["rtl", "spec_from_options"]


def spec_from_options(
    weight: str, act: str, lanes: int, length: int | None, acc: str, overflow: str
) -> MacSpec:
    """Return the spec that the options of a kernel command describe.

    Raises `SpecError` when ``acc`` is neither ``auto`` nor a number.
    """
    if acc == "auto":
        return MacSpec(weight, act, lanes, length, "auto", overflow)
    if not acc.isdecimal():
        raise SpecError(f"--acc {acc!r}, allowed: auto, or the accumulator width in bits")
    return MacSpec(weight, act, lanes, length, int(acc), overflow)


@click.command()
@click.option("--weight", required=True, metavar="FORMAT", help="Weight format, e.g. e2m1.")
@click.option("--act", required=True, metavar="FORMAT", help="Activation format, e.g. int8.")
@click.option("--lanes", type=int, default=1, show_default=True, help="Products per beat.")
@click.option("--length", type=int, help="Products between two clears (default: lanes).")
@click.option(
    "--acc",
    default="auto",
    show_default=True,
    metavar="auto|BITS",
    help="Accumulator width; auto is the exact width for --length.",
)
@click.option(
    "--overflow",
    type=click.Choice(["wrap", "saturate"]),
    default="wrap",
    show_default=True,
    help="What the accumulator does beyond its range, after each beat.",
)
@click.option("--name", help="Name of the top module (default: made from the spec).")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to write; a kernel generated there earlier is replaced.",
)
@json_option
def rtl(
    weight: str,
    act: str,
    lanes: int,
    length: int | None,
    acc: str,
    overflow: str,
    name: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Write the SystemVerilog of one exact multiply-accumulate kernel.

    The folder holds the top module, the blocks it uses, a plain file list (files.f), a FuseSoC
    core and manifest.json (ports, latency, accumulator, hashes).

    \b
    Examples:
      hwquant rtl --weight e2m1 --act int8 --lanes 16 --length 256 -o kernel
      hwquant rtl --weight int4 --act int4 --acc 12 --overflow saturate -o kernel
    """
    from hw.generate import generate

    bundle = generate(spec_from_options(weight, act, lanes, length, acc, overflow), out, name=name)
    emit(
        {
            "folder": str(bundle.folder),
            "name": bundle.name,
            "style": bundle.style,
            "acc_bits": bundle.spec.accumulator.width,
            "acc_frac": bundle.spec.accumulator.frac,
            "latency_cycles": bundle.latency_cycles,
            "initiation_interval": bundle.initiation_interval,
            "files": [*bundle.files, "files.f", f"{bundle.name}.core", "manifest.json"],
        },
        as_json=as_json,
    )
