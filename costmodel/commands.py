# SPDX-License-Identifier: Apache-2.0
"""``hwquant cost``: the price of a kernel or of a network; beside it, sweep, pareto and demo."""

from __future__ import annotations

from pathlib import Path

import click

from costmodel.explore.commands import demo, pareto, sweep
from hw.commands import kernel_options, style_option
from hw.constant.options import constant_request
from hwquant.cli import emit, json_option

__all__ = ["cost", "demo", "pareto", "sweep"]


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path), metavar="[MODEL.onnx]")
@kernel_options
@style_option
@click.option(
    "--folding",
    type=click.Choice(["per-layer", "per-channel", "shared"]),
    default="per-layer",
    show_default=True,
    help="With a model: one kernel per layer, per output channel, or per pair of formats.",
)
@click.option("--synth", is_flag=True, help="Run synthesis even where a measurement is stored.")
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
    folding: str,
    synth: bool,
    dsp: bool,
    as_json: bool,
) -> None:
    """Price one kernel (--weight, --act) or the kernels and weight memory of an exported network.

    The figures come from Yosys: a stored measurement of the same RTL where there is one (source
    "measured"), else synthesis now (source "synthesis", cached).  Nothing is placed, routed or
    timed.  lut_sites are packed LUT6 sites, lut_raw LUT cells before packing; "flow" says which
    tool and rules counted.

    \b
    Examples:
      hwquant cost --weight e2m1 --act int8 --lanes 16 --length 256 --json
      hwquant cost --weight int4 --act int4 --acc 24 --synth
      hwquant cost --weight e4m3 --act e4m3 --length 256 --synth --style auto
      hwquant cost --weight mxfp4 --act mxfp4 --lanes 8 --window 15:-16
      hwquant cost --constant weights.npy --weight int4 --act int4 --synth
      hwquant cost model.onnx --lanes 4 --folding shared --json
    """
    from costmodel.cost_command import price, tables

    constant = constant_request(ctx)
    if constant is not None:
        from costmodel.constant import constant_price

        found = constant_price(constant.spec, levels=constant.levels, primitive=constant.primitive)
        emit(found, as_json=as_json)
        return
    kernel = {"weight": weight, "act": act, "length": length, "acc": acc, "dsp": dsp}
    record = price(
        model, kernel, lanes=lanes, overflow=overflow, folding=folding, synth=synth, style=style
    )
    if as_json or model is None:
        emit(record, as_json=as_json)
        return
    emit({k: v for k, v in record.items() if k not in ("kernels", "layers")}, as_json=False)
    click.echo(f"\n{tables(record)}")
