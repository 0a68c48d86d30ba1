# SPDX-License-Identifier: Apache-2.0
"""Commands of the bottom floor: ``hwquant format`` and ``hwquant doctor``."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import click

from hwquant import codec, formats
from hwquant.block import BlockFormat, parse, scale_value
from hwquant.cli import emit, json_option

__all__ = ["doctor", "format_"]


def _number(x: Fraction) -> int | float:
    """Return ``x`` as a JSON number; every format value is a float64 exactly."""
    return int(x) if x.denominator == 1 and abs(x) < 1 << 53 else float(x)


def _class_of(fmt: formats.Format, code: int) -> str:
    if codec.decode(fmt, code) == 0:
        return "zero"
    if isinstance(fmt, formats.Codebook):
        return f"{codec.decode(fmt, code)} steps"
    if isinstance(fmt, formats.Integer) or fmt.exponent_bits == 0:
        return "integer"
    exponent = code >> fmt.mantissa_bits & (1 << fmt.exponent_bits) - 1
    return "normal" if exponent else "subnormal"


@click.command("format")
@click.argument("name")
@click.option("--table", is_flag=True, help="List every code with its bits, value and class.")
@json_option
def format_(name: str, *, table: bool, as_json: bool) -> None:
    """Explain the number format NAME: its range, step and codes.

    \b
    Examples:
      hwquant format e2m1 --table
      hwquant format int4n --json
      hwquant format mxfp4
    """
    found = parse(name)
    fmt = found.element if isinstance(found, BlockFormat) else found
    facts = _block_facts(found) if isinstance(found, BlockFormat) else _facts(fmt)
    exp = found.element_exp if isinstance(found, BlockFormat) else 0
    values = {code: codec.value(fmt, code) * Fraction(2) ** exp for code in fmt.codes}
    if as_json:
        codes = [{"code": code, "value": _number(value)} for code, value in values.items()]
        click.echo(json.dumps(facts | {"codes": codes}))
        return
    emit(facts | {"codes": len(fmt.codes)}, as_json=False)
    if table:
        click.echo("\ncode  bits      value         class")
        for code, value in values.items():
            bits, number = f"{code:0{fmt.bits}b}", f"{_number(value):.10g}"
            sign = "-" if code and value == 0 else ""
            click.echo(f"{code:>4}  {bits:<8}  {sign + number:<12}  {_class_of(fmt, code)}")


def _facts(fmt: formats.Format) -> dict[str, Any]:
    return {
        "name": str(fmt),
        "bits": fmt.bits,
        "signed": fmt.signed,
        "max": _number(fmt.max),
        "min": _number(fmt.min_int * fmt.step),
        "min_positive": _number(fmt.min_positive),
        "lsb_exp": fmt.lsb_exp,
    }


def _block_facts(fmt: BlockFormat) -> dict[str, Any]:
    """Return what a block-scaled format is; ``max`` and ``min_positive`` are of whole numbers."""
    exp, least = fmt.lsb_exp, 1 if fmt.tensor_scale else 0  # a scale of 0 is no number's scale
    largest = 126 if fmt.tensor_scale else 254
    top = fmt.element.max * Fraction(2) ** fmt.element_exp * scale_value(fmt.scale, largest)
    return {
        "name": str(fmt),
        "element": str(fmt.element),
        "bits": fmt.element.bits,
        "block": fmt.block,
        "scale": fmt.scale.value,
        "tensor_scale": fmt.tensor_scale,
        "bits_per_element": _number(fmt.bits_per_element),
        "emax": fmt.emax,
        "element_lsb_exp": exp,
        "max": _number(top),
        "min_positive": _number(scale_value(fmt.scale, least) * Fraction(2) ** exp),
    }


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Say what is installed, what is missing and how to get it; exit 1 if anything is.

    \b
    Example:
      hwquant doctor
    """
    from hwquant.doctor import examine

    findings = examine()
    if as_json:
        fields = ("name", "needed_for", "ok", "found", "remedy")
        rows = [{field: getattr(finding, field) for field in fields} for finding in findings]
        click.echo(json.dumps({"ok": all(f.ok for f in findings), "findings": rows}))
    else:
        for f in findings:
            remedy = "" if f.ok else f"  -> for {f.needed_for}: {f.remedy}"
            click.echo(f"{'ok     ' if f.ok else 'MISSING'}  {f.name:<14} {f.found}{remedy}")
    if not all(finding.ok for finding in findings):
        ctx.exit(1)
