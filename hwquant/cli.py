# SPDX-License-Identifier: Apache-2.0
"""The ``hwquant`` command: finds its subcommands by entry point and turns errors into exit codes.

Exit 0: done.  Exit 1: a check failed.  Exit 2: the input or the tools were wrong.
stdout carries data, stderr carries talk.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import click

from hwquant.errors import HwquantError

__all__ = ["emit", "json_option", "main"]

F = TypeVar("F", bound=Callable[..., Any])


class EntryPointGroup(click.Group):
    """A group whose commands are the entry points of ``hwquant.commands``, loaded on demand."""

    @staticmethod
    def _found() -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group="hwquant.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all installed subcommands."""
        return sorted(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one subcommand."""
        point = self._found().get(cmd_name)
        return None if point is None else point.load()


def json_option(command: F) -> F:
    """Add ``--json`` (one JSON object on stdout) to a command, as the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def emit(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print ``result`` on stdout, as JSON or as aligned ``key value`` lines."""
    if as_json:
        click.echo(json.dumps(result, default=str))
        return
    width = max((len(key) for key in result), default=0)
    for key, item in result.items():
        click.echo(f"{key:<{width}}  {item}")


@click.group(cls=EntryPointGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hwquant")
def hwquant() -> None:
    """Pick number formats for an FPGA: quantize, price, explore, generate RTL, prove it.

    \b
    Examples:
      hwquant demo
      hwquant format e2m1 --table
      hwquant cost --weight e2m1 --act int8 --lanes 16 --acc auto --synth
    """


def main() -> None:
    """Run the command line; every foreseen error is one line on stderr and exit code 2."""
    try:
        code = hwquant(prog_name="hwquant", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)  # what a command returns is no exit code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.UsageError as error:
        text = " ".join(error.format_message().split()).removesuffix(".")
        command = error.ctx.command_path if error.ctx else "hwquant"
        click.echo(f"hwquant: error: {text}; see `{command} --help`", err=True)
        sys.exit(2)
    except click.Abort:
        click.echo("Aborted!", err=True)
        sys.exit(1)
    except HwquantError as error:
        click.echo(f"hwquant: error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        click.echo(
            f"hwquant: error: the system refused{where}: {error.strerror or error}", err=True
        )
        sys.exit(2)
