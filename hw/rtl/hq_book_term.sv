// SPDX-License-Identifier: Apache-2.0
/// Multiply two codes exactly, codebooks included, leaving the sign apart:
///
///   product = neg_o ? -mag_o : mag_o      in units of the product of the two steps
///
/// mag_o is two's complement; it is negative only where an operand's significand is.  The sign
/// stays apart because the adder that follows absorbs it for nothing: x - y = x + ~y + 1.
///
/// Latency 0 (combinational).  Exact for every pair of codes that have values.
/// Equals hwquant.mac.MacSpec.products.
`default_nettype none

module hq_book_term #(
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
  parameter int unsigned ProductBits = 9  // width of mag_o, see hw.generate.product_bits
) (
  input  logic [WeightBits-1:0] weight_i,
  input  logic [ActBits-1:0] act_i,
  output logic neg_o,
  output logic [ProductBits-1:0] mag_o
);

  localparam int unsigned WeightOffset = WeightExpBits > 1 ? 1 : 0;
  localparam int unsigned WeightShiftBits = WeightExpBits > 1 ? WeightExpBits : 1;
  localparam int unsigned WeightShiftMax = WeightExpBits > 1 ? (1 << WeightExpBits) - 2 : 0;
  localparam int unsigned ActOffset = ActExpBits > 1 ? 1 : 0;
  localparam int unsigned ActShiftBits = ActExpBits > 1 ? ActExpBits : 1;
  localparam int unsigned ActShiftMax = ActExpBits > 1 ? (1 << ActExpBits) - 2 : 0;

  localparam bit WeightTwos = WeightSigned && !WeightFloat;
  localparam bit ActTwos = ActSigned && !ActFloat;
  localparam bit MulTwos = WeightTwos || ActTwos;
  localparam int unsigned MulBits = WeightSigBits + ActSigBits;
  localparam int unsigned NeededBits =
      MulBits + WeightShiftMax + ActShiftMax + (MulTwos ? 0 : 1);
  localparam int unsigned ShiftBits =
      (WeightShiftBits > ActShiftBits ? WeightShiftBits : ActShiftBits) + 1;

  if (WeightBits < 1 || WeightBits > 8) begin : gen_bad_weight_bits
    $error("hq_book_term: WeightBits must be 1..8");
  end
  if (ActBits < 1 || ActBits > 8) begin : gen_bad_act_bits
    $error("hq_book_term: ActBits must be 1..8");
  end
  if (WeightExpBits > 7) begin : gen_bad_weight_exp_bits
    $error("hq_book_term: WeightExpBits must be 0..7");
  end
  if (ActExpBits > 7) begin : gen_bad_act_exp_bits
    $error("hq_book_term: ActExpBits must be 0..7");
  end
  if (WeightSigBits < 1 || WeightSigBits > 25) begin : gen_bad_weight_sig_bits
    $error("hq_book_term: WeightSigBits must be 1..25");
  end
  if (ActSigBits < 1 || ActSigBits > 25) begin : gen_bad_act_sig_bits
    $error("hq_book_term: ActSigBits must be 1..25");
  end
  if (ProductBits != NeededBits) begin : gen_bad_product_bits
    $error("hq_book_term: ProductBits must be the width of the formats' product");
  end

  logic weight_neg;
  logic [WeightSigBits-1:0] weight_sig;
  logic [WeightShiftBits-1:0] weight_exp;
  logic act_neg;
  logic [ActSigBits-1:0] act_sig;
  logic [ActShiftBits-1:0] act_exp;
  logic [MulBits-1:0] sig_product;
  logic [ShiftBits-1:0] exp_sum;

  hq_book_decode #(
    .Bits(WeightBits),
    .Float(WeightFloat),
    .Signed(WeightSigned),
    .ExpBits(WeightExpBits),
    .Book(WeightBook),
    .SigBits(WeightSigBits),
    .Words(WeightWords)
  ) u_decode_weight (
    .code_i(weight_i),
    .neg_o(weight_neg),
    .sig_o(weight_sig),
    .exp_o(weight_exp)
  );

  hq_book_decode #(
    .Bits(ActBits),
    .Float(ActFloat),
    .Signed(ActSigned),
    .ExpBits(ActExpBits),
    .Book(ActBook),
    .SigBits(ActSigBits),
    .Words(ActWords)
  ) u_decode_act (
    .code_i(act_i),
    .neg_o(act_neg),
    .sig_o(act_sig),
    .exp_o(act_exp)
  );

  hq_mul #(
    .ABits(WeightSigBits),
    .BBits(ActSigBits),
    .ASigned(WeightTwos),
    .BSigned(ActTwos)
  ) u_mul (
    .a_i(weight_sig),
    .b_i(act_sig),
    .p_o(sig_product)
  );

  assign exp_sum = ShiftBits'(weight_exp) + ShiftBits'(act_exp);

  hq_align #(
    .InBits(MulBits),
    .InSigned(MulTwos),
    .ExpBits(ShiftBits),
    .Offset(WeightOffset + ActOffset),
    .OutBits(ProductBits)
  ) u_align (
    .p_i(sig_product),
    .exp_i(exp_sum),
    .mag_o(mag_o)
  );

  assign neg_o = weight_neg ^ act_neg;

endmodule

`default_nettype wire
