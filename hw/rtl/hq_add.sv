// SPDX-License-Identifier: Apache-2.0
/// Add two signed numbers and, where HasCarry, one bit: sum_o = a_i + b_i + carry_i.
///
/// The bit enters one position below the operands ({a, 1} + {b, carry}), which every synthesizer
/// maps to a single carry chain; three-operand sums are mapped to a compressor and a chain.
///
/// Latency 0 (combinational).  Exact: both operands and the sum fit Width bits (the caller sees
/// to it) or the sum is meant modulo 2**Width.  Equals Python's `+`.
`default_nettype none

module hq_add #(
  parameter int unsigned Width = 8,  // width of operands and sum
  parameter bit HasCarry = 1'b1  // carry_i is used, else it must be 0
) (
  input  logic [Width-1:0] a_i,
  input  logic [Width-1:0] b_i,
  input  logic carry_i,
  output logic [Width-1:0] sum_o
);

  if (Width < 1 || Width > 4096) begin : gen_bad_width
    $error("hq_add: Width must be 1..4096");
  end

  if (HasCarry) begin : gen_carry
    assign sum_o = Width'(({a_i, 1'b1} + {b_i, carry_i}) >> 1);
  end else begin : gen_plain
    logic unused_carry;
    assign unused_carry = carry_i;
    assign sum_o = a_i + b_i;
  end

endmodule

`default_nettype wire
