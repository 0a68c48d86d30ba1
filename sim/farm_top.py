# SPDX-License-Identifier: Apache-2.0
"""The generated top that holds many kernels, and the C++ beside it.

Every kernel gets one clocked port process: put the visible result, get the next stimulus row.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Protocol

from .kernels import Kernel

__all__ = ["TOP", "VISIBLE", "Ported", "farm_cpp", "farm_sv", "top_sv"]

TOP = "hq_farm"

VISIBLE = f"""`verilator_config
public_flat_rw -module "{TOP}" -var "clk_i"
"""


class Ported(Protocol):
    """A design under test, as its memory ports see it."""

    @property
    def row_words(self) -> int:
        """The 32-bit words of a stimulus row."""

    @property
    def out_words(self) -> int:
        """The 64-bit words of a result."""


def _import(signature: str) -> str:
    return f'  import "DPI-C" function {signature};'


def _get(words: int) -> tuple[str, str]:
    """Return the import of the row getter for ``words`` 32-bit words, and its C++ body."""
    name = f"hq_get_{words}"
    if words <= 2:
        kind, cpp = ("int", "int") if words == 1 else ("longint", "long long")
        return (
            _import(f"{kind} {name}(input int kernel)"),
            f"HQ_GET_INT({name}, {cpp}, {words})",
        )
    return (
        _import(f"void {name}(input int kernel, output bit [{32 * words - 1}:0] row)"),
        f"HQ_GET({name}, {words})",
    )


def _put(words: int) -> tuple[str, str]:
    """Return the import of the result putter for ``words`` 64-bit words, and its C++ body."""
    name = f"hq_put_{words}"
    if words == 1:
        return (
            _import(f"void {name}(input int kernel, input longint value)"),
            f"HQ_PUT_INT({name})",
        )
    return (
        _import(f"void {name}(input int kernel, input bit [{64 * words - 1}:0] value)"),
        f"HQ_PUT({name}, {words})",
    )


def _instance(index: int, kernel: Kernel) -> str:
    spec, rows, outs = kernel.spec, 32 * kernel.row_words, 64 * kernel.out_words
    lanes, wb, ab, acc = spec.lanes, spec.weight.bits, spec.act.bits, spec.accumulator.width
    if kernel.row_words <= 2:
        fetch = f"      row_q <= hq_get_{kernel.row_words}({index});"
    else:
        fetch = f"      hq_get_{kernel.row_words}({index}, next);\n      row_q <= next;"
    last = " .last_i(row_q[4])," if kernel.control.last else ""
    ready = poison = declared = ""
    if kernel.control.ready:
        ready, declared = " .ready_o(ready),", "    logic ready;\n"
        poison = (  # a number that no accumulator holds, where a result must stand or must not
            "      if (row_q[0] && (row_q[5] ? ready : row_q[1] && !row_q[3] && !ready))\n"
            f"        hq_put_{kernel.out_words}({index}, {{1'b1, {outs - 1}'d1}});\n"
        )
    # Of its own, not through the port of results: a value that moves must not pass for a result.
    state = watch = ""
    if kernel.control.holds:
        state = f"    logic [{acc - 1}:0] held;\n    bit seen;\n"
        watch = f"""
      if (row_q[0] && !valid && seen && acc != held) hq_moved({index});
      if (valid) held <= acc;
      seen <= !row_q[3] && (seen || valid);"""
    next_row = "" if kernel.row_words <= 2 else f"    bit [{rows - 1}:0] next;\n"
    return f"""
  // {kernel.label}
  if (1) begin : gen_{index}
{next_row}    bit [{rows - 1}:0] row_q;
    logic [{lanes * wb - 1}:0] weight;
    logic [{lanes * ab - 1}:0] act;
    logic [{acc - 1}:0] acc;
    logic valid;
{declared}{state}
    for (genvar l = 0; l < {lanes}; ++l) begin : gen_lane
      assign weight[{wb}*l +: {wb}] = row_q[8 + 8*l +: {wb}];
      assign act[{ab}*l +: {ab}] = row_q[{8 + 8 * lanes} + 8*l +: {ab}];
    end

    {kernel.name} u_kernel (
      .clk_i, .rst_i(row_q[3]), .en_i(row_q[0]), .valid_i(row_q[1]), .clear_i(row_q[2]),
     {last}{ready}
      .weight_i(weight), .act_i(act), .valid_o(valid), .acc_o(acc)
    );

    always @(posedge clk_i) begin
      if (row_q[0] && valid) hq_put_{kernel.out_words}({index}, {outs}'($signed(acc)));{watch}
{poison}{fetch}
    end
  end
"""


def top_sv(designs: Sequence[Ported], body: Sequence[str]) -> str:
    """Return the SystemVerilog of a top: the memory ports that ``designs`` need, and ``body``."""
    gets = [_get(words)[0] for words in sorted({design.row_words for design in designs})]
    puts = [_put(words)[0] for words in sorted({design.out_words for design in designs})]
    head = ["// SPDX-License-Identifier: Apache-2.0", f"module {TOP} (input bit clk_i);"]
    return "\n".join([*head, *gets, *puts, *body, "endmodule", ""])


def farm_sv(kernels: Sequence[Kernel]) -> str:
    """Return the SystemVerilog of a top that instantiates ``kernels``."""
    body = "".join(_instance(index, kernel) for index, kernel in enumerate(kernels))
    return top_sv(kernels, [_import("void hq_moved(input int kernel)"), body])


def farm_cpp(kernels: Sequence[Ported]) -> str:
    """Return the C++ that serves the imports of `top_sv`."""
    gets = [_get(words)[1] for words in sorted({k.row_words for k in kernels})]
    puts = [_put(words)[1] for words in sorted({k.out_words for k in kernels})]
    static = files("sim").joinpath("farm.cpp").read_text()
    return "\n".join(['#include "svdpi.h"', static, *gets, *puts, ""])
