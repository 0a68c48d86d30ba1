# SPDX-License-Identifier: Apache-2.0
"""``hwquant rtl``: write the RTL of one kernel, or of all kernels of a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hwquant.block_mac import BlockMacSpec
from hwquant.cli import emit, json_option
from hwquant.errors import InputError, SpecError
from hwquant.mac import MacSpec

from .block_options import block_options, block_spec
from .constant.options import Constant, constant_options, constant_request
from .tile_options import Tile, tile_options, tile_request

__all__ = ["kernel_options", "mac_options", "rtl", "spec_from_options", "style_option"]

F = TypeVar("F", bound=Callable[..., Any])


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


def mac_options(command: F) -> F:
    """Add the options that describe one MAC kernel."""
    options = (
        click.option("--weight", metavar="FORMAT", help="Weight format, e.g. e2m1."),
        click.option("--act", metavar="FORMAT", help="Activation format, e.g. int8."),
        click.option("--lanes", type=int, default=1, show_default=True, help="Products per beat."),
        click.option("--length", type=int, help="Products between two clears (default: lanes)."),
        click.option(
            "--acc",
            default="auto",
            show_default=True,
            metavar="auto|BITS",
            help="Accumulator width; auto is the exact width for --length.",
        ),
        click.option(
            "--overflow",
            type=click.Choice(["wrap", "saturate"]),
            default="wrap",
            show_default=True,
            help="What the accumulator does beyond its range, after each beat.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def kernel_options(command: F) -> F:
    """Add the options that describe one kernel of any kind, or a network's lanes and overflow."""
    return block_options(constant_options(mac_options(command)))


