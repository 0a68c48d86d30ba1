# SPDX-License-Identifier: Apache-2.0
"""The space of a sweep: which formats, recipes, scales and granularities, on which model.

A space is a product of choices, given by flags or by a TOML file with the same words::

    model = "zoo:digits_cnn"
    weights = ["int4", "e2m1"]
    acts = ["same", "int8"]            # "same": the weight's format
    recipes = [["calibrate"], ["calibrate", "bias_correction"]]
    scales = ["pot"]
    granularities = ["per_channel"]
    lanes = 8
    seed = 0
"""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hwquant.errors import InputError
from hwquant.formats import parse

__all__ = ["SAME", "Point", "Space", "from_toml"]

SAME = "same"
SCALES = ("pot", "float")
GRANULARITIES = ("per_tensor", "per_channel")


@dataclass(frozen=True)
class Point:
    """One choice of each: what is quantized how.  Formats by name, ``steps`` in order."""

    weight: str
    act: str
    steps: tuple[str, ...]
    scale: str
    granularity: str

    def to_json(self) -> dict[str, Any]:
        """Return the coordinates as a flat record."""
        return asdict(self) | {"steps": "+".join(self.steps)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Point:
        """Rebuild a point from `to_json`."""
        steps = tuple(filter(None, str(record["steps"]).split("+")))
        return cls(**(dict(record) | {"steps": steps}))

    @property
    def label(self) -> str:
        """A short name for figures: ``e2m1`` or ``e2m1·int8`` (weight, act)."""
        return self.weight if self.weight == self.act else f"{self.weight}·{self.act}"


@dataclass(frozen=True)
class Space:
    """The choices of a sweep and what they are applied to.

    Raises `FormatError` for an unknown format and `InputError` for an empty or unknown choice.
    """

    model: str = "zoo:digits_cnn"
    data: str = ""
    weights: tuple[str, ...] = ("int4", "int8", "e2m1", "e4m3")
    acts: tuple[str, ...] = (SAME,)
    recipes: tuple[tuple[str, ...], ...] = (("calibrate",),)
    scales: tuple[str, ...] = ("pot",)
    granularities: tuple[str, ...] = ("per_channel",)
    lanes: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("weights", "acts", "recipes", "scales", "granularities"):
            if not getattr(self, name):
                raise InputError(f"{name} is empty; name at least one")
        for name in (*self.weights, *(act for act in self.acts if act != SAME)):
            parse(name)
        for name, allowed in (("scales", SCALES), ("granularities", GRANULARITIES)):
            for given in getattr(self, name):
                if given not in allowed:
                    raise InputError(f"{name}: {given!r}, allowed {', '.join(allowed)}")
        if not 1 <= self.lanes <= 4096:
            raise InputError(f"lanes {self.lanes}, allowed 1..4096")

    def points(self) -> tuple[Point, ...]:
        """Return every distinct point, in a fixed order."""
        product = itertools.product(
            self.recipes, self.scales, self.granularities, self.acts, self.weights
        )
        found = (
            Point(str(parse(w)), str(parse(w if a == SAME else a)), steps, scale, granularity)
            for steps, scale, granularity, a, w in product
        )
        return tuple(dict.fromkeys(found))

    def to_toml(self) -> str:
        """Return the space as TOML; `from_toml` reads it back."""
        # JSON strings, arrays and integers are also TOML.
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in asdict(self).items())

    def differences(self, other: Space) -> str:
        """Say in words how ``other`` differs; empty when it does not."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return "; ".join(
            f"{name}: {_plain(mine)} there, {_plain(theirs)} here"
            for name, mine, theirs in pairs
            if mine != theirs
        )


def _plain(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


def _typed(name: str, value: Any, where: str) -> Any:
    """Check one TOML value and return it as the field's type."""
    kinds: dict[str, tuple[type, str]] = {
        "model": (str, "a string"),
        "data": (str, "a string"),
        "lanes": (int, "an integer"),
        "seed": (int, "an integer"),
    }
    kind, said = kinds.get(name, (list, "a list of strings"))
    entries = value if isinstance(value, list) else []
    if name == "recipes":
        said = "a list of lists of strings"
        good = all(isinstance(e, list) and all(isinstance(s, str) for s in e) for e in entries)
    else:
        good = all(isinstance(entry, str) for entry in entries)
    if not isinstance(value, kind) or isinstance(value, bool) or not good:
        raise InputError(f"{where}: {name} = {value!r}, allowed {said}")
    if name == "recipes":
        return tuple(map(tuple, entries))
    return tuple(entries) if kind is list else value


def from_toml(path: str | Path) -> dict[str, Any]:
    """Read a space file and return `Space` arguments; absent keys keep their defaults.

    Raises `InputError` for a missing or malformed file, an unknown key or a value of another type.
    """
    path = Path(path)
    try:
        record = tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    known = [f.name for f in fields(Space)]
    for key in record:
        if key not in known:
            raise InputError(f"{path}: key {key!r} is unknown, allowed: {', '.join(known)}")
    return {key: _typed(key, value, str(path)) for key, value in record.items()}
