# SPDX-License-Identifier: Apache-2.0
"""FPGA parts: how much of each resource a part has, from its data sheet.

``data/parts.json`` names the data sheet of every row (``source``); the counts are facts of those
documents, entered by hand.  ``lut`` counts LUT6 (LUT4 where ``lut_inputs`` is 4), ``bram18`` halves
of a 36 kbit block (an 18 kbit block of ECP5), ``uram`` blocks of 4096 x 72.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

from hwquant.errors import InputError, one_of

from .usage import RESOURCES, Usage

__all__ = ["Part", "budget", "find_part", "over", "parts", "utilisation"]

_LUT6: Final = 6


@dataclass(frozen=True)
class Part:
    """One FPGA; ``lut`` .. ``uram`` are what it has, ``source`` the data sheet that says so."""

    name: str
    family: str
    lut: int
    ff: int
    dsp: int
    dsp_kind: str
    bram36: int
    uram: int
    uram_loads: bool
    lut_inputs: int
    source: str
    aliases: tuple[str, ...] = field(default=())

    @property
    def bram18(self) -> int:
        """Block RAMs of 18 kbit."""
        return 2 * self.bram36

    @property
    def resources(self) -> dict[str, int]:
        """Return the count of each of `costmodel.usage.RESOURCES`."""
        return {name: getattr(self, name) for name in RESOURCES}

    def require_lut6(self) -> None:
        """Raise `InputError` where the part's LUTs are not those that estimates count."""
        if self.lut_inputs != _LUT6:
            raise InputError(
                f"part {self.name} has LUT{self.lut_inputs}, the estimates count LUT6 sites; "
                f"allowed: {', '.join(p.name for p in parts() if p.lut_inputs == _LUT6)}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return name, family, counts and source."""
        return {
            "name": self.name,
            "family": self.family,
            **self.resources,
            "dsp_kind": self.dsp_kind,
            "source": self.source,
        }


@cache
def parts() -> tuple[Part, ...]:
    """Return all known parts.

    >>> [part.name for part in parts() if part.family == "Versal"]
    ['VC1902']
    """
    text = files("costmodel").joinpath("data", "parts.json").read_text(encoding="utf-8")
    rows = json.loads(text)["parts"]
    return tuple(Part(**(row | {"aliases": tuple(row["aliases"])})) for row in rows)


def find_part(name: str) -> Part:
    """Return the part called ``name``, by its short name, a board's or the beginning of the full.

    >>> find_part("xczu3eg-sbva484-1-e").name
    'ZU3EG'

    Raises `InputError` with the nearest names for an unknown one.
    """
    wanted = name.strip().lower()
    known = {alias.lower(): part for part in parts() for alias in (part.name, *part.aliases)}
    if wanted in known:
        return known[wanted]
    full = wanted.split("-")[0]
    if full in known:
        return known[full]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    guess = (
        f"; did you mean {', '.join(dict.fromkeys(known[n].name for n in near))}?" if near else ""
    )
    raise InputError(f"part {name!r}, allowed: {', '.join(p.name for p in parts())}{guess}")


def utilisation(used: Usage, part: Part) -> dict[str, float | None]:
    """Return per cent of the part used, by resource; None where it has none and none is used.

    Of what it lacks altogether and is asked for, infinitely much is used.
    """
    part.require_lut6()
    percent: dict[str, float | None] = {}
    for name, have in part.resources.items():
        need = used.amount(name)
        empty = None if need == 0 else float("inf")
        percent[name] = round(100 * need / have, 2) if have else empty
    return percent


def over(used: Usage, limits: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return (used, allowed) of every resource of which more is used than ``limits`` allow."""
    return {
        name: (used.amount(name), limit)
        for name, limit in limits.items()
        if used.amount(name) > limit
    }


def budget(text: str) -> dict[str, int]:
    """Return the limits that ``text`` names, such as ``lut=20000,dsp=100``.

    >>> budget("lut=20000, dsp=0")
    {'lut': 20000, 'dsp': 0}

    Raises `InputError` for an unknown resource (with a suggestion), a repeated one, or no amount.
    """
    limits: dict[str, int] = {}
    for item in text.split(","):
        key, given, value = (piece.strip() for piece in item.partition("="))
        name = key.lower()
        if name not in RESOURCES:
            raise InputError(f"budget of {key!r}, {one_of(name, RESOURCES)}")
        if name in limits:
            raise InputError(f"budget names {name} twice; give it once")
        if not given or not value.isdecimal():
            raise InputError(f"budget {item.strip()!r}, allowed: {name}=NUMBER, zero or more")
        limits[name] = int(value)
    if not any(limits.values()) or limits.get("lut") == 0:
        raise InputError(
            f"budget {text!r} allows no LUTs; give lut a positive number, or leave it out"
        )
    return limits
