// SPDX-License-Identifier: Apache-2.0
/// First row of a multiplication by an unsigned two-bit digit, without its two low bits:
///
///   row_o = (digit_i * value_i) >> 2        Width bits
///
/// It is hq_booth_first for a multiplicand of up to 25 bits: two AND rows on a carry chain, S = x ^ y
/// and DI = x, two functions of four inputs; the carry into bit 2 and the sign share a site.
///
/// Latency 0 (combinational).  Exact: row_o is signed where the multiplicand is.
`default_nettype none

module hq_book_first #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Width = 9,  // multiplicand bits
  parameter bit Signed = 1'b1  // the multiplicand is two's complement
) (
  input  logic [1:0] digit_i,
  input  logic [Width-1:0] value_i,
  output logic [Width-1:0] row_o
);

  localparam bit BadWidth = Width < 3 || Width > 25;
  if (BadWidth) begin : gen_bad_width
    $error("hq_book_first: Width must be 3..25");
  end
  localparam bit Legal = !BadWidth;

  // Inputs of the tables, as the truth tables of their own projections.
  localparam logic [31:0] D0 = 32'hAAAA_AAAA;
  localparam logic [31:0] D1 = 32'hCCCC_CCCC;
  localparam logic [31:0] Here = 32'hF0F0_F0F0;
  localparam logic [31:0] Below = 32'hFF00_FF00;
  localparam logic [31:0] Top = 32'hFFFF_0000;

  logic [Width:2] sel;
  logic [Width:2] once;
  logic carry;
  logic sign;
  logic over;

  hq_lut_pair #(
    .Primitive(Primitive),
    .InitA(D0 & Here & D1 & Below),
    .InitB(Top & (D0 | D1))
  ) u_ends (
    .in_i({Signed ? value_i[Width-1] : 1'b0, value_i[0], value_i[1], digit_i}),
    .a_o(carry),
    .b_o(sign)
  );

  for (genvar i = 2; Legal && i <= Width; i++) begin : gen_bit
    logic here;

    if (i < Width) begin : gen_inside
      assign here = value_i[i];
    end else begin : gen_above
      assign here = Signed ? value_i[Width-1] : 1'b0;
    end

    hq_lut_pair #(
      .Primitive(Primitive),
      .InitA((D0 & Here) ^ (D1 & Below)),
      .InitB(D0 & Here)
    ) u_bit (
      .in_i({1'b0, value_i[i-1], here, digit_i}),
      .a_o(sel[i]),
      .b_o(once[i])
    );
  end

  hq_chain #(
    .Primitive(Primitive),
    .Width(Width - 1)
  ) u_chain (
    .carry_i(carry),
    .s_i(sel),
    .di_i(once),
    .sum_o(row_o[Width-2:0]),
    .carry_o(over)
  );

  if (Signed) begin : gen_sign
    logic unused_over;
    assign unused_over = over;
    assign row_o[Width-1] = sign;
  end else begin : gen_over
    logic unused_sign;
    assign unused_sign = sign;
    assign row_o[Width-1] = over;
  end

endmodule

`default_nettype wire
