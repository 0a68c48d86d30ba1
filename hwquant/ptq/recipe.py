# SPDX-License-Identifier: Apache-2.0
"""A recipe: which formats, which scales, and the ordered steps that find them.  No torch here."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from hwquant.block import AnyFormat, BlockFormat, parse
from hwquant.errors import FormatError, SpecError
from hwquant.formats import Codebook, Format, Integer, Minifloat, Power
from hwquant.ptq.step import StepSpec

__all__ = ["Recipe", "Settings", "StepSpec", "signed_of", "unsigned_of"]

SCALES: Final = ("po2", "float")
GRANULARITIES: Final = ("per_channel", "per_tensor")
RULES: Final = ("absmax", "percentile", "mse")
SUMS: Final = ("accumulator", "quantized")
CONCATS: Final = ("joint", "separate")


def signed_of(fmt: Format) -> Format:
    """Return the signed format of the same width (``uint4`` -> ``int4``, ``ue2m2`` -> ``e2m1``).

    A list of values gets its negatives and one bit.  Raises `FormatError` where that is too wide.
    """
    if fmt.min_int < 0:
        return fmt
    if isinstance(fmt, Power):
        return Power(max(fmt.bits, 2), fmt.exponent, fmt.fraction_bits)
    if isinstance(fmt, Codebook):
        return Codebook((*(-i for i in fmt.integers[:0:-1]), *fmt.integers), fmt.fraction_bits)
    if isinstance(fmt, Integer):
        return Integer(max(fmt.bits, 2))
    mantissa = fmt.mantissa_bits - 1
    if mantissa < 0:
        return Minifloat(fmt.exponent_bits - 1, 0)
    return Minifloat(fmt.exponent_bits, mantissa, specials=fmt.specials)


def unsigned_of(fmt: Format) -> Format:
    """Return the unsigned format of the same width (``int4`` -> ``uint4``).

    A list of values has none and stays; so does a power codebook whose larger values do not fit.
    """
    if fmt.min_int >= 0:
        return fmt
    if isinstance(fmt, Power):
        try:
            return Power(fmt.bits, fmt.exponent, fmt.fraction_bits, signed=False)
        except FormatError:
            return fmt
    if isinstance(fmt, Codebook):
        return fmt
    if isinstance(fmt, Integer):
        return Integer(fmt.bits, signed=False)
    return Minifloat(fmt.exponent_bits, fmt.mantissa_bits + 1, signed=False, specials=fmt.specials)


@dataclass(frozen=True)
class Settings:
    """What one layer uses, after first/last and overrides."""

    weight: AnyFormat
    act: AnyFormat
    scale: str
    granularity: str
    weight_calibration: str
    act_calibration: str
    act_unsigned: bool


@dataclass(frozen=True)
class Recipe:
    """Everything `quantize` needs besides the model and the data; frozen and hashable.

    Formats may be given by name.  ``calibration`` rules both weights and activations unless
    ``weight_calibration`` or ``act_calibration`` says otherwise: ``absmax`` never clips,
    ``percentile`` ignores the largest ``100 - percentile`` percent of magnitudes, ``mse``
    minimises the squared error.  ``first_last`` is a pair of (weight, activation) formats for the
    first and the last multiply layer.  Layers named in ``exclude`` stay float.  ``act_unsigned``
    gives provably non-negative activations the unsigned format of the same width; a format given
    as unsigned falls back to its signed twin where activations can be negative.  ``sums``:
    additions and average pools read accumulators exactly, or ``"quantized"`` codes.
    ``concat``: a layer that reads a concatenation of channels quantizes it under one scale, or
    each operand under its own (see `hwquant.ptq.concat`).
    ``overrides`` maps a layer's path to settings of its own.  Block-scaled formats (``mxfp4``) take
    their block scales from the data at hand; of the rules for scales they use none.

    >>> recipe = Recipe("e2m1", "int8", overrides={"head": {"weight": "int8"}})
    >>> Recipe.from_toml(recipe.to_toml()) == recipe
    True

    Raises `SpecError` or `FormatError` naming the field, the value and what is allowed.
    """

    weight: AnyFormat | str = "int8"
    act: AnyFormat | str = "int8"
    scale: str = "po2"
    granularity: str = "per_channel"
    calibration: str = "mse"
    weight_calibration: str | None = None
    act_calibration: str | None = None
    percentile: float = 99.99
    act_unsigned: bool = False
    sums: str = "accumulator"
    concat: str = "joint"
    first_last: Any = None
    exclude: Iterable[str] = ()
    steps: Iterable[Any] = ("calibrate", "bias_correction")
    overrides: Any = ()

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "weight", _format("weight", self.weight))
        set_(self, "act", _format("act", self.act))
        _signed_weight("weight", self.weight)
        _choice("scale", self.scale, SCALES)
        _choice("granularity", self.granularity, GRANULARITIES)
        _choice("calibration", self.calibration, RULES)
        _choice("sums", self.sums, SUMS)
        _choice("concat", self.concat, CONCATS)
        for name in ("weight_calibration", "act_calibration"):
            if getattr(self, name) is not None:
                _choice(name, getattr(self, name), RULES)
        if isinstance(self.percentile, bool) or not isinstance(self.percentile, int | float):
            raise SpecError(
                f"recipe: percentile {self.percentile!r}, allowed a number in (50, 100]"
            )
        if not 50 < self.percentile <= 100:
            raise SpecError(f"recipe: percentile {self.percentile}, allowed a number in (50, 100]")
        set_(self, "percentile", float(self.percentile))
        if not isinstance(self.act_unsigned, bool):
            raise SpecError(f"recipe: act_unsigned {self.act_unsigned!r}, allowed true or false")
        if self.first_last is not None:
            pair = self.first_last if isinstance(self.first_last, tuple | list) else ()
            if len(pair) != 2:
                raise SpecError(
                    f"recipe: first_last {self.first_last!r}, allowed none or a pair of formats "
                    "(weight, activation)"
                )
            set_(self, "first_last", tuple(_format("first_last", item) for item in pair))
            _signed_weight("first_last", self.first_last[0])
        set_(self, "exclude", _names(self.exclude))
        set_(self, "steps", _steps(self.steps))
        set_(self, "overrides", _overrides(self.overrides))

    def settings(self, path: str, *, first_or_last: bool = False) -> Settings:
        """Return what the layer at ``path`` uses."""
        weight, act = (
            self.first_last if first_or_last and self.first_last else (self.weight, self.act)
        )
        chosen: dict[str, Any] = {
            "weight": weight,
            "act": act,
            "scale": self.scale,
            "granularity": self.granularity,
            "weight_calibration": self.weight_calibration or self.calibration,
            "act_calibration": self.act_calibration or self.calibration,
            "act_unsigned": self.act_unsigned,
        }
        chosen.update(dict(self.overrides).get(path, ()))
        return Settings(**chosen)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data (strings, numbers, lists, tables); `from_dict` reads it back."""
        data: dict[str, Any] = {}
        for field in fields(self):
            item = getattr(self, field.name)
            if item is None:
                continue
            data[field.name] = _plain(item)
        data["overrides"] = {
            path: {key: _plain(item) for key, item in table} for path, table in self.overrides
        }
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Rebuild a recipe from `to_dict`; raises `SpecError` for a field it does not know."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise SpecError(
                f"recipe: unknown field {unknown[0]!r}, allowed: {', '.join(sorted(known))}"
            )
        return cls(**data)

    def to_json(self) -> str:
        """Return the recipe as JSON text."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read `to_json`; raises `SpecError` for text that is not such JSON."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise SpecError(f"recipe: not JSON ({error})") from error
        if not isinstance(data, dict):
            raise SpecError(f"recipe: a JSON object is needed, got {type(data).__name__}")
        return cls.from_dict(data)

    def to_toml(self) -> str:
        """Return the recipe as TOML text."""
        data = self.to_dict()
        overrides = data.pop("overrides")
        # JSON strings, numbers, booleans and arrays of them are valid TOML values.
        lines = [f"{key} = {json.dumps(item)}" for key, item in data.items()]
        for path, table in overrides.items():
            lines += ["", f"[overrides.{json.dumps(path)}]"]
            lines += [f"{key} = {json.dumps(item)}" for key, item in table.items()]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> Recipe:
        """Read `to_toml`; raises `SpecError` for text that is not such TOML."""
        try:
            return cls.from_dict(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"recipe: not TOML ({error})") from error


def _format(field: str, given: object) -> AnyFormat:
    if isinstance(given, AnyFormat):
        return given
    if isinstance(given, str):
        return parse(given)
    raise SpecError(f"recipe: {field} {given!r}, allowed a format or its name, such as 'e2m1'")


def _signed_weight(field: str, fmt: Any) -> None:
    if not isinstance(fmt, BlockFormat) and fmt.min_int >= 0:
        raise SpecError(
            f"recipe: {field} {fmt} is unsigned and would turn negative weights into 0, "
            f"allowed a signed format such as {signed_of(fmt)}"
        )


def _choice(field: str, given: object, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise SpecError(f"recipe: {field} {given!r}, allowed: {', '.join(allowed)}")


def _names(given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise SpecError(f"recipe: exclude {given!r}, allowed a list of layer paths")
    return tuple(given)


def _steps(given: Iterable[Any]) -> tuple[StepSpec, ...]:
    if isinstance(given, str):
        raise SpecError(f"recipe: steps {given!r}, allowed a list such as ['calibrate']")
    steps = tuple(s if isinstance(s, StepSpec) else StepSpec.parse(s) for s in given)
    if [step.name for step in steps].count("calibrate") != 1:
        raise SpecError(
            f"recipe: steps {[str(step) for step in steps]}: exactly one must be 'calibrate', "
            "which finds the scales"
        )
    return steps


def _overrides(given: Any) -> tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]:
    checks: dict[str, tuple[str, ...]] = {"scale": SCALES, "granularity": GRANULARITIES}
    checks |= {"weight_calibration": RULES, "act_calibration": RULES}
    tables = []
    for path, table in sorted(dict(given).items()):
        clean: dict[str, Any] = {}
        for key, item in dict(table).items():
            if key in ("weight", "act"):
                clean[key] = _format(f"overrides.{path}.{key}", item)
                if key == "weight":
                    _signed_weight(f"overrides.{path}.{key}", clean[key])
            elif key in checks:
                _choice(f"overrides.{path}.{key}", item, checks[key])
                clean[key] = item
            elif key == "calibration":
                _choice(f"overrides.{path}.{key}", item, RULES)
                clean |= {"weight_calibration": item, "act_calibration": item}
            elif key == "act_unsigned" and isinstance(item, bool):
                clean[key] = item
            else:
                allowed = "weight, act, act_unsigned (true or false), calibration, "
                raise SpecError(
                    f"recipe: overrides.{path}: {key} = {item!r}, allowed: "
                    f"{allowed}{', '.join(checks)}"
                )
        tables.append((path, tuple(sorted(clean.items()))))
    return tuple(tables)


def _plain(item: Any) -> Any:
    """Return ``item`` as text, a number, or a list of them."""
    if isinstance(item, AnyFormat | StepSpec):
        return str(item)
    if isinstance(item, tuple):
        return [_plain(part) for part in item]
    return item
