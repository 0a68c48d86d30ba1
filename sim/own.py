# SPDX-License-Identifier: Apache-2.0
"""A team's own MAC module: the TOML that says what it is, read and checked.

`hwquant verify mymac.toml` maps the module's ports to the interface of a kernel
(`sim.adapter`), so that the whole farm runs on it unchanged.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hwquant.errors import FormatError, HwquantError, InputError, SpecError, one_of
from hwquant.mac import MacSpec

__all__ = ["OwnModule", "load_own"]

Value = int | str

KEYS: Final = {
    "": ("module", "spec", "ports"),
    "module": ("top", "sources", "include", "defines", "parameters", "latency"),
    "spec": ("weight", "act", "lanes", "length", "acc", "acc_frac", "overflow"),
    "ports": (
        "clock", "reset", "reset_active", "reset_kind", "enable", "valid", "clear", "clear_when",
        "last", "weight", "act", "weight_lane_0", "act_lane_0", "result", "result_valid",
        "result_when", "tie",
    ),
}  # fmt: skip
NEEDED: Final = {
    "": ("module", "spec", "ports"),
    "module": ("top", "sources", "latency"),
    "spec": ("weight", "act", "acc", "overflow"),
    "ports": ("clock", "weight", "act", "result"),
}
CHOICES: Final = {
    "reset_active": ("high", "low"),
    "reset_kind": ("sync", "async"),
    "clear_when": ("with the first beat", "in the cycle before", "instead of a beat"),
    "weight_lane_0": ("low", "high"),
    "act_lane_0": ("low", "high"),
    "result_when": ("every beat", "last beat"),
}
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
MAX_LATENCY: Final = 64


@dataclass(frozen=True)
class OwnModule:
    """A module as its TOML describes it; port names are the module's, absent ports are None.

    ``folder`` is the TOML's folder; ``sources`` and ``include`` are relative to it.  ``weight``
    and ``act`` are one port with all lanes, or one port per lane.
    """

    file: Path
    top: str
    sources: tuple[str, ...]
    include: tuple[str, ...]
    defines: Mapping[str, Value]
    parameters: Mapping[str, Value]
    latency: int
    spec: MacSpec
    clock: str
    reset: str | None
    reset_active: str
    reset_kind: str
    enable: str | None
    valid: str | None
    clear: str | None
    clear_when: str
    last: str | None
    weight: tuple[str, ...]
    act: tuple[str, ...]
    weight_lane_0: str
    act_lane_0: str
    result: str
    result_valid: str | None
    result_when: str
    tie: Mapping[str, int]

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from."""
        return self.file.parent

    @property
    def untested(self) -> tuple[str, ...]:
        """What cannot be tested because the module has no port for it."""
        found = []
        if self.enable is None:
            found.append("no enable port: it is never frozen")
        if self.valid is None:
            found.append("no valid port: every enabled cycle is a beat, there are no idle cycles")
        if self.enable is None and self.valid is None:
            found.append("neither enable nor valid: dot products run without gaps")
        if self.reset is None:
            found.append("no reset port: beats in flight are never dropped")
        if self.result_valid is None:
            found.append(
                f"no result_valid port: results are read {self.latency} cycles after their beat, "
                "surplus results are not seen"
            )
        elif self.valid is None:
            found.append("no valid port: result_valid is checked for missing results only")
        if self.result_when == "last beat":
            found.append("results at the last beat only: sums in between are not compared")
        if self.clear is not None and self.valid is not None:
            found.append(f"{self.clear} is raised with valid beats only")
        return tuple(f"{self.top}: {text}" for text in found)