def style_option(command: F) -> F:
    """Add the option that names a microarchitecture."""
    return click.option(
        "--style",
        default="plain",
        show_default=True,
        metavar="NAME|auto|auto-beat|auto-dsp",
        help="Microarchitecture: plain is portable; auto is the smallest verified one without a "
        "DSP, auto-beat the smallest with a result every beat, auto-dsp the smallest with one "
        "DSP at most.",
    )(command)


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path), metavar="[MODEL.onnx]")
@kernel_options
@tile_options
@style_option
@click.option("--name", help="Name of the top module (default: made from the spec).")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to write; an earlier result there is replaced.",
)
@json_option
@click.pass_context
def rtl(
    ctx: click.Context,
    model: Path | None,
    weight: str | None,
    act: str | None,
    lanes: int,
    length: int | None,
    acc: str,
    overflow: str,
    style: str,
    name: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Write the SystemVerilog of an exact multiply-accumulate kernel, or of a network's kernels.

    The folder holds the top module, the blocks it uses, a plain file list (files.f), a FuseSoC
    core and manifest.json (ports, latency, accumulator, hashes).  For an exported network it holds
    one such folder per distinct kernel, and layers.json says which layer uses which.

    \b
    Examples:
      hwquant rtl --weight e2m1 --act int8 --lanes 16 --length 256 -o kernel
      hwquant rtl --weight int4 --act int4 --acc 12 --overflow saturate -o kernel
      hwquant rtl --weight e4m3 --act e4m3 --length 256 --style auto -o kernel
      hwquant rtl --weight mxfp4 --act mxfp8e4m3 --lanes 8 --window 15:-16 -o kernel
      hwquant rtl --constant weights.npy --weight int4 --act int4 -o kernel
      hwquant rtl --tile dsp --weight int4 --act int4 --length 256 -o tile
      hwquant rtl model.onnx --lanes 4 -o kernels
    """
    tile = tile_request(ctx)
    if tile is not None:
        emit(_tile(tile, out, name), as_json=as_json)
        return
    constant = constant_request(ctx)
    if constant is not None:
        emit(_constant_kernel(constant, out, name), as_json=as_json)
        return
    if model is not None:
        fixed = {"--weight": weight, "--act": act, "--length": length, "--name": name}
        given = [option for option, value in fixed.items() if value is not None]
        given += ["--acc"] if acc != "auto" else []
        if given:
            raise InputError(f"{', '.join(given)} cannot go with {model}, which fixes the kernels")
        emit(_network(model, out, lanes, overflow, style), as_json=as_json)
        return
    if weight is None or act is None:
        raise InputError("nothing to write; give --weight and --act, or an exported .onnx file")
    block = block_spec(weight, act, lanes, length, acc, overflow)
    if block is not None:
        emit(_block_kernel(block, out, name, style), as_json=as_json)
        return
    spec = spec_from_options(weight, act, lanes, length, acc, overflow)
    emit(_kernel(spec, out, name, style), as_json=as_json)


def _kernel(spec: MacSpec, out: Path, name: str | None, style: str) -> dict[str, Any]:
    from hw.generate import generate

    bundle = generate(spec, out, name=name, style=style)
    return {
        "folder": str(bundle.folder),
        "name": bundle.name,
        "style": bundle.style,
        "style_why": bundle.manifest["style_why"],
        "acc_bits": bundle.spec.accumulator.width,
        "acc_frac": bundle.spec.accumulator.frac,
        "latency_cycles": bundle.latency_cycles,
        "initiation_interval": bundle.initiation_interval,
        "files": [*bundle.files, "files.f", f"{bundle.name}.core", "manifest.json"],
    }


def _block_kernel(spec: BlockMacSpec, out: Path, name: str | None, style: str) -> dict[str, Any]:
    from hw.block_kernel import generate_block

    bundle = generate_block(spec, out, name=name, style=style)
    msb, lsb = spec.bounds
    return {
        "folder": str(bundle.folder),
        "name": bundle.name,
        "style": bundle.style,
        "style_why": bundle.manifest["style_why"],
        "window": f"{msb}:{lsb}",
        "acc_bits": spec.accumulator.width,
        "lossless": spec.lossless,
        "latency_cycles": bundle.latency_cycles,
        "initiation_interval": 1,
        "files": [*bundle.files, "files.f", f"{bundle.name}.core", "manifest.json"],
    }


def _constant_kernel(request: Constant, out: Path, name: str | None) -> dict[str, Any]:
    from hw.constant.kernel import generate_constant

    bundle = generate_constant(
        request.spec, out, name=name, levels=request.levels, primitive=request.primitive
    )
    return {
        "folder": str(bundle.folder),
        "name": bundle.name,
        "style": bundle.style,
        "acc_bits": max(bundle.spec.out_bits),
        "acc_frac": bundle.spec.frac,
        "latency_cycles": bundle.latency_cycles,
        "initiation_interval": 1,
        "estimated_sites": bundle.manifest["estimate"]["lut_sites"],
        "files": [*bundle.files, "files.f", f"{bundle.name}.core", "manifest.json"],
    }


def _tile(request: Tile, out: Path, name: str | None) -> dict[str, Any]:
    from hw.tile import generate_tile

    bundle = generate_tile(request.spec, out, name=name, primitive=request.primitive)
    layout, timing = bundle.manifest["layout"], bundle.manifest["interface"]
    return {
        "folder": str(bundle.folder),
        "name": bundle.name,
        "style": bundle.style,
        "shape": f"{layout['weights']}x{layout['acts']}",
        "products_per_dsp": layout["products"],
        "dsps": bundle.manifest["dsps"],
        "acc_bits": bundle.manifest["accumulator"]["width"],
        **{key: value for key, value in timing.items() if key != "ports"},
        "files": [*bundle.files, "files.f", f"{bundle.name}.core", "manifest.json"],
    }


def _network(model: Path, out: Path, lanes: int, overflow: str, style: str) -> dict[str, Any]:
    from hw.layers import generate_layers
    from hwquant.graph import load

    users = generate_layers(
        load(model).workload().layers, out, lanes=lanes, overflow=overflow, style=style
    )
    return {"folder": str(out), "kernels": sorted(set(users.values())), "layers": users}
