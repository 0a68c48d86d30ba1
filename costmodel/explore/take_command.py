# SPDX-License-Identifier: Apache-2.0
"""``hwquant take``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from costmodel.explore.listing import proof_of
from hwquant.cli import emit, json_option
from hwquant.errors import InputError
from hwquant.progress import note

__all__ = ["take"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--pick",
    default="knee",
    show_default=True,
    metavar="RULE",
    help="knee, best, cheapest, '>=0.97', 'max top1 where lut_sites<=2000', or key:START.",
)
@click.option("--x", default="lut_sites", show_default=True, help="Metric across, for the rule.")
@click.option("--y", default="top1", show_default=True, help="Metric up, for the rule.")
@click.option("--x-sense", type=click.Choice(["min", "max"]), help="Is small or large x good?")
@click.option("--y-sense", type=click.Choice(["min", "max"]), help="Is small or large y good?")
@click.option("--fps", type=float, help="Fold anew for so many inferences a second, at --clock.")
@click.option("--clock", type=float, metavar="MHZ", help="Clock of --fps.  [default: 200]")
@click.option("--budget", metavar="lut=N,...", help="Fold anew into so many lut, ff, dsp, bram18.")
@click.option("--part", metavar="NAME", help="Fold anew into a part or board, such as ZU3EG.")
@click.option(
    "--style", type=click.Choice(["plain", "auto"]), help="Kernels of a new folding.  [plain]"
)
@click.option("--check", is_flag=True, help="RUN is a folder that -o wrote: check it again.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="The folder.")
@json_option
@click.pass_context
def take(
    ctx: click.Context,
    /,
    run: Path,
    check: bool,
    output: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Write the picked point of a run as hardware: one folder, verified, that stands alone.

    DIR gets the QONNX model (checked code for code), the RTL of every kernel (proven bit-exact),
    weight memories for $readmemh, cost files, a README that says how to check all of it again, and
    a CI job.  Kernels and cost are those the point was priced with; --fps, --budget and --part
    fold the network anew.  Exit code 1 when anything is not bit-exact.

    \b
    Examples:
      hwquant take runs/a --pick knee -o hardware
      hwquant take runs/a --pick 'max top1 where lut_sites<=2000' -o hardware --json
      hwquant take runs/a --pick best --fps 1000 --style auto -o hardware
      hwquant take --check hardware
    """
    if check:
        _check(ctx, run, output, as_json=as_json)
        return
    if output is None:
        raise click.UsageError("give the folder to write with -o DIR")

    from costmodel.explore import store
    from costmodel.explore.folder import load
    from costmodel.explore.hardware_folder import take_folder
    from costmodel.report import plots
    from costmodel.report.front import find_front

    goal = _goal(given)
    folder, space = load(run)
    axes = [plots.axis(given[name], given[f"{name}_sense"] or "") for name in ("x", "y")]
    front = find_front(store.read(folder.store), axes[0], axes[1], given["pick"])
    row = front.choice
    taken = take_folder(folder, space, row, output, goal)
    if as_json:
        record = {"run": str(run), "folder": str(output), "key": row.key, "point": row.point}
        emit(record | taken.to_json(), as_json=True)
    else:
        click.echo(proof_of(taken))
        note(f"see {output / 'README.md'}")
    ctx.exit(0 if taken.sound else 1)


def _goal(given: dict[str, Any]) -> Any:
    """Return what a new folding is searched for, None to keep the one the point was priced with."""
    from costmodel.explore.hardware_plan import Goal
    from costmodel.parts import budget

    limits = {} if given["budget"] is None else budget(given["budget"])
    goal = Goal(given["fps"], limits, given["part"], style=given["style"] or "plain")
    if not goal.searches:
        loose = [f"--{name}" for name in ("clock", "style") if given[name] is not None]
        if loose:
            raise InputError(f"{loose[0]} goes with a new folding: give --fps, --budget or --part")
        return None
    if given["clock"] is None:
        return goal
    return Goal(goal.fps, goal.limits, goal.part, given["clock"], goal.style)


def _check(ctx: click.Context, folder: Path, output: Path | None, *, as_json: bool) -> None:
    if output is not None:
        raise InputError("--check reads a folder and writes none; leave -o out")
    from costmodel.explore.hardware_folder import check_folder

    found = check_folder(folder)
    emit(found.to_json(), as_json=as_json)
    for name in found.changed:
        note(f"changed: {name}")
    for layer in found.wrong_layers:
        note(f"layer {layer}: the weight memory is not that of model.onnx")
    ctx.exit(0 if found.sound else 1)
