// SPDX-License-Identifier: Apache-2.0
/// First row of a multiplication by an unsigned two-bit digit, without its two low bits:
///
///   row_o = (digit_i * value_i) >> 2        Width bits
///
/// The two low bits are functions of four inputs, which the accumulator absorbs.  Up to four
/// multiplicand bits each bit is one table; above, it is the sum of two AND rows on a carry chain:
/// S = x ^ y and DI = x are two functions of four inputs, one site for each bit.  The carry into
/// bit 2 and the sign are tables of their own, together one site.
///
/// Latency 0 (combinational).  Exact: row_o is signed where the multiplicand is.
`default_nettype none

module hq_booth_first #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Width = 4,  // multiplicand bits
  parameter bit Signed = 1'b1  // the multiplicand is two's complement
) (
  input  logic [1:0] digit_i,
  input  logic [Width-1:0] value_i,
  output logic [Width-1:0] row_o
);

  localparam bit BadWidth = Width < 3 || Width > 8;
  if (BadWidth) begin : gen_bad_width
    $error("hq_booth_first: Width must be 3..8");
  end
  localparam bit Legal = !BadWidth;

  if (Width <= 4) begin : gen_tables
    // Inputs of the tables, as the truth tables of their own projections; V3 and above extend a
    // narrow multiplicand.
    localparam logic [63:0] D0 = 64'hAAAA_AAAA_AAAA_AAAA;
    localparam logic [63:0] D1 = 64'hCCCC_CCCC_CCCC_CCCC;
    localparam logic [63:0] V0 = 64'hF0F0_F0F0_F0F0_F0F0;
    localparam logic [63:0] V1 = 64'hFF00_FF00_FF00_FF00;
    localparam logic [63:0] V2 = 64'hFFFF_0000_FFFF_0000;
    localparam logic [63:0] V3 = Width == 4 ? 64'hFFFF_FFFF_0000_0000 : Signed ? V2 : 64'h0;
    localparam logic [63:0] V4 = Signed ? V3 : 64'h0;

    // The two AND rows D0 * V and 2 * D1 * V, added bit by bit.
    localparam logic [63:0] C2 = D0 & V1 & D1 & V0;
    localparam logic [63:0] C3 = (D0 & V2 & D1 & V1) | (D0 & V2 & C2) | (D1 & V1 & C2);
    localparam logic [63:0] C4 = (D0 & V3 & D1 & V2) | (D0 & V3 & C3) | (D1 & V2 & C3);
    localparam logic [63:0] C5 = (D0 & V4 & D1 & V3) | (D0 & V4 & C4) | (D1 & V3 & C4);
    localparam logic [63:0] P2 = (D0 & V2) ^ (D1 & V1) ^ C2;
    localparam logic [63:0] P3 = (D0 & V3) ^ (D1 & V2) ^ C3;
    localparam logic [63:0] P4 = (D0 & V4) ^ (D1 & V3) ^ C4;
    localparam logic [63:0] P5 = (D0 & V4) ^ (D1 & V4) ^ C5;
    localparam logic [255:0] Bits = {P5, P4, P3, P2};

    logic [3:0] value;
    assign value = 4'(value_i);

    for (genvar i = 0; Legal && i < Width; i++) begin : gen_bit
      // No bit needs those far above it, and the sign needs only the multiplicand's.
      localparam int unsigned Above = i + 3 < Width ? i + 3 : Width;
      localparam logic [3:0] Sign = 4'(1 << (Width - 1));
      localparam logic [3:0] Used = Signed && i == Width - 1 ? Sign : 4'((1 << Above) - 1);

      hq_lut #(
        .Primitive(Primitive),
        .Init(Bits[64*i+:64])
      ) u_bit (
        .in_i({value & Used, digit_i}),
        .out_o(row_o[i])
      );
    end
  end else begin : gen_chain
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
  end

endmodule

`default_nettype wire
