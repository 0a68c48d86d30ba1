// SPDX-License-Identifier: Apache-2.0
/// Add two numbers with signs of their own on one binary carry chain:
///
///   sum_o - 2**Width + neg_i[1] = (neg_i[0] ? -a_i : a_i) + (neg_i[1] ? -b_i : b_i)
///
/// a_i and b_i are two's complement.  -x is ~x + 1: both XORs are in the LUT of the carry
/// position (S of four inputs, DI of two of them, one site), one +1 is the carry in, the other is
/// left to whoever adds sum_o to something.  Inverted sign bits make the sum an unsigned number.
///
/// Latency 0 (combinational).  Exact.
`default_nettype none

module hq_fold #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Width = 8  // of either number
) (
  input  logic [Width-1:0] a_i,
  input  logic [Width-1:0] b_i,
  input  logic [1:0] neg_i,
  output logic [Width:0] sum_o
);

  localparam bit BadWidth = Width < 2 || Width > 4096;
  if (BadWidth) begin : gen_bad_width
    $error("hq_fold: Width must be 2..4096");
  end
  localparam bit Legal = !BadWidth;

  // Inputs of the tables, as the truth tables of their own projections.
  localparam logic [31:0] A = 32'hAAAA_AAAA;
  localparam logic [31:0] NegA = 32'hCCCC_CCCC;
  localparam logic [31:0] B = 32'hF0F0_F0F0;
  localparam logic [31:0] NegB = 32'hFF00_FF00;

  logic [Width-1:0] sel;
  logic [Width-1:0] data;

  for (genvar i = 0; Legal && i < Width; i++) begin : gen_bit
    localparam bit Top = i == Width - 1;

    hq_lut_pair #(
      .Primitive(Primitive),
      .InitA(A ^ NegA ^ B ^ NegB),
      .InitB(A ^ NegA ^ {32{Top}})
    ) u_bit (
      .in_i({1'b0, neg_i[1], b_i[i], neg_i[0], a_i[i]}),
      .a_o(sel[i]),
      .b_o(data[i])
    );
  end

  hq_chain #(
    .Primitive(Primitive),
    .Width(Width)
  ) u_chain (
    .carry_i(neg_i[0]),
    .s_i(sel),
    .di_i(data),
    .sum_o(sum_o[Width-1:0]),
    .carry_o(sum_o[Width])
  );

endmodule

`default_nettype wire
