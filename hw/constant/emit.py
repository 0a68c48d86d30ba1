# SPDX-License-Identifier: Apache-2.0
"""Write a constant kernel as SystemVerilog: instances of hand-written blocks and the wiring.

Each adder, table and row is one instance with named parameters; the bits that wait for a later
stage are registered together, one ``hq_delay`` per stage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hw.library import source_text
from hw.style import Constant, Parameter
from hwquant.formats import Minifloat

from .design import Adder, Bit, Chain, Decode, Design, Item, Table

__all__ = ["SOURCES", "body_text", "constant_sources", "ports"]

SOURCES: Final = (
    "hq_add.sv", "hq_delay.sv", "hq_decode.sv", "hq_align.sv", "hq_lut_pair.sv", "hq_chain.sv",
    "hq_ternary.sv", "hq_const_table.sv", "hq_const_decode.sv", "hq_const_add.sv",
    "hq_const_row.sv",
)  # fmt: skip
_NEEDS: Final = {
    "hq_const_row": ("hq_add.sv", "hq_lut_pair.sv", "hq_chain.sv", "hq_ternary.sv"),
    "hq_const_add": ("hq_lut_pair.sv",),
    "hq_const_decode": ("hq_add.sv", "hq_decode.sv", "hq_align.sv"),
    "hq_const_table": (),
}
DELAY: Final = 16  # stages of one hq_delay
PER_LINE: Final = 12


def ports(design: Design) -> dict[str, int]:
    """Return port name -> vector width, 0 for a single bit."""
    spec = design.spec
    return {
        "clk_i": 0,
        "rst_i": 0,
        "en_i": 0,
        "valid_i": 0,
        "act_i": spec.inputs * spec.act.bits,
        "valid_o": 0,
        "acc_o": spec.outputs * max(spec.out_bits),
    }


def _block(item: Item) -> str:
    names = {Table: "table", Decode: "decode", Adder: "add", Chain: "row"}
    return f"hq_const_{names[type(item)]}"


def constant_sources(design: Design) -> dict[str, str]:
    """Return the blocks that a design uses (file name to text), lower blocks first."""
    blocks = {_block(item) for item in design.items}
    used = {"hq_delay.sv", *(f"{block}.sv" for block in blocks)}
    used.update(name for block in blocks for name in _NEEDS[block])
    return {name: source_text(name) for name in SOURCES if name in used}


def _inputs(design: Design, item: Item) -> tuple[int, list[Bit]]:
    """Return the stage at which an item takes its inputs, and these."""
    if isinstance(item, Chain):
        return item.row.stage, [*item.row.low, *(bit for bits in item.row.bits for bit in bits)]
    if isinstance(item, Adder):
        given = [*item.first, *item.second]
        return design.signals[item.out].stage, [bit for bit in given if bit is not None]
    if isinstance(item, Table):
        return 0, list(item.inputs)
    return 0, [Bit(item.index, at) for at in range(design.spec.act.bits)]


class _Wires:
    """Names for bits at the stage where they are read, and the registers that carry them there."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.last: dict[tuple[int, int], int] = {}
        for item in design.items:
            stage, bits = _inputs(design, item)
            self._use(bits, stage)
        for output in design.outputs:
            self._use([bit for bit in output if bit is not None], design.latency)
        self.kept: dict[int, dict[tuple[int, int], int]] = defaultdict(dict)
        for (signal, index), last in sorted(self.last.items()):
            for stage in range(design.signals[signal].stage + 1, last + 1):
                self.kept[stage][signal, index] = len(self.kept[stage])

    def _use(self, bits: Iterable[Bit], stage: int) -> None:
        for bit in bits:
            if bit.signal >= 0:
                key = bit.signal, bit.index
                self.last[key] = max(self.last.get(key, 0), stage)

    def raw(self, bit: Bit | None, stage: int) -> str:
        """Return the net of ``bit`` at ``stage``, not inverted; constants as they are."""
        if bit is None:
            return "1'b0"
        if bit.signal < 0:
            return "1'b0" if bit.inverted else "1'b1"
        signal = self.design.signals[bit.signal]
        if stage > signal.stage:
            return f"keep{stage}[{self.kept[stage][bit.signal, bit.index]}]"
        if bit.signal < self.design.spec.inputs:
            return f"act_i[{bit.signal * self.design.spec.act.bits + bit.index}]"
        return f"{signal.name}[{bit.index}]"

    def net(self, bit: Bit | None, stage: int) -> str:
        """Return the net of ``bit`` at ``stage`` as an expression."""
        flip = bit is not None and bit.signal >= 0 and bit.inverted
        return ("~" if flip else "") + self.raw(bit, stage)

    def vector(self, bits: Sequence[Bit | None], stage: int) -> tuple[str, Constant]:
        """Return the concatenation of ``bits`` (low first) and which of them to invert."""
        flips = sum(
            1 << at
            for at, bit in enumerate(bits)
            if bit is not None and bit.signal >= 0 and bit.inverted
        )
        return _joined([self.raw(bit, stage) for bit in bits]), Constant(flips, len(bits))


