// SPDX-License-Identifier: Apache-2.0
/// One radix-4 Booth row:  sum_o = rest_i + digit * value,  modulo 2**Width
///
///   digit = -2 * digit_i[2] + digit_i[1] + digit_i[0]         one of -2 .. 2
///
/// value_i[i] is bit i of the multiplicand and below_i[i] bit i - 1.  The row generator is the LUT
/// of the carry position: six inputs, S = rest ^ bit, DI = rest, and the +1 of a negative digit is
/// the carry in.  One site for each bit; after E. Walters, Computers 5(4):20, 2016.
///
/// Latency 0 (combinational).  Exact.
`default_nettype none

module hq_booth_row #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Width = 6  // bits of the row
) (
  input  logic [Width-1:0] rest_i,
  input  logic [Width-1:0] value_i,
  input  logic [Width-1:0] below_i,
  input  logic [2:0] digit_i,
  output logic [Width-1:0] sum_o
);

  localparam bit BadWidth = Width < 1 || Width > 64;
  if (BadWidth) begin : gen_bad_width
    $error("hq_booth_row: Width must be 1..64");
  end
  localparam bit Legal = !BadWidth;

  // Inputs of the table, as the truth tables of their own projections.
  localparam logic [63:0] Rest = 64'hAAAA_AAAA_AAAA_AAAA;
  localparam logic [63:0] Value = 64'hCCCC_CCCC_CCCC_CCCC;
  localparam logic [63:0] Below = 64'hF0F0_F0F0_F0F0_F0F0;
  localparam logic [63:0] Digit0 = 64'hFF00_FF00_FF00_FF00;
  localparam logic [63:0] Digit1 = 64'hFFFF_0000_FFFF_0000;
  localparam logic [63:0] Digit2 = 64'hFFFF_FFFF_0000_0000;

  localparam logic [63:0] Once = Digit1 ^ Digit0;
  localparam logic [63:0] Twice = ~Once & (Digit2 ^ Digit1);
  localparam logic [63:0] Bit = Digit2 ^ ((Once & Value) | (Twice & Below));

  logic [Width-1:0] sel;
  logic unused_carry;

  for (genvar i = 0; Legal && i < Width; i++) begin : gen_bit
    hq_lut #(
      .Primitive(Primitive),
      .Init(Rest ^ Bit)
    ) u_sel (
      .in_i({digit_i, below_i[i], value_i[i], rest_i[i]}),
      .out_o(sel[i])
    );
  end

  hq_chain #(
    .Primitive(Primitive),
    .Width(Width)
  ) u_chain (
    .carry_i(digit_i[2]),
    .s_i(sel),
    .di_i(rest_i),
    .sum_o(sum_o),
    .carry_o(unused_carry)
  );

endmodule

`default_nettype wire
