# SPDX-License-Identifier: Apache-2.0
"""Units: generated modules with ports of their own (tiles, requantizers, ...), to be verified.

Many stand in one simulator, each beside the kernels' DPI memory ports (``farm.cpp``), on one clock.
A stimulus row begins with a control byte: enable, valid, clear, reset from bit 0 on.  A kind of
units adds how its spec is written and what its rows mean (`Wiring`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from hw import yosys
from hw.bundle import SpecBundle
from hw.manifest import MANIFEST, read_record
from hw.netlist import cell_models, cell_sources
from hwquant.errors import InputError

from .farm_top import farm_cpp, top_sv

__all__ = ["Design", "Kind", "Unit", "Wiring", "designs_of", "farm_cpp", "farm_sv"]
__all__ += ["feed", "folder_design", "mapped"]

Spec = TypeVar("Spec")


@dataclass(frozen=True)
class Wiring:
    """How a unit hangs at its memory ports, in SystemVerilog.

    ``wires`` are signals and their widths, beside ``valid``; ``feeds`` drive those of the inputs
    from ``row_q``; ``ports`` connect what is no clock, reset, enable or ``valid_i``; ``result`` is
    the expression that is put.
    """

    wires: Mapping[str, int]
    ports: str
    result: str
    feeds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind(Generic[Spec]):
    """What a kind of units has of its own; ``name`` says in words what such a module is.

    Of a spec, ``title`` is the default name of its module, ``write`` and ``read`` take it to and
    from JSON-able data, and ``row_words`` and ``out_words`` are the 32-bit words of a stimulus row
    and the 64-bit words of a result.
    """

    name: str
    title: Callable[[Spec], str]
    write: Callable[[Spec], dict[str, Any]]
    read: Callable[[Any], Spec]
    row_words: Callable[[Spec], int]
    out_words: Callable[[Spec], int]
    wiring: Callable[[Spec], Wiring]


@dataclass(frozen=True)
class Unit(Generic[Spec]):
    """One generated module ``name``; ``latency`` is its enabled cycles to a result."""

    OF: ClassVar[Kind[Any]]

    spec: Spec
    name: str
    latency: int

    @property
    def title(self) -> str:
        """The default name of such a module."""
        return self.OF.title(self.spec)

    @property
    def row_words(self) -> int:
        """The 32-bit words of a stimulus row."""
        return self.OF.row_words(self.spec)

    @property
    def out_words(self) -> int:
        """The 64-bit words of a result."""
        return self.OF.out_words(self.spec)

    @property
    def label(self) -> str:
        """Say in words which unit this is."""
        return f"{self.name}: {self.title}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        return {"spec": self.OF.write(self.spec), "name": self.name, "latency": self.latency}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Rebuild a unit from `to_json`."""
        return cls(cls.OF.read(record["spec"]), record["name"], record["latency"])


def feed(wire: str, bits: int, count: int, at: int, block: str) -> str:
    """Return the loop that fills ``wire`` with ``count`` codes, a byte each from row bit ``at``."""
    return f"""    for (genvar l = 0; l < {count}; ++l) begin : {block}
      assign {wire}[{bits}*l +: {bits}] = row_q[{at} + 8*l +: {bits}];
    end"""


AnyUnit = TypeVar("AnyUnit", bound=Unit[Any])


@dataclass(frozen=True)
class Design(Generic[AnyUnit]):
    """Units and the SystemVerilog sources (file name to text) that define them."""

    units: tuple[AnyUnit, ...]
    sources: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...] = ()


def mapped(design: Design[AnyUnit], *, dsp: bool = False) -> Design[AnyUnit]:
    """Return ``design`` with the netlist that Yosys maps each unit to instead of its RTL.

    Raises `ToolError` when Yosys is missing or refuses the sources, and for a netlist with cells
    that have no model, such as block RAM.
    """
    rtl = {name: text for name, text in design.sources.items() if not name.startswith("cell_")}
    texts = {unit.name: yosys.netlist(rtl, unit.name, dsp=dsp) for unit in design.units}
    cells = cell_sources("\n".join(texts.values()))
    netlists = {f"{name}.sv": text for name, text in texts.items()}
    return Design(design.units, cells | netlists, design.warnings)


def designs_of(
    targets: Any,
    generate: Callable[[Sequence[Any]], Design[AnyUnit]],
    load: Callable[[Path], Design[AnyUnit]],
) -> list[Design[AnyUnit]]:
    """Return the designs behind ``targets``: one or many of specs, bundles and their folders.

    All specs go to ``generate`` together, each folder to ``load``.  Raises `InputError` for none.
    """
    many = isinstance(targets, Iterable) and not isinstance(targets, str)
    listed = list(targets) if many else [targets]
    if not listed:
        raise InputError("nothing to verify: no spec, bundle or folder was given")
    on_disk = [target for target in listed if isinstance(target, SpecBundle | str | Path)]
    specs = [target for target in listed if not isinstance(target, SpecBundle | str | Path)]
    folders = [t.folder if isinstance(t, SpecBundle) else Path(t) for t in on_disk]
    return [*([generate(specs)] if specs else []), *map(load, folders)]


def folder_design(
    folder: Path,
    bundle: type[SpecBundle[Any]],
    unit: type[AnyUnit],
    cells: Callable[[Mapping[str, Any]], Iterable[str]] = lambda _: (),
) -> Design[AnyUnit]:
    """Return the unit in a folder as its files are now; what was changed is a warning.

    ``cells`` says of a manifest which device cells its RTL instantiates.  Raises `InputError` for
    a folder that holds no such unit.
    """
    warnings = []
    try:
        bundle.load(folder)
    except InputError as error:
        warnings.append(str(error))
    record = read_record(folder / MANIFEST)
    try:
        latency = record["interface"]["latency_cycles"]
        found = unit(unit.OF.read(record["spec"]), record["name"], latency)
        sources = {name: (folder / name).read_text() for name in record["files"]}
        models = cell_models(cells(record))
    except (KeyError, TypeError, OSError) as error:
        raise InputError(f"{folder} holds no readable {unit.OF.name} ({error!r})") from error
    return Design((found,), models | sources, tuple(warnings))


def _instance(index: int, unit: Unit[Any]) -> str:
    wiring, rows, outs = unit.OF.wiring(unit.spec), unit.row_words, unit.out_words
    wires = wiring.wires.items()
    declared = "\n".join(f"    logic [{width - 1}:0] {name};" for name, width in wires)
    feeds = "".join(f"{feed}\n" for feed in wiring.feeds) + "\n" * bool(wiring.feeds)
    return f"""
  // {unit.label}
  if (1) begin : gen_{index}
    bit [{32 * rows - 1}:0] next;
    bit [{32 * rows - 1}:0] row_q;
{declared}
    logic valid;

{feeds}    {unit.name} u_unit (
      .clk_i, .rst_i(row_q[3]), .en_i(row_q[0]), .valid_i(row_q[1]),{wiring.ports}
    );

    always @(posedge clk_i) begin
      if (row_q[0] && valid) hq_put_{outs}({index}, {64 * outs}'({wiring.result}));
      hq_get_{rows}({index}, next);
      row_q <= next;
    end
  end
"""


def farm_sv(units: Sequence[Unit[Any]]) -> str:
    """Return the SystemVerilog of a top that instantiates ``units``; `farm_cpp` serves it."""
    return top_sv(units, [_instance(index, unit) for index, unit in enumerate(units)])
