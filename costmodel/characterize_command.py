# SPDX-License-Identifier: Apache-2.0
"""``hwquant characterize``: synthesize the planned kernels into the cost model's data."""

from __future__ import annotations

from pathlib import Path

import click

from hwquant.cli import emit, json_option

__all__ = ["characterize"]


@click.command()
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("characterization.csv"),
    show_default=True,
    help="The table; rows of the present RTL and flow in it are kept.",
)
@click.option("--jobs", type=int, default=1, show_default=True, help="Yosys processes at once.")
@click.option("--style", "styles", multiple=True, help="Only this style; may be repeated.")
@click.option("--limit", type=int, help="Only the first so many of the planned kernels.")
@json_option
@click.pass_context
def characterize(
    ctx: click.Context,
    out: Path,
    jobs: int,
    styles: tuple[str, ...],
    limit: int | None,
    as_json: bool,
) -> None:
    """Synthesize the planned kernels and write what they use, one row each.

    The committed table is costmodel/data/characterization.csv; formulas are fitted to it.  A run
    that was stopped goes on where it was.  Exit code 1 when a kernel failed.

    \b
    Examples:
      hwquant characterize --limit 3 --json
      hwquant characterize -o costmodel/data/characterization.csv --jobs 2
      hwquant characterize --style dsp --style dsp_acc
    """
    from costmodel.characterize import characterize as run
    from costmodel.plan import planned
    from hw.styles import STYLES
    from hw.yosys import flow
    from hwquant.errors import InputError

    unknown = [name for name in styles if name not in STYLES]
    if unknown:
        raise InputError(f"kernel style {unknown[0]!r}, allowed: {', '.join(STYLES)}")
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}, allowed 1 or more")
    jobs_here = [job for job in planned() if not styles or job[1] in styles][:limit]
    failed = run(jobs_here, out, jobs=jobs)
    done = {"kernels": len(jobs_here), "failed": failed, "out": str(out), "flow": flow()}
    emit(done, as_json=as_json)
    if failed:
        ctx.exit(1)
