// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel: Lanes exact products a beat, one accumulator.
///
///   acc_o = wrap_or_clamp((clear_i ? 0 : acc) + sum over lanes of weight_i * act_i)
///
/// clear_i with valid_i starts a new dot product with that beat.  Lane 0 is in the low bits; a
/// lane without data carries code 0.  en_i = 0 freezes everything; rst_i acts even then.
///
/// Latency 2 (operand register, accumulator register), initiation interval 1.  Exact.
/// Equals hwquant.mac.MacSpec.accumulate beat for beat.
`default_nettype none

module hq_mac #(
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
  parameter int unsigned AccBits = 16,  // accumulator width
  parameter bit Saturate = 1'b0  // clamp after each beat, else wrap
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic [Lanes-1:0][WeightBits-1:0] weight_i,
  input  logic [Lanes-1:0][ActBits-1:0] act_i,
  output logic valid_o,
  output logic [AccBits-1:0] acc_o
);

  if (WeightBits < 1 || WeightBits > 8) begin : gen_bad_weight_bits
    $error("hq_mac: WeightBits must be 1..8");
  end
  if (ActBits < 1 || ActBits > 8) begin : gen_bad_act_bits
    $error("hq_mac: ActBits must be 1..8");
  end
  if (WeightExpBits > 7) begin : gen_bad_weight_exp_bits
    $error("hq_mac: WeightExpBits must be 0..7");
  end
  if (ActExpBits > 7) begin : gen_bad_act_exp_bits
    $error("hq_mac: ActExpBits must be 0..7");
  end
  if (ProductBits < 1 || ProductBits > 512) begin : gen_bad_product_bits
    $error("hq_mac: ProductBits must be 1..512");
  end
  if (AccBits < 2 || AccBits > 1024) begin : gen_bad_acc_bits
    $error("hq_mac: AccBits must be 2..1024");
  end
  if (Lanes < 1 || Lanes > 4096) begin : gen_bad_lanes
    $error("hq_mac: Lanes must be 1..4096");
  end

  localparam int unsigned SumBits = ProductBits + $clog2(Lanes);
  localparam bit HasSign = (WeightFloat && WeightSigned) || (ActFloat && ActSigned);

  logic valid_q;
  logic [Lanes-1:0][WeightBits-1:0] weight_q;
  logic [Lanes-1:0][ActBits-1:0] act_q;
  logic [SumBits-1:0] sum;
  logic carry;

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= 1'b0;
    else if (en_i) valid_q <= valid_i;
  end

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      weight_q <= weight_i;
      act_q <= act_i;
    end
  end

  hq_dot #(
    .Lanes(Lanes),
    .WeightBits(WeightBits),
    .WeightFloat(WeightFloat),
    .WeightSigned(WeightSigned),
    .WeightExpBits(WeightExpBits),
    .ActBits(ActBits),
    .ActFloat(ActFloat),
    .ActSigned(ActSigned),
    .ActExpBits(ActExpBits),
    .ProductBits(ProductBits)
  ) u_dot (
    .weight_i(weight_q),
    .act_i(act_q),
    .sum_o(sum),
    .carry_o(carry)
  );

  hq_acc #(
    .SumBits(SumBits),
    .AccBits(AccBits),
    .Saturate(Saturate),
    .HasCarry(HasSign)
  ) u_acc (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .clear_i(valid_i && clear_i),
    .valid_i(valid_q),
    .sum_i(sum),
    .carry_i(carry),
    .valid_o(valid_o),
    .acc_o(acc_o)
  );

endmodule

`default_nettype wire
