// SPDX-License-Identifier: Apache-2.0
/// Multiply two significands:  product_o = a_i * b_i, by the block that suits their widths.
///
///   up to six bits together     one table a bit (hq_mul_table)
///   one bit by more             AND gates
///   two unsigned bits by more   one dual AND row (hq_booth_first)
///   else                        Booth rows (hq_booth), a_i recoded
///
/// A product by one bit is no wider than the other operand.
/// Latency 0 (combinational).  Exact: product_o is signed where an operand is.
`default_nettype none

module hq_sig_product #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned ABits = 3,  // width of a_i
  parameter int unsigned BBits = 3,  // width of b_i
  parameter bit ASigned = 1'b0,  // a_i is two's complement
  parameter bit BSigned = 1'b0,  // b_i is two's complement
  localparam int unsigned Bits = ABits + BBits - (ABits == 1 || BBits == 1 ? 1 : 0)
) (
  input  logic [ABits-1:0] a_i,
  input  logic [BBits-1:0] b_i,
  output logic [Bits-1:0] product_o
);

  if (ABits < 1 || ABits > 8) begin : gen_bad_a
    $error("hq_sig_product: ABits must be 1..8");
  end
  if (BBits < 1 || BBits > 8) begin : gen_bad_b
    $error("hq_sig_product: BBits must be 1..8");
  end
  if ((ASigned && ABits < 2) || (BSigned && BBits < 2)) begin : gen_bad_signed
    $error("hq_sig_product: ABits with ASigned, BBits with BSigned must be 2..8");
  end

  localparam bit Small = ABits + BBits <= 6;
  localparam bit ASingle = !Small && ABits == 1;
  localparam bit BSingle = !Small && BBits == 1;
  localparam bit ADigit = !Small && ABits == 2 && !ASigned;
  localparam bit BDigit = !Small && BBits == 2 && !BSigned;

  if (Small) begin : gen_table
    hq_mul_table #(
      .Primitive(Primitive),
      .ABits(ABits),
      .BBits(BBits),
      .ASigned(ASigned),
      .BSigned(BSigned)
    ) u_table (
      .a_i(a_i),
      .b_i(b_i),
      .product_o(product_o)
    );
  end else if (ASingle) begin : gen_a_single
    assign product_o = a_i[0] ? b_i : '0;
  end else if (BSingle) begin : gen_b_single
    assign product_o = b_i[0] ? a_i : '0;
  end else if (ADigit) begin : gen_a_digit
    assign product_o[0] = a_i[0] && b_i[0];
    assign product_o[1] = (a_i[0] && b_i[1]) ^ (a_i[1] && b_i[0]);

    hq_booth_first #(
      .Primitive(Primitive),
      .Width(BBits),
      .Signed(BSigned)
    ) u_row (
      .digit_i(a_i),
      .value_i(b_i),
      .row_o(product_o[BBits+1:2])
    );
  end else if (BDigit) begin : gen_b_digit
    assign product_o[0] = b_i[0] && a_i[0];
    assign product_o[1] = (b_i[0] && a_i[1]) ^ (b_i[1] && a_i[0]);

    hq_booth_first #(
      .Primitive(Primitive),
      .Width(ABits),
      .Signed(ASigned)
    ) u_row (
      .digit_i(b_i),
      .value_i(a_i),
      .row_o(product_o[ABits+1:2])
    );
  end else begin : gen_booth
    hq_booth #(
      .Primitive(Primitive),
      .ABits(ABits),
      .BBits(BBits),
      .ASigned(ASigned),
      .BSigned(BSigned)
    ) u_booth (
      .a_i(a_i),
      .b_i(b_i),
      .product_o(product_o)
    );
  end

endmodule

`default_nettype wire
