# SPDX-License-Identifier: Apache-2.0
"""What the kernel commands take besides, for pairs of block-scaled formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import click

from hwquant.block import block_format
from hwquant.block_mac import BlockMacSpec, Rounding
from hwquant.errors import InputError, SpecError

__all__ = ["block_options", "block_spec"]

F = TypeVar("F", bound=Callable[..., Any])

_META: Final = "hwquant.block."
_WINDOW: Final = re.compile(r"(-?\d{1,5}):(-?\d{1,5})")


def _keep(ctx: click.Context, option: click.Parameter, value: Any) -> Any:
    """Keep what was given with the context, so that no command has to hand it on."""
    ctx.meta[f"{_META}{option.name}"] = value
    return value


def block_options(command: F) -> F:
    """Add ``--window`` and ``--rounding``; `block_spec` reads them."""
    options = (
        click.option(
            "--window",
            metavar="MSB:LSB|auto",
            expose_value=False,
            callback=_keep,
            help="Block-scaled formats: the accumulator's highest and lowest bit, as powers of "
            "two, e.g. 15:-16 (default: auto, in which nothing is ever lost).",
        ),
        click.option(
            "--rounding",
            type=click.Choice([rule.value for rule in Rounding]),
            expose_value=False,
            callback=_keep,
            help="Block-scaled formats: what becomes of bits below the window "
            "(default: nearest, ties to even).",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _window(text: str | None) -> tuple[int, int] | Literal["auto"]:
    if text is None or text == "auto":
        return "auto"
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise SpecError(f"--window {text!r}, allowed: auto, or MSB:LSB such as 15:-16")
    return int(match[1]), int(match[2])


def block_spec(
    weight: str | None, act: str | None, lanes: int, length: int | None, acc: str, overflow: str
) -> BlockMacSpec | None:
    """Return the block-dot kernel that the options of this command describe, None for another.

    Raises `SpecError` for a mixed pair or a bad window, `InputError` for ``--window`` and
    ``--rounding`` with formats that are not block-scaled.
    """
    meta = click.get_current_context().meta
    window, rounding = (meta.get(f"{_META}{name}") for name in ("window", "rounding"))
    found = [name is not None and block_format(name) is not None for name in (weight, act)]
    if weight is None or act is None or not any(found):
        given = [f"--{n}" for n, v in (("window", window), ("rounding", rounding)) if v is not None]
        if given:
            raise InputError(f"{', '.join(given)} goes with --weight and --act in block formats")
        return None
    if acc != "auto":
        raise InputError("--acc goes with formats of single numbers; a block format has --window")
    return BlockMacSpec(
        weight,
        act,
        lanes,
        length,
        _window(window),
        Rounding.NEAREST if rounding is None else rounding,
        overflow,
    )
