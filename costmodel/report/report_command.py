# SPDX-License-Identifier: Apache-2.0
"""``hwquant report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hwquant.cli import emit, json_option

__all__ = ["report"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--compare", type=click.Path(path_type=Path), metavar="RUN2", help="Show another run beside it."
)
@click.option("--x", default="lut_sites", show_default=True, help="Metric across.")
@click.option("--y", default="top1", show_default=True, help="Metric up.")
@click.option("--x-sense", type=click.Choice(["min", "max"]), help="Is small or large x good?")
@click.option("--y-sense", type=click.Choice(["min", "max"]), help="Is small or large y good?")
@click.option("--pick", default="knee", show_default=True, metavar="RULE", help="See pareto.")
@click.option(
    "--details",
    type=click.Choice(["none", "pick", "front"]),
    default="pick",
    show_default=True,
    help="Quantize these points again for histograms and the sensitivity of their layers.",
)
@click.option(
    "--refresh",
    type=click.IntRange(1, 3600),
    metavar="SECONDS",
    help="Write the page again and again until the run has ended; the page reloads itself.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Page to write.  [RUN/report.html]"
)
@json_option
def report(
    run: Path,
    compare: Path | None,
    details: str,
    refresh: int | None,
    output: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Write the page of a run: one HTML file that needs no network, also while the run goes on.

    The page holds the front with intervals, every point with its layers, the commands that turn a
    point into hardware, hypervolume over time, and of the picked point histograms and sensitivity
    (computed once, kept in RUN/details).

    \b
    Examples:
      hwquant report runs/a
      hwquant report runs/a --compare runs/b -o both.html
      hwquant report runs/a --x weight_bits --pick best --details front
      hwquant report runs/a --refresh 10
    """
    from costmodel.report.live import View, follow, show

    view = View(
        x=given["x"],
        y=given["y"],
        x_sense=given["x_sense"] or "",
        y_sense=given["y_sense"] or "",
        pick=given["pick"],
        details=details,
    )
    if refresh is not None:
        follow(run, view, refresh, output=output, other=compare)
    emit(show(run, view, output=output, other=compare), as_json=as_json)
