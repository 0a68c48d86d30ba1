# SPDX-License-Identifier: Apache-2.0
"""The space of a sweep: a product of choices, each point of which is a recipe.

Given by flags or by a TOML file with the same words::

    model = "zoo:digits_cnn"
    weights = ["int4", "e2m1"]
    acts = ["same", "int8"]            # "same": the weight's format
    steps = [["calibrate"], ["calibrate", "bias_correction"]]
    scales = ["po2"]
    granularities = ["per_channel"]
    rules = ["mse", "absmax"]          # of the scales
    seeds = [0, 1]
    styles = ["plain", "booth"]        # of the kernels
    lanes = 8
    folding = "per-layer"
    price = "formula"
    parts = ["ZU3EG"]
    [limits]                           # a point that is surely beyond one is not measured
    lut_sites = 20000
    [[layers]]                         # no layer has settings of its own
    [[layers]]
    head = {weight = "int8"}           # one has
    [recipe]                           # any other field of a recipe, for every point
    act_unsigned = true
"""

from __future__ import annotations

import itertools
import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from costmodel.network import Folding
from costmodel.parts import find_part
from hw.styles import STYLES
from hwquant.errors import InputError, one_of
from hwquant.formats import parse
from hwquant.ptq.recipe import Recipe

__all__ = ["LIMITS", "PRICES", "SAME", "Point", "Space", "coordinates", "from_toml", "label"]
__all__ += ["weight_side"]

SAME = "same"
CHOICES = ("weights", "acts", "steps", "scales", "granularities", "styles")
AXES: Final = {  # fields of a recipe that the space has lists of
    "weight": "weights",
    "act": "acts",
    "steps": "steps",
    "scale": "scales",
    "granularity": "granularities",
}
PRICES: Final = ("synthesis", "formula")
LIMITS: Final = (
    *("lut_sites", "ff", "dsp", "weight_bits", "macs", "memory_luts", "memory_bram18"),
    *("interval_cycles", "latency_cycles"),
)
"""What a point can be limited in before its accuracy is known: lower bounds of these are."""


@dataclass(frozen=True)
class Point:
    """One point of a space: how to quantize, with which seed, and the kernels' style."""

    recipe: Recipe
    seed: int = 0
    style: str = "plain"


def coordinates(point: Point | Recipe) -> dict[str, Any]:
    """Return the columns of a point: formats, steps, scale, granularity, calibration.

    Seed, style and layers with settings of their own have columns where they are not 0, plain and
    none.
    """
    if isinstance(point, Recipe):
        point = Point(point)
    record = point.recipe.to_dict()
    names = ("weight", "act", "scale", "granularity", "calibration")
    found = {name: record[name] for name in names} | {"steps": "+".join(record["steps"])}
    if record["overrides"]:
        found["layers"] = "; ".join(
            f"{path}: {', '.join(f'{key} {value}' for key, value in table.items())}"
            for path, table in record["overrides"].items()
        )
    found |= {"seed": point.seed} if point.seed else {}
    return found | ({"style": point.style} if point.style != "plain" else {})


def weight_side(point: Point) -> str:
    """Return what the weights of a point are quantized by: all of it but the activation format.

    >>> a, b = Space(weights=("int4",), acts=("int4", "int8")).plan()
    >>> weight_side(a) == weight_side(b)
    True
    """
    record = {k: v for k, v in point.recipe.to_dict().items() if k != "act"}
    return json.dumps([record, point.seed], sort_keys=True)


def label(record: dict[str, Any]) -> str:
    """Return a point's short name for figures: ``e2m1``, or ``e2m1/int8`` (weight, activation)."""
    weight, act = record["weight"], record["act"]
    return str(weight) if weight == act else f"{weight}/{act}"


