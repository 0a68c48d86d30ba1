# SPDX-License-Identifier: Apache-2.0
"""A probe: a kernel between flip-flops, so that its timing is that of flip-flop to flip-flop.

All inputs but the clock come from one shift chain (one pin, whatever the lanes), every output goes
through a flip-flop to a pin.  The probe adds flip-flops, whose number is known, and no logic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["PROBE", "probe_flip_flops", "probe_text"]

PROBE: Final = "probe"
"""The name of the top module."""


def _widths(ports: Mapping[str, int], ending: str) -> dict[str, int]:
    return {
        name: max(width, 1)
        for name, width in ports.items()
        if name.endswith(ending) and name != "clk_i"
    }


def probe_flip_flops(ports: Mapping[str, int]) -> int:
    """Return the flip-flops that the probe of a kernel with ``ports`` adds.

    >>> probe_flip_flops({"clk_i": 0, "act_i": 8, "acc_o": 20})
    28
    """
    return sum(_widths(ports, "_i").values()) + sum(_widths(ports, "_o").values())


def probe_text(kernel: str, ports: Mapping[str, int]) -> str:
    """Return the probe of module ``kernel`` with ``ports`` (name to vector width, 0 for one bit).

    The only clock is ``clk_i``; names of inputs end in ``_i``, of outputs in ``_o``.
    """
    inputs, outputs = _widths(ports, "_i"), _widths(ports, "_o")
    total, seen = sum(inputs.values()), sum(outputs.values())
    wires, low = [], 0
    for name, width in inputs.items():
        wires.append(f".{name}(chain_q[{low + width - 1}:{low}])")
        low += width
    low = 0
    for name, width in outputs.items():
        wires.append(f".{name}(result[{low + width - 1}:{low}])")
        low += width
    connections = ",\n    ".join([".clk_i(clk_i)", *wires])
    return f"""\
`default_nettype none

module {PROBE} (
  input  logic clk_i,
  input  logic serial_i,
  output logic [{seen - 1}:0] result_o
);
  (* shreg_extract = "no" *) logic [{total - 1}:0] chain_q;
  logic [{seen - 1}:0] result;

  {kernel} u_kernel (
    {connections}
  );

  always_ff @(posedge clk_i) begin
    chain_q  <= {total}'({{chain_q, serial_i}});
    result_o <= result;
  end
endmodule

`default_nettype wire
"""
