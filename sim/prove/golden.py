# SPDX-License-Identifier: Apache-2.0
"""The golden model of a kernel, in SystemVerilog, written from Python's codec tables.

It shares no text and no parameter with ``hw/rtl``: every operand is decoded by a table with one
entry per code, the products are plain signed multiplications, the sum is a plain sum, and the
accumulator is one number that is wrapped or clamped::

    stage k = 0: the ports; 1 .. latency-1: what entered k enabled cycles ago
    result = wrap_or_clamp((clear ? 0 : acc_q) + sum over lanes of value(weight) * value(act))

Beside its outputs it names what a proof needs to relate a kernel's registers to: ``valid_k``,
``clear_k``, the codes ``weight_k_lane`` and ``act_k_lane``, ``legal_k`` (every code of the beat has
a value), and in the last stage the products ``product_k_lane``, their signs ``neg_k_lane`` as
sign-magnitude arithmetic sees them, and ``start``, what the beat is added to; ``held`` says that
there was a result since the last reset.
"""

from __future__ import annotations

from hwquant import codec
from hwquant.fixed import signed_bits
from hwquant.formats import Format
from hwquant.mac import Overflow, product_range
from sim.kernels import Kernel

__all__ = ["GOLDEN", "MITER", "golden_product_bits", "golden_text", "miter_text"]

GOLDEN = "hq_golden"
MITER = "hq_miter"


def golden_product_bits(kernel: Kernel) -> int:
    """Return the least width that holds every product of the kernel's codes."""
    return signed_bits(*product_range(kernel.spec.weight, kernel.spec.act))


def _number(value: int, bits: int) -> str:
    return f"{bits}'h{value & (1 << bits) - 1:x}"


def _value_function(name: str, fmt: Format) -> list[str]:
    bits = signed_bits(fmt.min_int, fmt.max_int)
    entries = [(code, codec.decode(fmt, code)) for code in fmt.codes]
    # Yosys drops a default that no code reaches and leaves the value undefined there.
    rest = entries.pop()[1] if len(entries) == 1 << fmt.bits else 0
    return [
        f"  function automatic logic [{bits - 1}:0] {name}(input logic [{fmt.bits - 1}:0] code);",
        "    case (code)",
        *(
            f"      {_number(code, fmt.bits)}: {name} = {_number(value, bits)};"
            for code, value in entries
        ),
        f"      default: {name} = {_number(rest, bits)};",
        "    endcase",
        "  endfunction",
    ]


def _legal_function(name: str, fmt: Format) -> list[str]:
    without = sorted(set(range(1 << fmt.bits)) - set(fmt.codes))
    return [
        f"  function automatic logic {name}(input logic [{fmt.bits - 1}:0] code);",
        "    case (code)",
        *(f"      {_number(code, fmt.bits)}: {name} = 1'b0;" for code in without),
        f"      default: {name} = 1'b1;",
        "    endcase",
        "  endfunction",
    ]


def _negative(fmt: Format, code: str) -> str:
    """Return the sign bit of a code that has one; an integer carries its sign in its value."""
    return f"{code}[{fmt.bits - 1}]" if fmt.sign_magnitude else "1'b0"