@dataclass(frozen=True)
class Space:
    """The choices of a sweep and what they are applied to.

    ``lanes`` and ``folding`` say which kernels a network is priced with (`costmodel.network`),
    ``price`` whether by ``synthesis`` or, in no time and with an interval, by ``formula``.
    ``rules`` are choices of the recipe's ``calibration``, ``layers`` of its ``overrides``;
    ``seeds`` and ``styles`` multiply the points as well.  ``limits`` are upper bounds of some of
    `LIMITS`: a point that is surely beyond one, or larger than each of ``parts``, is not measured.
    ``test_items`` and ``calib_items`` take only so many of the data (0: all).  ``recipe`` holds
    other fields of `Recipe`, the same for every point.

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
    rules: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    styles: tuple[str, ...] = ("plain",)
    layers: tuple[dict[str, dict[str, Any]], ...] = ()
    price: str = "synthesis"
    parts: tuple[str, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)
    test_items: int = 0
    calib_items: int = 0

    def __post_init__(self) -> None:
        for name in CHOICES:
            if not getattr(self, name):
                raise InputError(f"{name} is empty, so there is no point; name at least one")
        self._check_axes()
        self._check_limits()
        if not 1 <= self.lanes <= 4096:
            raise InputError(f"lanes {self.lanes}, allowed 1..4096")
        if self.folding not in tuple(Folding):
            raise InputError(f"folding {self.folding!r}, allowed: {', '.join(Folding)}")
        for name, axis in AXES.items():
            if name in self.recipe:
                raise InputError(f"recipe.{name} is an axis of the space; give it as {axis} there")
        for name, axis in (("calibration", "rules"), ("overrides", "layers")):
            if getattr(self, axis) and name in self.recipe:
                raise InputError(f"recipe.{name} and {axis} contradict each other; give one")
        self.points()

    def _check_axes(self) -> None:
        for style in self.styles:
            if style not in (*STYLES, "auto"):
                raise InputError(f"style {style!r}, {one_of(style, (*STYLES, 'auto'))}")
        if self.price not in PRICES:
            raise InputError(f"price {self.price!r}, allowed: {', '.join(PRICES)}")
        for seed in (self.seed, *self.seeds):
            if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 63:
                raise InputError(f"seed {seed!r}, allowed whole numbers from 0")
        if self.seed and self.seeds:
            raise InputError(f"seed {self.seed} and seeds {list(self.seeds)}: give one of them")
        for name in ("test_items", "calib_items"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} {getattr(self, name)}, allowed 0 (all) or more")

    def _check_limits(self) -> None:
        for name, limit in self.limits.items():
            if name not in LIMITS:
                raise InputError(f"limit of {name!r}, {one_of(name, LIMITS)}")
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= 0:
                raise InputError(f"limits.{name} = {limit!r}, allowed a number from 0")
        if self.limits.get("weight_bits") == 0 or self.limits.get("macs") == 0:
            raise InputError(f"limits {self.limits} leave nothing to compute; allow some")
        parts = [find_part(name) for name in self.parts]
        for part in parts:
            part.require_lut6()
        if parts and self.limits.get("lut_sites", 0) > max(part.lut for part in parts):
            raise InputError(
                f"limits.lut_sites = {self.limits['lut_sites']:g} and parts "
                f"{', '.join(self.parts)} contradict each other: the largest has "
                f"{max(part.lut for part in parts)}; leave one out"
            )

    def points(self) -> tuple[Recipe, ...]:
        """Return every distinct recipe, in a fixed order."""
        product = itertools.product(
            self.rules or (None,),
            self.layers or (None,),
            *(self.steps, self.scales, self.granularities, self.acts, self.weights),
        )
        found = (
            Recipe.from_dict(
                self.recipe
                | {"weight": parse(w), "act": parse(w if a == SAME else a), "steps": steps}
                | {"scale": scale, "granularity": granularity}
                | ({} if rule is None else {"calibration": rule})
                | ({} if layers is None else {"overrides": layers})
            )
            for rule, layers, steps, scale, granularity, a, w in product
        )
        return tuple(dict.fromkeys(found))

    def plan(self) -> tuple[Point, ...]:
        """Return every distinct point, in a fixed order: recipes times seeds times styles."""
        product = itertools.product(self.styles, self.seeds or (self.seed,), self.points())
        found = (Point(recipe, seed, style) for style, seed, recipe in product)
        return tuple(dict.fromkeys(found))

    def to_toml(self) -> str:
        """Return the space as TOML; `from_toml` reads it back."""
        record = asdict(self)
        tables = {name: record.pop(name) for name in ("limits", "recipe")}
        layers = record.pop("layers")
        # JSON strings, numbers, booleans and arrays of them are also TOML.
        lines = [f"{key} = {json.dumps(value)}" for key, value in record.items()]
        for choice in layers:
            lines += [
                "",
                "[[layers]]",
                *(f"{json.dumps(k)} = {_inline(choice[k])}" for k in choice),
            ]
        for name, table in tables.items():
            lines += ["", f"[{name}]", *(f"{k} = {_inline(table[k])}" for k in sorted(table))]
        return "\n".join(lines) + "\n"

    def differences(self, other: Space) -> str:
        """Say in words how ``other`` differs; empty when it does not."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return "; ".join(
            f"{name}: {json.dumps(mine)} there, {json.dumps(theirs)} here"
            for name, mine, theirs in pairs
            if mine != theirs
        )


def _inline(value: Any) -> str:
    """Return a value as TOML on one line, tables included."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k)} = {_inline(v)}' for k, v in value.items())}}}"
    return json.dumps(value)


_KINDS: Final[dict[str, tuple[type, str]]] = {
    **dict.fromkeys(("model", "data", "folding", "price"), (str, "a string")),
    **dict.fromkeys(("lanes", "seed", "test_items", "calib_items"), (int, "an integer")),
    "recipe": (dict, "a table of recipe fields"),
    "limits": (dict, "a table of numbers"),
    "steps": (list, "a list of lists of strings"),
    "seeds": (list, "a list of integers"),
    "layers": (list, "a list of tables: layer = {weight = FORMAT, ...}"),
}


def _is_entry(name: str, entry: Any) -> bool:
    """Return whether ``entry`` may stand in the list called ``name``."""
    if name == "steps":
        return isinstance(entry, list) and all(isinstance(step, str) for step in entry)
    if name == "layers":
        return isinstance(entry, dict) and all(isinstance(t, dict) for t in entry.values())
    if name == "seeds":
        return isinstance(entry, int) and not isinstance(entry, bool)
    return isinstance(entry, str)


def _typed(name: str, value: Any, where: str) -> Any:
    """Check one TOML value and return it as the field's type."""
    kind, said = _KINDS.get(name, (list, "a list of strings"))
    entries = value if isinstance(value, list) else []
    good = all(_is_entry(name, entry) for entry in entries)
    if not isinstance(value, kind) or isinstance(value, bool) or not good:
        raise InputError(f"{where}: {name} = {value!r}, allowed {said}")
    if name == "steps":
        return tuple(map(tuple, entries))
    return tuple(entries) if kind is list else value


def from_toml(path: str | Path) -> dict[str, Any]:
    """Read a space file and return `Space` arguments; absent keys keep their defaults.

    Raises `InputError` for a missing or malformed file, an unknown key (with the nearest one) or a
    value of another type.
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
            raise InputError(f"{path}: key {key!r} is unknown, {one_of(key, known)}")
    return {key: _typed(key, value, str(path)) for key, value in record.items()}
