# SPDX-License-Identifier: Apache-2.0
"""``hwquant sweep``."""

from __future__ import annotations

from typing import Any

import click

from costmodel.explore.listing import list_failures, name_of
from hwquant.cli import emit, json_option
from hwquant.progress import note

__all__ = ["sweep"]


def _limits(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> Any:
    """Read NAME=NUMBER options."""
    found: dict[str, float] = {}
    for text in texts:
        name, equals, number = (part.strip() for part in text.partition("="))
        try:
            value = float(number)
        except ValueError:
            raise click.BadParameter(f"{text!r}, allowed NAME=NUMBER") from None
        if not equals or not name or name in found:
            raise click.BadParameter(f"{text!r}, allowed NAME=NUMBER, each name once")
        found[name] = int(value) if value == value // 1 else value
    return found or None


def _split(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in (text or "").split(",") if text is not None)
    if not all(parts):
        raise click.BadParameter(f"{text!r} names nothing between two commas; allowed: F,F,...")
    return parts


@click.command()
@click.argument("model", required=False)
@click.option(
    "--data", help="digits, FILE.npz (x, y) or FILE.py:FUNCTION; a zoo model has its own."
)
@click.option("--weights", callback=_split, metavar="F,F,...", help="Formats of the weights.")
@click.option(
    "--acts", callback=_split, metavar="F,F,...", help="Of the activations; same: the weight's."
)
@click.option(
    "--step", "steps", multiple=True, metavar="STEP", help="A step of the recipe, in order."
)
@click.option("--scale", "scales", multiple=True, help="po2 or float; repeat to sweep both.")
@click.option("--granularity", "granularities", multiple=True, help="per_channel or per_tensor.")
@click.option("--rule", "rules", multiple=True, help="absmax, percentile or mse, for scales.")
@click.option("--style", "styles", multiple=True, help="Kernel style or auto.  [default: plain]")
@click.option("--lanes", type=int, help="Products a cycle in each kernel.  [default: 8]")
@click.option("--folding", help="per-layer, per-channel or shared.  [default: per-layer]")
@click.option("--price", help="synthesis, or formula with an interval.  [default: synthesis]")
@click.option("--part", "parts", multiple=True, metavar="NAME", help="Part or board to fit in.")
@click.option(
    *("--limit", "limits"),
    multiple=True,
    callback=_limits,
    metavar="NAME=N",
    help="Do not measure points surely beyond, such as lut_sites=2000 or weight_bits=40000.",
)
@click.option("--seed", type=int, help="Seed of everything random.  [default: 0]")
@click.option(
    "--seeds", type=int, multiple=True, metavar="SEED", help="A seed to sweep over; repeat it."
)
@click.option("--test-items", type=int, metavar="N", help="Test on the first N items only.")
@click.option("--calib-items", type=int, metavar="N", help="Calibrate on the first N only.")
@click.option("--space", "space_file", type=click.Path(), help="TOML file; options win over it.")
@click.option("--scheduler", default="", metavar="ADDRESS", help="A Dask scheduler to work on.")
@click.option("--workers", type=click.IntRange(1), help="Local processes (default: the cores).")
@click.option("--dry-run", is_flag=True, help="Count points and time, run nothing.")
@click.option("-o", "--output", type=click.Path(), metavar="RUN", help="Folder of the run.")
@json_option
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    space_file: str | None,
    scheduler: str,
    workers: int | None,
    dry_run: bool,
    output: str | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """Measure and price every combination of formats and recipes; draw the Pareto front.

    Every point is quantized and tested, and its kernels are synthesized (equal ones once).
    A killed sweep resumes with the same command; a failed point is listed and the exit code is 1.
    With --price formula nothing is synthesized: prices take no time and have an interval.

    \b
    Examples:
      hwquant sweep zoo:digits_cnn --weights int4,int8,e2m1 --acts same -o runs/a
      hwquant sweep net.py:make@net.pth --data x.npz --weights e2m1,e3m2 --acts int8 -o runs/b
      hwquant sweep zoo:digits_cnn --weights int4,e2m1 --price formula --limit lut_sites=900 -o r
      hwquant sweep --space space.toml --dry-run
      hwquant sweep --space space.toml --scheduler tcp://host:8786 -o runs/c
    """
    from costmodel.explore.space import Space, from_toml

    given = {name: value for name, value in choices.items() if value not in (None, ())}
    if "steps" in given:
        given["steps"] = (given["steps"],)
    space = Space(**((from_toml(space_file) if space_file else {}) | given))
    if dry_run:
        _dry_run(space, workers, as_json=as_json)
        return
    if output is None:
        raise click.UsageError("give the folder of the run with -o RUN (or count with --dry-run)")

    from costmodel.explore.sweep import sweep as run
    from costmodel.report.live import LivePage, View
    from costmodel.report.run import write_page

    done = run(space, output, scheduler=scheduler, workers=workers, watch=LivePage(space))
    list_failures(done.failed, done.folder.logs)
    pruned = len(done.pruned)
    finished = len(done.rows) - len(done.failed) - pruned
    result: dict[str, Any] = {"run": output, "points": len(done.rows), "done": finished}
    result |= {"pruned": pruned} if pruned else {}
    result |= {"failed": len(done.failed), "seconds": round(done.seconds, 1)}
    if finished:
        front = View().front(done.rows)
        write_page(done.folder, space, done.rows, front)
        result |= {"front": sum(front.mask), "knee": name_of(front)}
        note(f"see {done.folder.report}")
    emit(result, as_json=as_json)
    ctx.exit(1 if done.failed else 0)


def _dry_run(space: Any, workers: int | None, *, as_json: bool) -> None:
    from costmodel.explore.forecast import forecast
    from costmodel.explore.space import coordinates

    points = [coordinates(point) for point in space.plan()]
    found = forecast(space, workers)
    if as_json:
        emit(found.to_json() | {"list": points}, as_json=True)
        return
    click.echo("  ".join(points[0]))
    for point in points:
        click.echo("  ".join(str(value) for value in point.values()))
    about = "" if found.seconds is None else f": about {found.seconds:g} s on {found.workers} cores"
    note(
        f"{found.points} points, {found.measurements} to quantize and test, {found.known} of them "
        f"known already, {found.weight_sides} sets of weights{about} ({found.basis}); kernels that "
        "are synthesized come on top"
    )
