# SPDX-License-Identifier: Apache-2.0
"""``hwquant verify`` of tiles."""

from __future__ import annotations

from typing import Any

import click

from hw.tile import is_tile_folder
from hw.tile_options import tile_request
from hwquant.errors import InputError

from .unit_command import tell_report

__all__ = ["verify_tile_target"]

OTHER = ("coverage", "save", "waves", "replay", "all_pairs")


def verify_tile_target(ctx: click.Context) -> bool:
    """Verify a tile where the options or the target mean one, and return whether they do.

    Raises `InputError` for options that do not go with it.
    """
    given, target = ctx.params, ctx.params["target"]
    request = tile_request(ctx)
    if request is None and (target is None or not is_tile_folder(target)):
        return False
    default = click.core.ParameterSource.DEFAULT
    fixed = ("weight", "act", "lanes", "length", "acc", "overflow", "style") if target else ()
    wrong = [name for name in fixed if ctx.get_parameter_source(name) != default]
    if wrong:
        raise InputError(f"--{wrong[0]} cannot go with {target}, which fixes the kernels")
    wrong = [name for name in OTHER if given[name]]
    if wrong:
        raise InputError(f"--{wrong[0].replace('_', '-')} does not go with a tile")
    if given["dsp"] and not given["netlist"]:
        raise InputError("--dsp goes with --netlist: RTL is the same with and without DSP blocks")
    from .tile import tile_design, verify_tile, verify_tile_designs

    numbers: dict[str, Any] = {name: given[name] for name in ("seed", "steps", "netlist", "dsp")}
    if request is None:
        report = verify_tile(target, **numbers)
    else:
        design = tile_design([request.spec], primitive=request.primitive)
        report = verify_tile_designs([design], **numbers)
    tell_report(ctx, report)
    return True
