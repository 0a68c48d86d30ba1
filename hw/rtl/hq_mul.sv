// SPDX-License-Identifier: Apache-2.0
/// Multiply two integers exactly: p_o = a_i * b_i.
///
/// The multiplier is a module of its own so that a synthesis flow can keep it apart from the
/// adders around it (Yosys otherwise merges them or not by the order it meets the cells in, and
/// the merged form is larger).
///
/// Latency 0 (combinational).  Exact: p_o is two's complement when an operand is signed, else
/// unsigned.  Equals Python's `*`.
`default_nettype none

module hq_mul #(
  parameter int unsigned ABits = 4,  // width of a_i
  parameter int unsigned BBits = 4,  // width of b_i
  parameter bit ASigned = 1'b0,  // a_i is two's complement
  parameter bit BSigned = 1'b0,  // b_i is two's complement
  localparam int unsigned OutBits = ABits + BBits
) (
  input  logic [ABits-1:0] a_i,
  input  logic [BBits-1:0] b_i,
  output logic [OutBits-1:0] p_o
);

  if (ABits < 1 || ABits > 4096 || BBits < 1 || BBits > 4096) begin : gen_bad_width
    $error("hq_mul: ABits and BBits must be 1..4096");
  end

  if (!ASigned && !BSigned) begin : gen_unsigned
    assign p_o = OutBits'(a_i) * OutBits'(b_i);
  end else if (ASigned && BSigned) begin : gen_signed
    assign p_o = OutBits'($signed(a_i)) * OutBits'($signed(b_i));
  end else if (ASigned) begin : gen_signed_by_unsigned
    assign p_o = OutBits'($signed(a_i)) * OutBits'($signed({1'b0, b_i}));
  end else begin : gen_unsigned_by_signed
    assign p_o = OutBits'($signed({1'b0, a_i})) * OutBits'($signed(b_i));
  end

endmodule

`default_nettype wire
