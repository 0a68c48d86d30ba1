# SPDX-License-Identifier: Apache-2.0
"""What ``hwquant cost`` takes besides a kernel or a network: speed, budget, part, interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from hwquant.errors import InputError

__all__ = ["AUTO_FOLDING", "Goal", "goal_options", "goal_request"]

F = TypeVar("F", bound=Callable[..., Any])

AUTO_FOLDING: Final = "auto"
_META: Final = "hwquant.goal."


@dataclass(frozen=True)
class Goal:
    """A goal as the command line describes it; texts are read where they are used.

    ``limits`` are amounts by resource, ``part`` a name, ``level`` that of the intervals,
    ``points`` a file of Vivado points, ``out`` the folder for FINN's files.
    """

    network: Path | None = None
    fps: float | None = None
    clock_mhz: float | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    part: str | None = None
    level: float | None = None
    points: Path | None = None
    out: Path | None = None

    @property
    def searches(self) -> bool:
        """Whether it says how fast or how large the network may be."""
        return self.fps is not None or bool(self.limits)

    def given(self) -> list[str]:
        """Return the options that only a network has a use for."""
        options = {
            "--fps": self.fps,
            "--clock": self.clock_mhz,
            "--budget": self.limits or None,
            "-o": self.out,
        }
        return [name for name, value in options.items() if value is not None]


def _keep(ctx: click.Context, option: click.Parameter, value: Any) -> Any:
    """Keep what was given with the context, so that no command has to hand it on."""
    ctx.meta[f"{_META}{option.name}"] = value
    return value


def goal_options(command: F) -> F:
    """Add the options of a goal; `goal_request` reads them."""

    def option(*names: str, **settings: Any) -> Callable[[F], F]:
        return click.option(*names, expose_value=False, callback=_keep, **settings)

    options = (
        option(
            "--network",
            type=click.Path(path_type=Path),
            metavar="MODEL.onnx",
            help="The network to price; the same as giving it without an option.",
        ),
        option("--fps", type=float, help="Fold the network for so many inferences a second."),
        option("--clock", type=float, metavar="MHZ", help="Clock of --fps.  [default: 200]"),
        option(
            "--budget",
            metavar="lut=N,...",
            help="Fold the network into so many lut, ff, dsp, bram18, uram: as fast as they allow, "
            "or with --fps as cheap as that speed allows.",
        ),
        option(
            "--part",
            metavar="NAME",
            help="Part or board, such as ZU3EG or VCK190: prints the utilisation, exit 1 if it "
            "does not fit.  With --folding auto: the fastest folding that fits.",
        ),
        option(
            "--interval",
            type=float,
            metavar="LEVEL",
            help='Print lut_sites as {"value", "low", "high"}, a prediction interval such as 0.9.',
        ),
        option(
            "--points",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="One kernel: take its price from these Vivado points where they have it (hwquant "
            "place --import DIR --into FILE); --part chooses among parts.",
        ),
        option(
            "-o",
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="Folder for the estimates as FINN names them (JSON).",
        ),
    )
    for add in reversed(options):
        command = add(command)
    return command


def goal_request(ctx: click.Context) -> Goal:
    """Return the goal that a command's options describe.

    Raises `InputError` for impossible numbers or an unknown resource.
    """
    from .parts import budget

    def kept(name: str) -> Any:
        return ctx.meta.get(f"{_META}{name}")

    for name in ("fps", "clock"):
        value = kept(name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise InputError(f"--{name} {value:g}, allowed: a positive number")
    level = kept("interval")
    if level is not None and not 0 < level < 1:
        raise InputError(f"--interval {level:g}, allowed: between 0 and 1, such as 0.9")
    text = kept("budget")
    return Goal(
        network=kept("network"),
        fps=kept("fps"),
        clock_mhz=kept("clock"),
        limits={} if text is None else budget(text),
        part=kept("part"),
        level=level,
        points=kept("points"),
        out=kept("out"),
    )
