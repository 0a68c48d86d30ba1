# SPDX-License-Identifier: Apache-2.0
"""How ``hwquant verify`` ends where units have ports of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hwquant.cli import emit
from hwquant.progress import note

if TYPE_CHECKING:
    from .block import BlockReport
    from .constant import ConstantReport
    from .tile import TileReport

__all__ = ["SHOWN", "tell_report"]

SHOWN = 3  # failing vectors printed in full


def tell_report(ctx: click.Context, report: BlockReport | ConstantReport | TileReport) -> None:
    """Write the JUnit file that was asked for, say what failed, print the record; exit 1 if any."""
    given = ctx.params
    if given["junit"] is not None:
        report.write_junit(given["junit"])
    for warning in report.warnings:
        note(f"warning: {warning}")
    for result in report.results:
        for failure in result.failures[:SHOWN]:
            note(f"{result.unit.label}: {failure.describe()}")
    emit(report.to_json(), as_json=given["as_json"])
    if report.mismatches:
        ctx.exit(1)
