// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel of codebooks: Lanes exact products a beat, one accumulator.
///
///   acc_o = wrap_or_clamp((clear_i ? 0 : acc) + sum over lanes of weight_i * act_i)
///
/// clear_i with valid_i starts a new dot product with that beat.  Lane 0 is in the low bits; a
/// lane without data carries code 0.  en_i = 0 freezes everything; rst_i acts even then.
///
/// Latency 2 (operand register, accumulator register), initiation interval 1.  Exact.
/// Equals hwquant.mac.MacSpec.accumulate beat for beat.
`default_nettype none

module hq_book_mac #(
  parameter int unsigned Lanes = 4,  // products per beat
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter bit WeightFloat = 1'b1,  // weight is a minifloat, or has a sign bit on top
  parameter bit WeightSigned = 1'b1,  // weight has a sign
  parameter int unsigned WeightExpBits = 0,  // weight exponent field width
  parameter bit WeightBook = 1'b1,  // weight is a codebook
  parameter int unsigned WeightSigBits = 4,  // width of the weight's significand
  localparam int unsigned WeightIndex = WeightBits - (WeightFloat && WeightSigned ? 1 : 0),
  parameter bit [(1<<WeightIndex)*WeightSigBits-1:0] WeightWords = '0,  // its table
  parameter int unsigned ActBits = 4,  // activation code width
  parameter bit ActFloat = 1'b1,  // activation is a minifloat, or has a sign bit on top
  parameter bit ActSigned = 1'b1,  // activation has a sign
  parameter int unsigned ActExpBits = 0,  // activation exponent field width
  parameter bit ActBook = 1'b1,  // activation is a codebook
  parameter int unsigned ActSigBits = 4,  // width of the activation's significand
  localparam int unsigned ActIndex = ActBits - (ActFloat && ActSigned ? 1 : 0),
  parameter bit [(1<<ActIndex)*ActSigBits-1:0] ActWords = '0,  // its table
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

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_book_mac: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_book_mac: ActBits must be 1..8");
  end
  localparam bit BadWeightExpBits = WeightExpBits > 7;
  if (BadWeightExpBits) begin : gen_bad_weight_exp_bits
    $error("hq_book_mac: WeightExpBits must be 0..7");
  end
  localparam bit BadActExpBits = ActExpBits > 7;
  if (BadActExpBits) begin : gen_bad_act_exp_bits
    $error("hq_book_mac: ActExpBits must be 0..7");
  end
  localparam bit BadWeightSigBits = WeightSigBits < 1 || WeightSigBits > 25;
  if (BadWeightSigBits) begin : gen_bad_weight_sig_bits
    $error("hq_book_mac: WeightSigBits must be 1..25");
  end
  localparam bit BadActSigBits = ActSigBits < 1 || ActSigBits > 25;
  if (BadActSigBits) begin : gen_bad_act_sig_bits
    $error("hq_book_mac: ActSigBits must be 1..25");
  end
  localparam bit BadProductBits = ProductBits < 1 || ProductBits > 512;
  if (BadProductBits) begin : gen_bad_product_bits
    $error("hq_book_mac: ProductBits must be 1..512");
  end
  localparam bit BadAccBits = AccBits < 2 || AccBits > 1024;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_book_mac: AccBits must be 2..1024");
  end
  localparam bit BadLanes = Lanes < 1 || Lanes > 4096;
  if (BadLanes) begin : gen_bad_lanes
    $error("hq_book_mac: Lanes must be 1..4096");
  end
  localparam bit Legal =
      !(BadWeightBits || BadActBits || BadWeightExpBits || BadActExpBits || BadWeightSigBits ||
      BadActSigBits || BadProductBits || BadAccBits || BadLanes);

  localparam int unsigned SumBits = ProductBits + $clog2(Lanes);
  localparam bit HasSign = (WeightFloat && WeightSigned) || (ActFloat && ActSigned);

  logic valid_q;
  logic [Lanes-1:0][WeightBits-1:0] weight_q;
  logic [Lanes-1:0][ActBits-1:0] act_q;
  logic [Lanes-1:0][ProductBits-1:0] term;
  logic [Lanes-1:0] neg;
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

  for (genvar lane = 0; Legal && lane < Lanes; lane++) begin : gen_lane
    logic [ProductBits-1:0] mag;

    hq_book_term #(
      .WeightBits(WeightBits),
      .WeightFloat(WeightFloat),
      .WeightSigned(WeightSigned),
      .WeightExpBits(WeightExpBits),
      .WeightBook(WeightBook),
      .WeightSigBits(WeightSigBits),
      .WeightWords(WeightWords),
      .ActBits(ActBits),
      .ActFloat(ActFloat),
      .ActSigned(ActSigned),
      .ActExpBits(ActExpBits),
      .ActBook(ActBook),
      .ActSigBits(ActSigBits),
      .ActWords(ActWords),
      .ProductBits(ProductBits)
    ) u_term (
      .weight_i(weight_q[lane]),
      .act_i(act_q[lane]),
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
