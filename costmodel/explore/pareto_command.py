# SPDX-License-Identifier: Apache-2.0
"""``hwquant pareto``."""

from __future__ import annotations

import click

from costmodel.explore.listing import line_of, print_table, proof_of, varied
from hwquant.cli import emit, json_option

__all__ = ["pareto"]


@click.command()
@click.argument("run", type=click.Path())
@click.option("--x", default="lut_sites", show_default=True, help="Metric across.")
@click.option("--y", default="top1", show_default=True, help="Metric up.")
@click.option("--x-sense", type=click.Choice(["min", "max"]), help="Is small or large x good?")
@click.option("--y-sense", type=click.Choice(["min", "max"]), help="Is small or large y good?")
@click.option(
    "--pick",
    default="knee",
    show_default=True,
    metavar="RULE",
    help="knee, best (y), cheapest (x), a bound on y: '>=0.97', or any metrics: "
    "'max top1 where lut_sites<=2000 and dsp<=0'.",
)
@click.option("-o", "--output", type=click.Path(), help="Figure to write: .svg, .png or .pdf.")
@click.option(
    "--table",
    "table_file",
    type=click.Path(),
    metavar="FILE",
    help="Write all points as one table: .csv, .json or .parquet (the parquet extra).",
)
@click.option(
    "--size",
    default="page",
    show_default=True,
    metavar="SIZE",
    help="Of the figure: page, column or wide (of a paper), slide, or WIDTHxHEIGHT in inches.",
)
@click.option(
    "--take", "taking", is_flag=True, help="Export, generate and verify the picked point in RUN."
)
@json_option
@click.pass_context
def pareto(
    ctx: click.Context,
    /,
    run: str,
    x: str,
    y: str,
    x_sense: str | None,
    y_sense: str | None,
    pick: str,
    output: str | None,
    table_file: str | None,
    size: str,
    taking: bool,
    as_json: bool,
) -> None:
    """Print the Pareto front of a run and pick one of its points; also while the run goes on.

    `hwquant take` writes the picked point into a folder of its own.  With --take it becomes
    RUN/model.onnx (checked), RUN/rtl and RUN/verify.xml, and the report of the run tells of it;
    exit code 1 means that something is not bit-exact.

    \b
    Examples:
      hwquant pareto runs/a --x lut_sites --y top1 --json
      hwquant pareto runs/a --pick '>=0.97' -o front.svg
      hwquant pareto runs/a --pick 'max top1 where lut_sites<=400'
      hwquant pareto runs/a --x weight_bits --y top1 --size column -o memory.pdf
      hwquant pareto runs/a --pick knee --take
    """
    from costmodel.explore import store, table
    from costmodel.explore.folder import load
    from costmodel.report import plots
    from costmodel.report.front import find_front
    from costmodel.report.run import draw_front

    folder, space = load(run)
    axes = plots.axis(x, x_sense or ""), plots.axis(y, y_sense or "")
    rows = store.read(folder.store)
    if table_file is not None:
        table.write(rows, table_file)
    front = find_front(rows, *axes, pick)
    if output is not None:
        draw_front(front, space, output, size=size)
    taken = None
    if taking:
        from costmodel.explore.take import take
        from costmodel.report.run import write_page

        taken = take(folder, space, front.choice)
        write_page(folder, space, rows, front, taken)
    names = varied(front)
    lines = [line_of(front, index, names) for index in front.order]
    picked = line_of(front, front.chosen, names)
    if as_json:
        flow = front.choice.metrics.get("flow", "")
        record = {"run": run, "x": x, "y": y, "points": len(front.rows), "front": lines}
        record |= {"pick": picked, "rule": pick, "hypervolume": front.hypervolume, "flow": flow}
        emit(record | ({} if taken is None else taken.to_json()), as_json=True)
    else:
        marked = [line | {"mark": "<- picked" if line == picked else ""} for line in lines]
        print_table(marked, [name for name in picked if name != "key"])
        if taken is not None:
            click.echo(f"\n{proof_of(taken)}")
    ctx.exit(0 if taken is None or taken.sound else 1)
