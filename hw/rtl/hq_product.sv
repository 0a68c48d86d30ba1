// SPDX-License-Identifier: Apache-2.0
/// Multiply two codes exactly: product_o = value(weight_i) * value(act_i), two's complement, in
/// units of the product of the two steps.
///
/// This is the multiplier of every kernel (hq_term) with its sign applied, as a block of its own
/// for exhaustive verification of all code pairs.
///
/// Latency 0 (combinational).  Exact for every pair of codes that have values.
/// Equals hwquant.mac.MacSpec.products.
`default_nettype none

module hq_product #(
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter bit WeightFloat = 1'b1,  // weight is a minifloat
  parameter bit WeightSigned = 1'b1,  // weight has a sign
  parameter int unsigned WeightExpBits = 2,  // weight exponent field width
  parameter int unsigned ActBits = 4,  // activation code width
  parameter bit ActFloat = 1'b1,  // activation is a minifloat
  parameter bit ActSigned = 1'b1,  // activation has a sign
  parameter int unsigned ActExpBits = 2,  // activation exponent field width
  parameter int unsigned ProductBits = 9  // width of product_o, see hw.generate.product_bits
) (
  input  logic [WeightBits-1:0] weight_i,
  input  logic [ActBits-1:0] act_i,
  output logic [ProductBits-1:0] product_o
);

  if (WeightBits < 1 || WeightBits > 8) begin : gen_bad_weight_bits
    $error("hq_product: WeightBits must be 1..8");
  end
  if (ActBits < 1 || ActBits > 8) begin : gen_bad_act_bits
    $error("hq_product: ActBits must be 1..8");
  end
  if (WeightExpBits > 7) begin : gen_bad_weight_exp_bits
    $error("hq_product: WeightExpBits must be 0..7");
  end
  if (ActExpBits > 7) begin : gen_bad_act_exp_bits
    $error("hq_product: ActExpBits must be 0..7");
  end
  if (ProductBits < 1 || ProductBits > 512) begin : gen_bad_product
    $error("hq_product: ProductBits must be 1..512");
  end

  logic neg;
  logic [ProductBits-1:0] mag;

  hq_term #(
    .WeightBits(WeightBits),
    .WeightFloat(WeightFloat),
    .WeightSigned(WeightSigned),
    .WeightExpBits(WeightExpBits),
    .ActBits(ActBits),
    .ActFloat(ActFloat),
    .ActSigned(ActSigned),
    .ActExpBits(ActExpBits),
    .ProductBits(ProductBits)
  ) u_term (
    .weight_i(weight_i),
    .act_i(act_i),
    .neg_o(neg),
    .mag_o(mag)
  );

  assign product_o = neg ? -mag : mag;

endmodule

`default_nettype wire
