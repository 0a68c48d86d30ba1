# SPDX-License-Identifier: Apache-2.0
"""``hwquant demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from costmodel.explore.listing import line_of, list_failures, name_of, print_table, proof_of
from hwquant.cli import emit, json_option
from hwquant.progress import note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from costmodel.explore.take import Taken
    from costmodel.report.front import Front

__all__ = ["demo"]


@click.command()
@click.option(
    "-o", "--output", default="runs/demo", show_default=True, type=click.Path(), metavar="RUN"
)
@click.option("--workers", type=click.IntRange(1), help="Local processes (default: the cores).")
@json_option
@click.pass_context
def demo(ctx: click.Context, /, output: str, workers: int | None, as_json: bool) -> None:
    """Show the whole path on real data: train, sweep, price, pick, export, generate, prove.

    A small network is trained on scikit-learn's handwritten digits and quantized to thirteen
    formats; every point is priced by synthesis; the knee of the Pareto front is exported as
    QONNX, and its kernels are generated and verified bit for bit in Verilator.

    \b
    Examples:
      hwquant demo
      hwquant demo -o runs/first --json
    """
    from costmodel.explore.demo import DEMO
    from costmodel.explore.sweep import sweep as run
    from costmodel.explore.take import take
    from costmodel.report.live import View
    from costmodel.report.run import write_page

    note(f"demo: {len(DEMO.points())} formats on real handwritten digits; results in {output}")
    done = run(DEMO, output, workers=workers)
    list_failures(done.failed, done.folder.logs)
    front = View().front(done.rows)
    note(f"demo: the knee is {name_of(front)}; exporting, generating and verifying it")
    taken = take(done.folder, DEMO, front.choice)
    write_page(done.folder, DEMO, done.rows, front, taken)
    good = taken.sound and not done.failed
    if as_json:
        emit(_demo_record(output, front, taken, len(done.failed)), as_json=True)
    else:
        _tell(output, front, taken)
    ctx.exit(0 if good else 1)


def _demo_record(output: str, front: Front, taken: Taken, failed: int) -> Mapping[str, Any]:
    points = [line_of(front, index) | {"on_front": front.mask[index]} for index in _by_x(front)]
    return {
        "run": output,
        "points": points,
        "failed": failed,
        "chosen": line_of(front, front.chosen),
        "float_top1": front.choice.metrics["float_top1"],
        "flow": front.choice.metrics["flow"],
    } | taken.to_json()


def _by_x(front: Front) -> list[int]:
    return sorted(range(len(front.rows)), key=lambda i: (front.x[i], front.y[i]))


def _tell(output: str, front: Front, taken: Taken) -> None:
    """Print the table of the demo, what was proven, and what to look at next."""
    lines = [
        line_of(front, index)
        | {"mark": "<- knee" if index == front.chosen else "front" if front.mask[index] else ""}
        for index in _by_x(front)
    ]
    print_table(lines, ["point", "lut_sites", "top1", "acc_bits", "weight_bits"])
    click.echo(
        f"\nfloat accuracy  {front.choice.metrics['float_top1']:.4f}\n"
        f"{proof_of(taken)}\n"
        f"priced by       {front.choice.metrics['flow']}\n\n"
        f"Look next at\n"
        f"  {output}/report.html   the page of this run: figure, table, layers, commands\n"
        f"  {output}/pareto.svg    the front\n"
        f"  {output}/model.onnx    the chosen network, for any QONNX tool\n"
        f"  {output}/rtl/          its kernels: SystemVerilog and manifest\n"
        f"  hwquant pareto {output} --pick '>=0.98'"
    )