def load_own(path: str | Path) -> OwnModule:
    """Read the TOML of an own module.

    Raises `InputError` for a file that cannot be read, an unknown or missing key (with the key
    that was probably meant), a value out of range, or sources that do not exist; `SpecError` and
    `FormatError` for an impossible spec.
    """
    file = Path(path)
    try:
        record = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid TOML: {error}") from error
    reader = _Reader(file, record)
    spec = reader.spec()
    own = OwnModule(
        file,
        top=reader.name("module", "top"),
        sources=reader.files("sources"),
        include=reader.folders("include"),
        defines=reader.values("module", "defines"),
        parameters=reader.values("module", "parameters"),
        latency=reader.integer("module", "latency", 1, MAX_LATENCY),
        spec=spec,
        clock=reader.name("ports", "clock"),
        reset=reader.port("reset"),
        reset_active=reader.choice("reset_active"),
        reset_kind=reader.choice("reset_kind"),
        enable=reader.port("enable"),
        valid=reader.port("valid"),
        clear=reader.port("clear"),
        clear_when=reader.choice("clear_when"),
        last=reader.port("last"),
        weight=reader.lanes("weight", spec.lanes),
        act=reader.lanes("act", spec.lanes),
        weight_lane_0=reader.choice("weight_lane_0"),
        act_lane_0=reader.choice("act_lane_0"),
        result=reader.name("ports", "result"),
        result_valid=reader.port("result_valid"),
        result_when=reader.choice("result_when"),
        tie=reader.ties(),
    )
    _consistent(own)
    return own


