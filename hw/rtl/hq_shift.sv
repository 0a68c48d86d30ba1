// SPDX-License-Identifier: Apache-2.0
/// Arithmetic shift right by a variable amount, remembering what falls out:
///
///   x_o = x_i >>> amount_i      sticky_o = sticky_i or any bit shifted out
///
/// Latency 0 (combinational).  Exact.  Equals Python's `>>` and a test of the remainder.
`default_nettype none

module hq_shift #(
  parameter int unsigned Width = 16,  // width of x_i, two's complement
  parameter int unsigned AmountBits = 4  // width of amount_i
) (
  input  logic [Width-1:0] x_i,
  input  logic [AmountBits-1:0] amount_i,
  input  logic sticky_i,
  output logic [Width-1:0] x_o,
  output logic sticky_o
);

  localparam bit BadWidth = Width < 1 || Width > 4096;
  if (BadWidth) begin : gen_bad_width
    $error("hq_shift: Width must be 1..4096");
  end
  localparam bit BadAmount = AmountBits < 1 || AmountBits > 11;
  if (BadAmount) begin : gen_bad_amount
    $error("hq_shift: AmountBits must be 1..11");
  end
  localparam bit Legal = !(BadWidth || BadAmount);

  logic [AmountBits:0][Width-1:0] x;
  logic [AmountBits:0] sticky;

  assign x[AmountBits] = x_i;
  assign sticky[AmountBits] = sticky_i;

  for (genvar k = 0; Legal && k < AmountBits; k++) begin : gen_step
    localparam int unsigned Places = (1 << k) < Width ? 1 << k : Width;
    logic [Width-1:0] moved;

    assign moved = Width'($signed(x[k+1]) >>> Places);
    assign x[k] = amount_i[k] ? moved : x[k+1];
    assign sticky[k] = sticky[k+1] | (amount_i[k] & (|x[k+1][Places-1:0]));
  end

  assign x_o = x[0];
  assign sticky_o = sticky[0];

endmodule

`default_nettype wire
