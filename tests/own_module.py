# SPDX-License-Identifier: Apache-2.0
"""One MAC module that can be everything, to stand for a team's own, and the TOML beside it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

STEPS = 2048

# One module that can be everything: `define picks its control.  Two lanes of int4 x uint4.
SOURCE = """
`include "width.svh"
module mac #(parameter int Lanes = 1, parameter Mode = "none") (
  input  logic clk,
  input  logic rst, rst_n, en, valid, first, last, test,
  input  logic [Lanes*4-1:0] w,
  input  logic [Lanes*4-1:0] x,
  output logic signed [`ACC-1:0] acc,
  output logic acc_valid
);
  logic signed [15:0] sum, wide;
  always_comb begin
    sum = '0;
    for (int i = 0; i < Lanes; i++)
      sum += 16'($signed(w[4*i +: 4]) * $signed({1'b0, x[4*`LANE(i) +: 4]}));
  end
"""

MODULES = {
    "everything": (
        """
  always_ff @(posedge clk) begin
    if (en) begin
      acc_valid <= valid;
      if (valid) acc <= (first ? '0 : acc) + `ACC'(sum);
    end
    if (rst) acc_valid <= 1'b0;
  end
""",
        (
            'reset = "rst"\nenable = "en"\nvalid = "valid"\nclear = "first"\n'
            'result_valid = "acc_valid"'
        ),
        "wrap",
    ),
    "a beat every cycle": (
        "  always_ff @(posedge clk) acc <= (first ? '0 : acc) + `ACC'(sum);\n",
        'clear = "first"',
        "wrap",
    ),
    "clock enable only": (
        "  always_ff @(posedge clk) if (en) acc <= (first ? '0 : acc) + `ACC'(sum);\n",
        'enable = "en"\nclear = "first"',
        "wrap",
    ),
    "asynchronous reset, saturating": (
        """
  always_comb wide = (first ? 16'sd0 : 16'(acc)) + sum;
  always_ff @(posedge clk or negedge rst_n)
    if (!rst_n) begin
      acc <= '0;
      acc_valid <= 1'b0;
    end else begin
      acc_valid <= valid;
      if (valid) acc <= wide > 511 ? 10'sd511 : wide < -512 ? -10'sd512 : 10'(wide);
    end
""",
        (
            'reset = "rst_n"\nreset_active = "low"\nreset_kind = "async"\nvalid = "valid"\n'
            'clear = "first"\nresult_valid = "acc_valid"'
        ),
        "saturate",
    ),
    "clear in the cycle before": (
        """
  logic signed [`ACC-1:0] base;
  always_ff @(posedge clk) begin
    acc_valid <= valid;
    if (valid) acc <= base + `ACC'(sum);
    if (valid) base <= base + `ACC'(sum);
    if (first) base <= '0;
    if (rst) acc_valid <= 1'b0;
  end
""",
        (
            'reset = "rst"\nvalid = "valid"\nclear = "first"\nclear_when = "in the cycle before"\n'
            'result_valid = "acc_valid"'
        ),
        "wrap",
    ),
    "clear instead of a beat": (
        """
  always_ff @(posedge clk)
    if (first) acc <= '0;
    else if (valid) acc <= acc + `ACC'(sum);
""",
        'valid = "valid"\nclear = "first"\nclear_when = "instead of a beat"',
        "wrap",
    ),
    "last, without reset": (
        """
  logic fresh;
  always_ff @(posedge clk) if (en && valid) begin
    acc <= (fresh ? '0 : acc) + `ACC'(sum);
    fresh <= last;
  end
""",
        'enable = "en"\nvalid = "valid"\nlast = "last"',
        "wrap",
    ),
    "a result at the last beat": (
        """
  logic signed [`ACC-1:0] part;
  always_ff @(posedge clk) begin
    acc_valid <= valid && last;
    if (valid) part <= last ? '0 : part + `ACC'(sum);
    if (valid && last) acc <= part + `ACC'(sum);
    if (rst) begin
      part <= '0;
      acc_valid <= 1'b0;
    end
  end
""",
        (
            'reset = "rst"\nvalid = "valid"\nlast = "last"\nresult_valid = "acc_valid"\n'
            'result_when = "last beat"'
        ),
        "wrap",
    ),
}
INPUTS = ("rst", "rst_n", "en", "valid", "first", "last", "test")


def write(folder, name="everything", *, body=None, replace=(), lane="I"):
    """Write a module and its TOML; return the TOML's path."""
    folder.mkdir(parents=True, exist_ok=True)
    text, ports, overflow = MODULES[name]
    (folder / "include").mkdir(exist_ok=True)
    (folder / "include" / "width.svh").write_text(f"`define ACC 10\n`define LANE(I) {lane}\n")
    (folder / "mac.sv").write_text(SOURCE + (text if body is None else body) + "endmodule\n")
    used = tomllib.loads(ports).values()
    tie = ", ".join(f"{port} = 1" for port in INPUTS if port not in used)
    toml = f"""
[module]
top = "mac"
sources = ["*.sv"]
include = ["include"]
parameters = {{ Lanes = 2 }}
latency = 1
[spec]
weight = "int4"
act = "uint4"
lanes = 2
length = 32
acc = 10
overflow = "{overflow}"
[ports]
clock = "clk"
weight = "w"
act = "x"
result = "acc"
{ports}
tie = {{ {tie} }}
"""
    for right, wrong in replace:
        assert right in toml
        toml = toml.replace(right, wrong)
    path = folder / "mac.toml"
    path.write_text(toml)
    return path


def verify(*arguments, cwd=None):
    command = [str(Path(sys.executable).with_name("hwquant")), "verify", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)