def _joined(nets: Sequence[str]) -> str:
    """Return nets (low first) as a concatenation, neighbours of one vector as a slice."""
    runs: list[tuple[str, int, int]] = []
    parts: list[str] = []
    for net in reversed(nets):
        name, bracket, rest = net.partition("[")
        if not bracket:
            runs.append((net, -1, -1))
            continue
        index = int(rest[:-1])
        if runs and runs[-1][0] == name and runs[-1][2] == index + 1:
            runs[-1] = name, runs[-1][1], index
        else:
            runs.append((name, index, index))
    for name, high, low in runs:
        parts.append(name if high < 0 else f"{name}[{high}{'' if high == low else f':{low}'}]")
    if len(parts) == 1:
        return parts[0]
    lines = [", ".join(parts[at : at + PER_LINE]) for at in range(0, len(parts), PER_LINE)]
    return "{" + ",\n        ".join(lines) + "}"


def _instance(
    block: str, name: str, values: Mapping[str, Parameter], wires: Mapping[str, str]
) -> str:
    settings = ", ".join(f".{key}({value})" for key, value in values.items())
    pins = ",\n".join(f"    .{port}({wire})" for port, wire in wires.items())
    return f"  {block} #({settings}) u_{name} (\n{pins}\n  );\n"


def _item(design: Design, wires: _Wires, item: Item, primitive: int) -> tuple[str, str]:
    """Return the declaration of an item's output, and its instance."""
    signal = design.signals[item.out]
    declared = f"  logic [{signal.width - 1}:0] {signal.name};\n"
    block, values, pins = _block(item), dict[str, Parameter](), dict[str, str]()
    stage, _ = _inputs(design, item)
    if isinstance(item, Chain):
        row = item.row
        values = {
            "Primitive": primitive, "Width": row.width, "Extras": row.extras,
            "Extend": int(row.extend),
        }  # fmt: skip
        pins = {"clk_i": "clk_i", "en_i": "en_i"}
        for at, name in enumerate("abc"):
            lane = [bits[at] if at < len(bits) else None for bits in row.bits]
            pins[f"{name}_i"], flips = wires.vector(lane, stage)
            if flips.value:
                values[f"Inv{name.upper()}"] = flips
        low = [*row.low, None, None][:2]
        pins |= {"low_i": f"{{{', '.join(wires.net(bit, stage) for bit in reversed(low))}}}"}
        pins |= {"sum_o": signal.name}
    elif isinstance(item, Adder):
        width = len(item.first)
        first, flip_a = wires.vector(item.first, stage)
        second, flip_b = wires.vector(item.second, stage)
        values = {"Primitive": primitive, "Width": width, "HasCarry": signal.width - width}
        values |= {"InvA": flip_a} if flip_a.value else {}
        values |= {"InvB": flip_b} if flip_b.value else {}
        pins = {"a_i": first, "b_i": second, "sum_o": signal.name}
    elif isinstance(item, Table):
        words = sum(word << at * signal.width for at, word in enumerate(item.words))
        values = {
            "Inputs": len(item.inputs), "Width": signal.width,
            "Words": Constant(words, signal.width * len(item.words)),
        }  # fmt: skip
        pins = {"in_i": wires.vector(item.inputs, stage)[0], "data_o": signal.name}
    else:
        act = design.spec.act
        exponent = act.exponent_bits if isinstance(act, Minifloat) else 0
        top = Constant(act.max_int, signal.width)
        values = {
            "Bits": act.bits, "Signed": int(act.signed), "ExpBits": exponent,
            "Width": signal.width, "Max": top,
        }  # fmt: skip
        pins = {
            "code_i": f"act_i[{item.index * act.bits}+:{act.bits}]",
            "x_o": signal.name,
        }
    return declared, _instance(block, signal.name, values, pins)


