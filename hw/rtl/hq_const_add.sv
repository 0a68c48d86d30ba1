// SPDX-License-Identifier: Apache-2.0
/// Add two short unsigned numbers in LUTs alone, three sites for four positions:
///
///   sum_o = (a_i ^ InvA) + (b_i ^ InvB)
///
/// Two positions at a time are functions of five nets: the carry into them and two bits of each
/// number.  The upper sum and the carry out share a site; the lower sum is a function of three nets
/// and shares a site with another.  A carry chain would take one site for each position.
///
/// Latency 0 (combinational).  Exact with HasCarry, else modulo 2**Width.  Equals Python's `+`.
`default_nettype none

module hq_const_add #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Width = 4,  // positions
  parameter bit HasCarry = 1'b1,  // the sum has one bit more
  parameter logic [Width-1:0] InvA = '0,  // bits of a_i to invert
  parameter logic [Width-1:0] InvB = '0,  // bits of b_i to invert
  localparam int unsigned OutBits = Width + (HasCarry ? 1 : 0)
) (
  input  logic [Width-1:0] a_i,
  input  logic [Width-1:0] b_i,
  output logic [OutBits-1:0] sum_o
);

  localparam bit BadWidth = Width < 1 || Width > 4096;
  if (BadWidth) begin : gen_bad_width
    $error("hq_const_add: Width must be 1..4096");
  end
  localparam bit Legal = !BadWidth;

  localparam int unsigned Slices = Legal ? (Width + 1) / 2 : 1;
  localparam logic [2*Slices-1:0] FlipA = (2 * Slices)'(InvA);
  localparam logic [2*Slices-1:0] FlipB = (2 * Slices)'(InvB);

  // Inputs of the tables, as the truth tables of their own projections.
  localparam logic [31:0] A0 = 32'hAAAA_AAAA;
  localparam logic [31:0] B0 = 32'hCCCC_CCCC;
  localparam logic [31:0] A1 = 32'hF0F0_F0F0;
  localparam logic [31:0] B1 = 32'hFF00_FF00;
  localparam logic [31:0] Carry = 32'hFFFF_0000;

  logic [2*Slices-1:0] a;
  logic [2*Slices-1:0] b;
  logic [2*Slices:0] total;
  logic [Slices:0] carry;

  assign a = (2 * Slices)'(a_i);
  assign b = (2 * Slices)'(b_i);
  assign carry[0] = 1'b0;
  assign total[2*Slices] = carry[Slices];
  assign sum_o = total[OutBits-1:0];

  for (genvar k = 0; Legal && k < Slices; k++) begin : gen_slice
    localparam logic [31:0] P = A0 ^ {32{FlipA[2*k]}};
    localparam logic [31:0] Q = B0 ^ {32{FlipB[2*k]}};
    localparam logic [31:0] R = A1 ^ {32{FlipA[2*k+1]}};
    localparam logic [31:0] T = B1 ^ {32{FlipB[2*k+1]}};
    localparam logic [31:0] Middle = (P & Q) | (P & Carry) | (Q & Carry);

    assign total[2*k] = a[2*k] ^ b[2*k] ^ carry[k] ^ FlipA[2*k] ^ FlipB[2*k];

    hq_lut_pair #(
      .Primitive(Primitive),
      .InitA(R ^ T ^ Middle),
      .InitB((R & T) | (R & Middle) | (T & Middle))
    ) u_pair (
      .in_i({carry[k], b[2*k+1], a[2*k+1], b[2*k], a[2*k]}),
      .a_o(total[2*k+1]),
      .b_o(carry[k+1])
    );
  end

  if (OutBits < 2 * Slices + 1) begin : gen_rest
    logic unused_rest;  // 0, or beyond the width
    assign unused_rest = ^total[2*Slices:OutBits];
  end

endmodule

`default_nettype wire
