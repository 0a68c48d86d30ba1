# SPDX-License-Identifier: Apache-2.0
"""``hwquant cost``: the price of a kernel or of a network."""

from __future__ import annotations

from pathlib import Path

import click

from costmodel.goal import goal_options, goal_request
from hw.commands import kernel_options, style_option
from hw.constant.options import constant_request
from hw.tile_options import tile_options, tile_request
from hwquant.cli import emit, json_option

__all__ = ["cost"]


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path), metavar="[MODEL.onnx]")
@kernel_options
@tile_options
@style_option
@goal_options
@click.option(
    "--folding",
    type=click.Choice(["per-layer", "per-channel", "shared", "auto"]),
    help="With a model: one kernel per layer, per output channel, or per pair of formats; auto "
    "(and --fps, --budget) searches kernels and lanes for each layer.  [default: per-layer]",
)
@click.option("--synth", is_flag=True, help="Run synthesis, whatever is measured or estimated.")
@click.option("--dsp", is_flag=True, help="One kernel: let synthesis use DSP blocks.")
@json_option
@click.pass_context
def cost(
    ctx: click.Context,
    model: Path | None,
    weight: str | None,
    act: str | None,
    lanes: int,
    length: int | None,
    acc: str,
    overflow: str,
    style: str,
    folding: str | None,
    synth: bool,
    dsp: bool,
    as_json: bool,
) -> None:
    """Price one kernel (--weight, --act) or the kernels and weight memory of an exported network.

    Figures are those of Yosys: a stored measurement of the same RTL where there is one (source
    "measured"), else the formulas fitted to such measurements ("formula"), else synthesis now
    ("synthesis", cached).  Nothing of it is placed, routed or timed; --points prefers what Vivado
    made of the same RTL ("vivado").  lut_sites are packed LUT6 sites, lut_raw LUT cells before
    packing; "flow" says which tool and rules counted.

    A network's totals stand twice: without and with the conversion of sums back to the next
    layer's format.  With --fps or --budget every layer is folded onto PE kernels of SIMD lanes, PE
    dividing its channels and SIMD its products.  Exit 1: the network does not fit the part.

    \b
    Examples:
      hwquant cost --weight e2m1 --act int8 --lanes 16 --length 256 --json
      hwquant cost --weight int4 --act int4 --acc 24 --synth
      hwquant cost --weight e4m3 --act e4m3 --length 256 --synth --style auto
      hwquant cost --weight e3m2 --act int8 --lanes 8 --interval 0.9 --json
      hwquant cost --weight mxfp4 --act mxfp4 --lanes 8 --window 15:-16
      hwquant cost --weight e4m3 --act e4m3 --length 256 --points vivado.csv --part ZU3EG
      hwquant cost --tile lut --weight int4 --act int4 --length 256 --part ZU3EG
      hwquant cost --constant weights.npy --weight int4 --act int4 --synth
      hwquant cost model.onnx --lanes 4 --folding shared --json
      hwquant cost model.onnx --fps 5000 --clock 250 --style auto --part ZU3EG -o report
      hwquant cost --network model.onnx --budget lut=20000,dsp=0 --style auto
    """
    from costmodel.cost_command import facts, price, price_tile, tables

    goal = goal_request(ctx)
    tile = tile_request(ctx)
    if tile is not None:
        found = price_tile(tile, goal, folding, synth=synth, dsp=dsp)
        emit(found, as_json=True) if as_json else click.echo(facts(found))
        return
    constant = constant_request(ctx)
    if constant is not None:
        from costmodel.constant import constant_price

        levels, primitive = constant.levels, constant.primitive
        found = constant_price(constant.spec, levels=levels, primitive=primitive, synth=synth)
        emit(found, as_json=as_json)
        return
    default = click.core.ParameterSource.DEFAULT
    record = price(
        model,
        {"weight": weight, "act": act, "length": length, "acc": acc, "dsp": dsp},
        goal,
        lanes=None if ctx.get_parameter_source("lanes") == default else lanes,
        overflow=overflow,
        folding=folding,
        synth=synth,
        style=style,
    )
    if as_json:
        emit(record, as_json=True)
    else:
        click.echo(tables(record) if "layers" in record else facts(record))
    if record.get("fits") is False:
        need = ", ".join(f"{n} {used} of {has}" for n, (used, has) in record["over_budget"].items())
        click.echo(f"hwquant: does not fit {record['part']['name']}: {need}", err=True)
        ctx.exit(1)
