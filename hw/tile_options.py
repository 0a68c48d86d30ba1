# SPDX-License-Identifier: Apache-2.0
"""What ``hwquant rtl`` and ``verify`` take besides, for tiles of one DSP slice."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from hwquant.errors import InputError, SpecError
from hwquant.formats import parse

from .tile import ADDERS, TileSpec

__all__ = ["STYLES", "Tile", "tile_options", "tile_request"]

F = TypeVar("F", bound=Callable[..., Any])

STYLES: Final = ("dsp_tile", "dsp_tile_portable")
LENGTH: Final = 256
_META: Final = "hwquant.tile."
_SHAPE: Final = re.compile(r"(\d{1,2})x(\d{1,2})")


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile as the command line describes it; ``primitive``: with device cells."""

    spec: TileSpec
    primitive: bool


def _keep(ctx: click.Context, option: click.Parameter, value: Any) -> Any:
    """Keep what was given with the context, so that no command has to hand it on."""
    ctx.meta[f"{_META}{option.name}"] = value
    return value


def tile_options(command: F) -> F:
    """Add ``--tile`` and ``--shape``; `tile_request` reads them."""
    options = (
        click.option(
            "--tile",
            type=click.Choice(ADDERS),
            expose_value=False,
            callback=_keep,
            help="Several MACs whose products come from one DSP slice, each with an accumulator "
            "of its own in LUTs, or in the slice (dsp: integers of few bits).",
        ),
        click.option(
            "--shape",
            metavar="WxA",
            expose_value=False,
            callback=_keep,
            help="With --tile: W weights by A activations a beat (default: the most products).",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _shape(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    match = _SHAPE.fullmatch(text)
    if match is None or "0" in match.groups():
        raise SpecError(f"--shape {text!r}, allowed: weights x activations of a beat, such as 2x2")
    return int(match[1]), int(match[2])


def tile_request(ctx: click.Context) -> Tile | None:
    """Return the tile that a command's options describe, None where they do not.

    Raises `InputError` for options that do not go with it, `SpecError` for what no slice can do.
    """
    adder, shape = (ctx.meta.get(f"{_META}{name}") for name in ("tile", "shape"))
    if adder is None:
        if shape is not None:
            raise InputError("--shape goes with --tile")
        return None
    params, default = ctx.params, click.core.ParameterSource.DEFAULT
    other = ("lanes", "overflow", "model", "target", "constant", "window", "rounding", "all_pairs")
    given = [name for name in other if ctx.get_parameter_source(name) not in (default, None)]
    if given:
        raise InputError(f"{given[0].replace('_', '-')} cannot go with --tile")
    style = params["style"]
    if ctx.get_parameter_source("style") == default:
        style = STYLES[0]
    if style not in STYLES:
        raise SpecError(f"--style {style!r}, allowed with --tile: {', '.join(STYLES)}")
    weight, act, acc = params["weight"], params["act"], params["acc"]
    if weight is None or act is None:
        raise InputError("--tile needs --weight and --act")
    if acc != "auto" and not acc.isdecimal():
        raise SpecError(f"--acc {acc!r}, allowed: auto, or the accumulator width in bits")
    weights, acts = _shape(shape)
    spec = TileSpec(
        parse(weight),
        parse(act),
        LENGTH if params["length"] is None else params["length"],
        None if acc == "auto" else int(acc),
        adder,
        weights,
        acts,
    )
    return Tile(spec, style == STYLES[0])