class _Reader:
    """Take values out of the record; every complaint names the file, the table and the key."""

    def __init__(self, file: Path, record: Mapping[str, Any]) -> None:
        self._file, self._record = file, record
        for table in KEYS:
            self._keys(table)

    def _fail(self, text: str) -> InputError:
        return InputError(f"{self._file}: {text}")

    def _table(self, table: str) -> Mapping[str, Any]:
        found = self._record if not table else self._record[table]
        if not isinstance(found, dict):
            raise self._fail(f"{table} is {found!r}, needed a table: [{table}]")
        return found

    def _keys(self, table: str) -> None:
        where = f"[{table}]" if table else "the file"
        found = self._table(table)
        for key in found:
            if key not in KEYS[table]:
                raise self._fail(f"{where} has unknown key {key!r}, {one_of(key, KEYS[table])}")
        if missing := [key for key in NEEDED[table] if key not in found]:
            raise self._fail(
                f"{where} lacks {', '.join(missing)}; "
                "`hwquant verify --template` shows a complete file"
            )

    def _get(self, table: str, key: str, default: Any = None) -> Any:
        return self._table(table).get(key, default)

    def _identifier(self, where: str, value: Any) -> str:
        if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
            raise self._fail(f"{where} is {value!r}, allowed: a SystemVerilog identifier")
        return value

    def name(self, table: str, key: str) -> str:
        return self._identifier(f"[{table}] {key}", self._get(table, key))

    def port(self, key: str) -> str | None:
        value = self._get("ports", key)
        return None if value is None else self._identifier(f"[ports] {key}", value)

    def choice(self, key: str) -> str:
        value, allowed = self._get("ports", key, CHOICES[key][0]), CHOICES[key]
        if value not in allowed:
            raise self._fail(
                f"[ports] {key} is {value!r}, allowed: {', '.join(map(repr, allowed))}"
            )
        return str(value)

    def integer(self, table: str, key: str, low: int, high: int, default: Any = None) -> int:
        value = self._get(table, key, default)
        if type(value) is not int or not low <= value <= high:
            raise self._fail(f"[{table}] {key} is {value!r}, allowed {low}..{high}")
        return value

    def lanes(self, key: str, lanes: int) -> tuple[str, ...]:
        value = self._get("ports", key)
        listed = value if isinstance(value, list) else [value]
        names = tuple(self._identifier(f"[ports] {key}", name) for name in listed)
        if isinstance(value, list) and len(names) != lanes:
            raise self._fail(
                f"[ports] {key} lists {len(names)} ports for {lanes} lanes; list one port per "
                "lane, lane 0 first, or name the one port that holds all lanes"
            )
        return names

    def values(self, table: str, key: str) -> Mapping[str, Value]:
        found = self._get(table, key, {})
        if not isinstance(found, dict):
            raise self._fail(f"[{table}] {key} is {found!r}, needed a table such as {{ N = 8 }}")
        for name, value in found.items():
            self._identifier(f"[{table}] {key}", name)
            if not isinstance(value, int | str):
                raise self._fail(
                    f"[{table}] {key}: {name} is {value!r}, allowed: integer, true, false, text"
                )
        return {k: int(v) if isinstance(v, int) else v for k, v in found.items()}

    def ties(self) -> Mapping[str, int]:
        found = self.values("ports", "tie")
        for name, value in found.items():
            if not isinstance(value, int) or value < 0:
                raise self._fail(f"[ports] tie: {name} is {value!r}, allowed: 0 or more")
        return {name: int(value) for name, value in found.items()}

    def _texts(self, key: str) -> Sequence[str]:
        value = self._get("module", key, [])
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(x, str) for x in listed):
            raise self._fail(f"[module] {key} is {value!r}, needed a list of paths")
        return listed

    def files(self, key: str) -> tuple[str, ...]:
        """Return the sources in the order given, globs in order of name, each once."""
        folder, found = self._file.parent, []
        for pattern in self._texts(key):
            if any(mark in pattern for mark in "*?["):
                matches = sorted(str(p.relative_to(folder)) for p in folder.glob(pattern))
                if not matches:
                    raise self._fail(f"no file matches {pattern!r} in {folder.resolve()}")
                found += matches
            elif not (folder / pattern).is_file():
                raise self._fail(f"source {pattern!r} does not exist in {folder.resolve()}")
            else:
                found.append(pattern)
        if not found:
            raise self._fail("[module] sources is empty, needed at least one file")
        for name in found:
            if Path(name).suffix.lower() in (".vhd", ".vhdl"):
                raise self._fail(
                    f"source {name!r} is VHDL, which Verilator cannot read; "
                    "allowed: SystemVerilog and Verilog"
                )
        return tuple(dict.fromkeys(found))

    def folders(self, key: str) -> tuple[str, ...]:
        for name in self._texts(key):
            if not (self._file.parent / name).is_dir():
                raise self._fail(f"include folder {name!r} does not exist")
        return tuple(self._texts(key))

    def spec(self) -> MacSpec:
        lanes = self.integer("spec", "lanes", 1, 4096, 1)
        length = self.integer("spec", "length", 1, 1 << 32, lanes)
        table = self._table("spec")
        try:
            spec = MacSpec(
                table["weight"], table["act"], lanes, length, table["acc"], table["overflow"]
            )
        except (FormatError, SpecError) as error:
            raise type(error)(f"{self._file}: [spec] {error}") from error
        except (TypeError, AttributeError) as error:
            raise self._fail(f"[spec] has a value of the wrong type ({error})") from error
        frac = self._get("spec", "acc_frac", spec.accumulator.frac)
        if frac != spec.accumulator.frac:
            raise self._fail(
                f"[spec] acc_frac is {frac!r}; products of {spec.weight} and {spec.act} are "
                f"multiples of 2**{-spec.accumulator.frac}, so an exact accumulator has "
                f"{spec.accumulator.frac} fraction bits"
            )
        return spec


def _consistent(own: OwnModule) -> None:
    """Raise `InputError` when the ports contradict each other."""

    def fail(text: str) -> HwquantError:
        return InputError(f"{own.file}: [ports] {text}")

    if (own.clear is None) == (own.last is None):
        raise fail(
            "needs either clear (starts a dot product) or last (ends one); "
            "without one of them sums of different dot products cannot be told apart"
        )
    if own.result_when == "last beat" and own.last is None:
        raise fail("result_when = 'last beat' needs the port last: how else would it know?")
    single = (own.clock, own.reset, own.enable, own.valid, own.clear, own.last, own.result,
              own.result_valid, *own.weight, *own.act, *own.tie)  # fmt: skip
    named = [name for name in single if name is not None]
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise fail(f"uses {', '.join(twice)} for two purposes; each port has one")
