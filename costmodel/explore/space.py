# SPDX-License-Identifier: Apache-2.0
"""The space of a sweep: a product of choices, each point of which is a recipe.

Given by flags or by a TOML file with the same words::

    model = "zoo:digits_cnn"
    weights = ["int4", "e2m1"]
    acts = ["same", "int8"]            # "same": the weight's format
    steps = [["calibrate"], ["calibrate", "bias_correction"]]
    scales = ["po2"]
    granularities = ["per_channel"]
    lanes = 8
    folding = "per-layer"
    [recipe]                           # any other field of a recipe, for every point
    calibration = "mse"
"""

from __future__ import annotations

import itertools
import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from costmodel.network import Folding
from hwquant.errors import InputError
from hwquant.formats import parse
from hwquant.ptq.recipe import Recipe

__all__ = ["SAME", "Space", "coordinates", "from_toml", "label"]

SAME = "same"
CHOICES = ("weights", "acts", "steps", "scales", "granularities")


def coordinates(recipe: Recipe) -> dict[str, Any]:
    """Return the columns of a point: formats, steps, scale, granularity, calibration."""
    record = recipe.to_dict()
    names = ("weight", "act", "scale", "granularity", "calibration")
    return {name: record[name] for name in names} | {"steps": "+".join(record["steps"])}


def label(record: dict[str, Any]) -> str:
    """Return a point's short name for figures: ``e2m1``, or ``e2m1/int8`` (weight, activation)."""
    weight, act = record["weight"], record["act"]
    return str(weight) if weight == act else f"{weight}/{act}"


@dataclass(frozen=True)
class Space:
    """The choices of a sweep and what they are applied to.

    ``lanes`` and ``folding`` say which kernels a network is priced with (`costmodel.network`).
    ``recipe`` holds other fields of `Recipe`, the same for every point.

    Raises `FormatError`, `SpecError` or `InputError` naming what was given and what is allowed.
    """

    model: str = "zoo:digits_cnn"
    data: str = ""
    weights: tuple[str, ...] = ("int4", "int8", "e2m1", "e4m3")
    acts: tuple[str, ...] = (SAME,)
    steps: tuple[tuple[str, ...], ...] = (("calibrate", "bias_correction"),)
    scales: tuple[str, ...] = ("po2",)
    granularities: tuple[str, ...] = ("per_channel",)
    lanes: int = 8
    folding: str = Folding.PER_LAYER.value
    seed: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in CHOICES:
            if not getattr(self, name):
                raise InputError(f"{name} is empty; name at least one")
        if not 1 <= self.lanes <= 4096:
            raise InputError(f"lanes {self.lanes}, allowed 1..4096")
        if self.folding not in tuple(Folding):
            raise InputError(f"folding {self.folding!r}, allowed: {', '.join(Folding)}")
        axes = {"weight", "act", "steps", "scale", "granularity"}
        if taken := sorted(axes & set(self.recipe)):
            raise InputError(f"recipe.{taken[0]} is an axis of the space; give it as a list there")
        self.points()

    def points(self) -> tuple[Recipe, ...]:
        """Return every distinct point, in a fixed order."""
        product = itertools.product(
            self.steps, self.scales, self.granularities, self.acts, self.weights
        )
        found = (
            Recipe.from_dict(
                self.recipe
                | {"weight": parse(w), "act": parse(w if a == SAME else a), "steps": steps}
                | {"scale": scale, "granularity": granularity}
            )
            for steps, scale, granularity, a, w in product
        )
        return tuple(dict.fromkeys(found))

    def to_toml(self) -> str:
        """Return the space as TOML; `from_toml` reads it back."""
        record = asdict(self)
        recipe = record.pop("recipe")
        # JSON strings, numbers, booleans and arrays of them are also TOML.
        lines = [f"{key} = {json.dumps(value)}" for key, value in record.items()]
        lines += ["", "[recipe]", *(f"{k} = {json.dumps(v)}" for k, v in sorted(recipe.items()))]
        return "\n".join(lines) + "\n"

    def differences(self, other: Space) -> str:
        """Say in words how ``other`` differs; empty when it does not."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return "; ".join(
            f"{name}: {json.dumps(mine)} there, {json.dumps(theirs)} here"
            for name, mine, theirs in pairs
            if mine != theirs
        )


_KINDS: dict[str, tuple[type, str]] = {
    "model": (str, "a string"),
    "data": (str, "a string"),
    "folding": (str, "a string"),
    "lanes": (int, "an integer"),
    "seed": (int, "an integer"),
    "recipe": (dict, "a table of recipe fields"),
    "steps": (list, "a list of lists of strings"),
}


def _typed(name: str, value: Any, where: str) -> Any:
    """Check one TOML value and return it as the field's type."""
    kind, said = _KINDS.get(name, (list, "a list of strings"))
    entries = value if isinstance(value, list) else []
    if name == "steps":
        good = all(isinstance(e, list) and all(isinstance(s, str) for s in e) for e in entries)
    else:
        good = all(isinstance(entry, str) for entry in entries)
    if not isinstance(value, kind) or isinstance(value, bool) or not good:
        raise InputError(f"{where}: {name} = {value!r}, allowed {said}")
    if name == "steps":
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
