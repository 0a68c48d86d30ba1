# SPDX-License-Identifier: Apache-2.0
"""``hwquant mutate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hw.commands import kernel_options, spec_from_options
from hwquant.cli import emit, json_option
from hwquant.errors import InputError
from hwquant.progress import note

if TYPE_CHECKING:
    from .mutate import MutationReport

__all__ = ["mutate"]

SHOWN = 10  # survivors printed in full
COLUMNS = ("block", "kernel", "mutants", "killed", "equivalent", "listed", "survivors")


@click.command()
@kernel_options
@click.option("--block", metavar="NAME", help="Mutate only this RTL block, e.g. hq_acc.")
@click.option("--all", "all_blocks", is_flag=True, help="Every block, in kernels chosen for it.")
@click.option(
    "--mutants",
    type=int,
    default=200,
    show_default=True,
    help="Mutants in each block of each kernel (all, where there are fewer).",
)
@click.option("--steps", type=int, default=65_536, show_default=True, help="Accumulator steps.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of mutants and stimulus.")
@json_option
@click.pass_context
def mutate(
    ctx: click.Context,
    weight: str | None,
    act: str | None,
    lanes: int,
    length: int | None,
    acc: str,
    overflow: str,
    block: str | None,
    all_blocks: bool,
    mutants: int,
    steps: int,
    seed: int,
    as_json: bool,
) -> None:
    """Put faults into the RTL and see whether `hwquant verify` notices each of them.

    Yosys makes the faults (mutants): one bit at one port of one cell inverted, stuck, or mixed
    with its neighbour.  Each gets the stimulus of `hwquant verify`.  A mutant that survives is
    proved equivalent, or is a failure.  Exit code 1 when there is a failure.

    \b
    Examples:
      hwquant mutate --weight e2m1 --act int4 --acc 12 --overflow saturate
      hwquant mutate --weight e2m1 --act int4 --block hq_decode --json
      hwquant mutate --block hq_acc
      hwquant mutate --all --json
    """
    from .mutate import mutate_designs
    from .mutate_kernels import campaign, kernel

    given = weight is not None or act is not None
    if all_blocks and (given or block is not None):
        raise InputError("--all goes without --weight, --act and --block")
    if not (all_blocks or given or block is not None):
        raise InputError("nothing to mutate; give --weight and --act, --block, or --all")
    if not given:
        default = click.core.ParameterSource.DEFAULT
        names = ("lanes", "length", "acc", "overflow")
        loose = [f"--{name}" for name in names if ctx.get_parameter_source(name) != default]
        if loose:
            raise InputError(f"{', '.join(loose)} goes with --weight and --act")
        targets = campaign(block)
    elif weight is None or act is None:
        raise InputError("--weight and --act go together")
    else:
        spec = spec_from_options(weight, act, lanes, length, acc, overflow)
        targets = [kernel(spec, block)]
    report = mutate_designs(targets, mutants=mutants, seed=seed, steps=steps)
    _tell(report)
    record = report.to_json()
    if as_json:
        emit(record, as_json=True)
    else:
        click.echo(table(record))
    if report.survivors:
        ctx.exit(1)


def _tell(report: MutationReport) -> None:
    """Say which mutants are holes in the stimulus."""
    if not report.survivors:
        return
    note(f"{len(report.survivors)} mutants survive and are not equivalent; the first:")
    for fate in report.survivors[:SHOWN]:
        note(fate.describe())


def table(record: dict[str, Any]) -> str:
    """Return the blocks of a report, and their sums, as aligned text."""
    sums = {"block": "all", "kernel": "", **{key: record[key] for key in COLUMNS[2:]}}
    rows = [COLUMNS, *(tuple(str(row[c]) for c in COLUMNS) for row in [*record["blocks"], sums])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
