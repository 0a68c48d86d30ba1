// SPDX-License-Identifier: Apache-2.0
/// Multiply two numbers of at most six code bits together, one table for each product bit:
///
///   product_o = magnitude(a_i) * magnitude(b_i)
///
/// An operand is an integer (ExpBits 0; two's complement where Twos) or a minifloat without its
/// sign bit.  A bit that does not depend on some inputs is a smaller LUT, which may share a site.
///
/// Latency 0 (combinational).  Exact: product_o is two's complement where an operand is.
`default_nettype none

module hq_tree_table #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned ABits = 3,  // code bits of a_i
  parameter int unsigned AExpBits = 2,  // exponent bits among them
  parameter bit ATwos = 1'b0,  // a_i is two's complement
  parameter int unsigned BBits = 3,  // code bits of b_i
  parameter int unsigned BExpBits = 2,  // exponent bits among them
  parameter bit BTwos = 1'b0,  // b_i is two's complement
  parameter int unsigned ProductBits = 8  // width of the product
) (
  input  logic [ABits-1:0] a_i,
  input  logic [BBits-1:0] b_i,
  output logic [ProductBits-1:0] product_o
);

  localparam bit BadAExpBits = AExpBits > 7;
  if (BadAExpBits) begin : gen_bad_a_exp_bits
    $error("hq_tree_table: AExpBits must be 0..7");
  end
  localparam bit BadBExpBits = BExpBits > 7;
  if (BadBExpBits) begin : gen_bad_b_exp_bits
    $error("hq_tree_table: BExpBits must be 0..7");
  end
  localparam bit BadWidth = ABits < 1 || ABits > 5 || BBits < 1 || BBits > 5 || ABits + BBits > 6;
  if (BadWidth) begin : gen_bad_width
    $error("hq_tree_table: ABits and BBits must be 1..5 and 6 or less together");
  end
  localparam bit BadProduct = ProductBits < 1 || ProductBits > 31;
  if (BadProduct) begin : gen_bad_product
    $error("hq_tree_table: ProductBits must be 1..31");
  end
  localparam bit Legal = !(BadAExpBits || BadBExpBits || BadWidth || BadProduct);

  // What a code means: subnormals keep their step, the others have a hidden bit.
  function automatic int value(
    input int code, input int bits, input int exp_bits, input bit twos
  );
    int mantissa;
    int exponent;
    mantissa = bits - exp_bits;
    exponent = code >> mantissa;
    if (twos) value = code >= (1 << (bits - 1)) ? code - (1 << bits) : code;
    else if (exponent == 0) value = code;
    else value = ((1 << mantissa) + code % (1 << mantissa)) << (exponent - 1);
  endfunction

  // Truth table of product bit `place`; index {b, a}.
  function automatic logic [63:0] truth(input int place);
    int index;
    int a;
    int b;
    for (index = 0; index < 64; index = index + 1) begin
      a = value(index % (1 << ABits), int'(ABits), int'(AExpBits), ATwos);
      b = value((index >> ABits) % (1 << BBits), int'(BBits), int'(BExpBits), BTwos);
      truth[index] = 1'((a * b) >>> place);
    end
  endfunction

  // Which inputs a truth table depends on.
  function automatic logic [5:0] support(input logic [63:0] table_bits);
    int index;
    int k;
    support = '0;
    for (index = 0; index < 64; index = index + 1) begin
      for (k = 0; k < 6; k = k + 1) begin
        if (table_bits[index] != table_bits[index^(1<<k)]) support[k] = 1'b1;
      end
    end
  endfunction

  for (genvar i = 0; Legal && i < ProductBits; i++) begin : gen_bit
    localparam logic [63:0] Truth = truth(i);

    hq_lut #(
      .Primitive(Primitive),
      .Init(Truth)
    ) u_bit (
      .in_i(6'({b_i, a_i}) & support(Truth)),
      .out_o(product_o[i])
    );
  end

endmodule

`default_nettype wire