def _delays(wires: _Wires) -> list[tuple[str, str]]:
    """Return declaration and instance of the bits that wait for each stage."""
    parts = []
    for stage in sorted(wires.kept):
        width = len(wires.kept[stage])
        bits = [Bit(signal, index) for signal, index in wires.kept[stage]]
        pins = {"clk_i": "clk_i", "rst_i": "rst_i", "en_i": "en_i"}
        pins |= {"in_i": wires.vector(bits, stage - 1)[0], "out_o": f"keep{stage}"}
        text = _instance("hq_delay", f"keep{stage}", {"Stages": 1, "Width": width}, pins)
        parts.append((f"  logic [{width - 1}:0] keep{stage};\n", text))
    return parts


def _valid(latency: int) -> str:
    """Return the delay line of valid; the outputs are in its last cycle."""
    steps = [DELAY] * (latency // DELAY) + ([latency % DELAY] if latency % DELAY else [])
    parts, before = [], "valid_i"
    for at, step in enumerate(steps):
        after = "valid_o" if at == len(steps) - 1 else f"valid{at}"
        parts.append("" if after == "valid_o" else f"  logic {after};\n")
        pins = {"clk_i": "clk_i", "rst_i": "rst_i", "en_i": "en_i"}
        pins |= {"in_i": before, "out_o": after}
        parts.append(_instance("hq_delay", f"valid{at}", {"Stages": step, "Width": 1}, pins))
        before = after
    return "".join(parts) or "  assign valid_o = valid_i;\n"


def _unused(design: Design, wires: _Wires) -> str:
    """Return a sink for the bits that nothing reads."""
    control = [] if design.latency else ["en_i", "rst_i", "clk_i"]
    nets = [
        wires.raw(Bit(number, index), signal.stage)
        for number, signal in enumerate(design.signals)
        for index in range(signal.width)
        if (number, index) not in wires.last
    ]
    if not nets and not control:
        return ""
    return f"  logic unused_bits;\n  assign unused_bits = ^{_joined(nets + control)};\n"


def _output(wires: _Wires, design: Design, number: int) -> str:
    """Return the assignment of one output, its sign extended to the common width."""
    width = max(design.spec.out_bits)
    nets = [wires.net(bit, design.latency) for bit in design.outputs[number]]
    nets += [nets[-1]] * (width - len(nets))
    plain = not any(net.startswith("~") for net in nets)
    joined = _joined(nets) if plain else "{" + ", ".join(reversed(nets)) + "}"
    return f"  assign acc_o[{number * width}+:{width}] = {joined};\n"


def body_text(design: Design, *, primitive: bool = True) -> str:
    """Return the body of the kernel's module."""
    wires = _Wires(design)
    parts = [_item(design, wires, item, int(primitive)) for item in design.items]
    parts += _delays(wires)
    # A net is declared before it is read, and adders and registers read each other's.
    nets = "".join(declared for declared, _ in parts)
    outputs = "".join(_output(wires, design, number) for number in range(design.spec.outputs))
    texts = [_valid(design.latency), nets, *(text for _, text in parts), _unused(design, wires)]
    return "\n".join(text for text in (*texts, outputs) if text)
