// SPDX-License-Identifier: Apache-2.0
/// Sum of Lanes exact products of codes, with one bit still to be added:
///
///   sum_o + carry_o = sum over lanes of value(weight_i[lane]) * value(act_i[lane])
///
/// Each product arrives as sign and magnitude and joins the sum as mag ^ neg plus the bit neg;
/// the tree absorbs all of these bits but one, and the accumulator absorbs that one.
///
/// Latency 0 (combinational).  Exact.  Equals hwquant.mac.MacSpec.products summed over lanes.
`default_nettype none

module hq_dot #(
  parameter int unsigned Lanes = 4,  // products per beat
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter bit WeightFloat = 1'b1,  // weight is a minifloat
  parameter bit WeightSigned = 1'b1,  // weight has a sign
  parameter int unsigned WeightExpBits = 2,  // weight exponent field width
  parameter int unsigned ActBits = 4,  // activation code width
  parameter bit ActFloat = 1'b1,  // activation is a minifloat
  parameter bit ActSigned = 1'b1,  // activation has a sign
  parameter int unsigned ActExpBits = 2,  // activation exponent field width
  parameter int unsigned ProductBits = 9,  // width of one product, see hw.generate.product_bits
  localparam int unsigned SumBits = ProductBits + $clog2(Lanes)
) (
  input  logic [Lanes-1:0][WeightBits-1:0] weight_i,
  input  logic [Lanes-1:0][ActBits-1:0] act_i,
  output logic [SumBits-1:0] sum_o,
  output logic carry_o
);

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_dot: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_dot: ActBits must be 1..8");
  end
  localparam bit BadWeightExpBits = WeightExpBits > 7;
  if (BadWeightExpBits) begin : gen_bad_weight_exp_bits
    $error("hq_dot: WeightExpBits must be 0..7");
  end
  localparam bit BadActExpBits = ActExpBits > 7;
  if (BadActExpBits) begin : gen_bad_act_exp_bits
    $error("hq_dot: ActExpBits must be 0..7");
  end
  localparam bit BadProductBits = ProductBits < 1 || ProductBits > 512;
  if (BadProductBits) begin : gen_bad_product_bits
    $error("hq_dot: ProductBits must be 1..512");
  end
  localparam bit BadLanes = Lanes < 1 || Lanes > 4096;
  if (BadLanes) begin : gen_bad_lanes
    $error("hq_dot: Lanes must be 1..4096");
  end
  localparam bit Legal =
      !(BadWeightBits || BadActBits || BadWeightExpBits || BadActExpBits || BadProductBits ||
      BadLanes);

  localparam bit HasSign = (WeightFloat && WeightSigned) || (ActFloat && ActSigned);

  logic [Lanes-1:0][ProductBits-1:0] term;
  logic [Lanes-1:0] neg;

  for (genvar lane = 0; Legal && lane < Lanes; lane++) begin : gen_lane
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
      .weight_i(weight_i[lane]),
      .act_i(act_i[lane]),
      .neg_o(neg[lane]),
      .mag_o(mag)
    );

    assign term[lane] = mag ^ {ProductBits{neg[lane]}};
  end

  hq_sum #(
    .Count(Lanes),
    .Width(ProductBits),
    .HasCarry(HasSign)
  ) u_sum (
    .term_i(term),
    .carry_i(neg),
    .sum_o(sum_o),
    .carry_o(carry_o)
  );

endmodule

`default_nettype wire