def _sum(terms: list[str]) -> str:
    """Return a balanced sum: Yosys' reader runs out of stack on a chain of hundreds."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return f"({_sum(terms[:half])} + {_sum(terms[half:])})"


def _wire(bits: int, name: str, value: str) -> str:
    return f"  (* keep *) wire signed [{bits - 1}:0] {name} = {value};"


def _stage(kernel: Kernel, stage: int) -> list[str]:
    """Return the codes and legality of one stage, and in the last one the products."""
    spec = kernel.spec
    lines: list[str] = []
    legal: list[str] = []
    product_bits = golden_product_bits(kernel)
    wide = [signed_bits(fmt.min_int, fmt.max_int) for fmt in (spec.weight, spec.act)]
    if stage:
        lines += [f"  (* keep *) logic {bit}_{stage};" for bit in ("valid", "clear")]
    else:
        lines += [f"  (* keep *) wire {bit}_0 = {bit}_i;" for bit in ("valid", "clear")]
    for lane in range(spec.lanes):
        at = f"{stage}_{lane}"
        for port, fmt in (("weight", spec.weight), ("act", spec.act)):
            size, name = f"[{fmt.bits - 1}:0]", f"{port}_{at}"
            taken = f"{port}_i[{lane * fmt.bits}+:{fmt.bits}]"
            kind = f"logic {size} {name};" if stage else f"wire {size} {name} = {taken};"
            lines += [f"  (* keep *) {kind}"]
            legal += [f"{port}_legal({name})"]
        if stage < kernel.latency - 1:
            continue
        signs = (
            _negative(spec.weight, f"weight_{at}"),
            _negative(spec.act, f"act_{at}"),
        )
        lines += [
            _wire(wide[0], f"weight_value_{at}", f"weight_value(weight_{at})"),
            _wire(wide[1], f"act_value_{at}", f"act_value(act_{at})"),
            f"  wire signed [{sum(wide) - 1}:0] exact_{at} = weight_value_{at} * act_value_{at};",
            _wire(product_bits, f"product_{at}", f"exact_{at}[{product_bits - 1}:0]"),
            f"  (* keep *) wire neg_{at} = {' ^ '.join(signs)};",
        ]
    return [*lines, f"  (* keep *) wire legal_{stage} = &{{{', '.join(legal)}}};"]


def _registers(kernel: Kernel) -> list[str]:
    spec, frozen, reset = kernel.spec, [], []
    for stage in range(1, kernel.latency):
        reset.append(f"valid_{stage}")
        frozen += [f"      valid_{stage} <= valid_{stage - 1};"]
        frozen += [f"      clear_{stage} <= clear_{stage - 1};"]
        for lane in range(spec.lanes):
            for port in ("weight", "act"):
                frozen.append(f"      {port}_{stage}_{lane} <= {port}_{stage - 1}_{lane};")
    last = kernel.latency - 1
    return [
        "  always_ff @(posedge clk_i) begin",
        "    if (en_i) begin",
        *frozen,
        f"      valid_o <= valid_{last};",
        f"      if (valid_{last}) acc_q <= result;",
        f"      if (valid_{last}) held <= 1'b1;",
        "    end",
        "    if (rst_i) begin",
        *(f"      {bit} <= 1'b0;" for bit in (*reset, "valid_o", "held")),
        "      acc_q <= '0;",
        "    end",
        "  end",
    ]


def golden_text(kernel: Kernel, name: str = GOLDEN) -> str:
    """Return the golden model of ``kernel``: same ports, same latency, no shared text."""
    spec, last = kernel.spec, kernel.latency - 1
    fixed = spec.accumulator
    # One bit more than the wider operand: the exact sum always fits.
    wide = max(fixed.width, spec.sum_bits) + 1
    terms = [f"product_{last}_{lane}" for lane in range(spec.lanes)]
    exact = _sum([f"{wide}'($signed({term}))" for term in ("start", *terms)])
    kept = f"total[{fixed.width - 1}:0]"
    high = _number(fixed.max_int, wide)
    low = _number(fixed.min_int, wide)
    clamp = (
        f"total > $signed({high}) ? {_number(fixed.max_int, fixed.width)} : "
        f"total < $signed({low}) ? {_number(fixed.min_int, fixed.width)} : {kept}"
    )
    result = clamp if spec.overflow is Overflow.SATURATE else kept
    size = f"[{fixed.width - 1}:0]"
    ports = (
        "input logic clk_i, rst_i, en_i, valid_i, clear_i",
        f"input logic [{spec.lanes * spec.weight.bits - 1}:0] weight_i",
        f"input logic [{spec.lanes * spec.act.bits - 1}:0] act_i",
        "output logic valid_o",
        f"output logic [{fixed.width - 1}:0] acc_o",
    )
    lines = [
        f"module {name} (\n  " + ",\n  ".join(ports) + "\n);",
        *_value_function("weight_value", spec.weight),
        *_value_function("act_value", spec.act),
        *_legal_function("weight_legal", spec.weight),
        *_legal_function("act_legal", spec.act),
        *(line for stage in range(kernel.latency) for line in _stage(kernel, stage)),
        f"  (* keep *) logic [{fixed.width - 1}:0] acc_q;",
        "  (* keep *) logic held;",
        f"  (* keep *) wire {size} start = (valid_{last} && clear_{last}) ? '0 : acc_q;",
        f"  wire signed [{wide - 1}:0] total = {exact};",
        f"  (* keep *) wire {size} result = {result};",
        *_registers(kernel),
        "  assign acc_o = acc_q;",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def miter_text(kernel: Kernel) -> str:
    """Return the top that gives a kernel (``u_dut``) and its golden model the same inputs."""
    spec = kernel.spec
    inputs = ("clk_i", "rst_i", "en_i", "valid_i", "clear_i", "weight_i", "act_i")
    wires = ", ".join(f".{port}({port})" for port in inputs)
    lines = [
        f"module {MITER} (",
        "  input logic clk_i, rst_i, en_i, valid_i, clear_i,",
        f"  input logic [{spec.lanes * spec.weight.bits - 1}:0] weight_i,",
        f"  input logic [{spec.lanes * spec.act.bits - 1}:0] act_i",
        ");",
    ]
    for side, module in (("dut", kernel.name), ("golden", GOLDEN)):
        lines += [
            f"  (* keep *) logic {side}_valid;",
            f"  (* keep *) logic [{spec.accumulator.width - 1}:0] {side}_acc;",
            f"  {module} u_{side} ({wires}, .valid_o({side}_valid), .acc_o({side}_acc));",
        ]
    return "\n".join([*lines, "endmodule"]) + "\n"
