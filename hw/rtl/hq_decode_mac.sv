// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel of one lane for codebooks: each operand is decoded by a table, or is
/// an integer already; Booth rows (hq_book_booth) in front of a counting accumulator (hq_tally).
///
/// With x the product of the two numbers below the sign bits and s the XOR of the sign bits:
///
///   addend = x ^ s (below the product's sign), carry in = s, bit above = sign(x) ^ s
///
/// The product's lowest bits are absorbed: the accumulator's LUT takes the operands' bits.
///
/// Latency 2 (operand registers, accumulator register), initiation interval 1.  Exact; wraps.
/// Equals hwquant.mac.MacSpec.accumulate beat for beat.
`default_nettype none

module hq_decode_mac #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter bit WeightFloat = 1'b1,  // the code has its sign bit on top, or is an unsigned minifloat
  parameter bit WeightSigned = 1'b1,  // has negative values
  parameter int unsigned WeightExpBits = 0,  // exponent field width, 0 or 1
  parameter bit WeightBook = 1'b1,  // weight is a codebook
  parameter int unsigned WeightSigBits = 4,  // width of the weight decoded, without its sign bit
  localparam int unsigned WeightIndex = WeightBits - (WeightFloat && WeightSigned ? 1 : 0),
  parameter bit [(1<<WeightIndex)*WeightSigBits-1:0] WeightWords = '0,  // its table
  parameter int unsigned ActBits = 4,  // activation code width
  parameter bit ActFloat = 1'b1,  // the code has its sign bit on top, or is an unsigned minifloat
  parameter bit ActSigned = 1'b1,  // has negative values
  parameter int unsigned ActExpBits = 0,  // exponent field width, 0 or 1
  parameter bit ActBook = 1'b1,  // activation is a codebook
  parameter int unsigned ActSigBits = 4,  // width of the activation decoded, without its sign bit
  localparam int unsigned ActIndex = ActBits - (ActFloat && ActSigned ? 1 : 0),
  parameter bit [(1<<ActIndex)*ActSigBits-1:0] ActWords = '0,  // its table
  parameter bit RecodeAct = 1'b0,  // recode the activation instead of the weight
  parameter int unsigned AccBits = 16  // accumulator width
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic [WeightBits-1:0] weight_i,
  input  logic [ActBits-1:0] act_i,
  output logic valid_o,
  output logic [AccBits-1:0] acc_o
);

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_decode_mac: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_decode_mac: ActBits must be 1..8");
  end
  localparam bit BadWeightSigBits = WeightSigBits < 1 || WeightSigBits > 25;
  if (BadWeightSigBits) begin : gen_bad_weight_sig_bits
    $error("hq_decode_mac: WeightSigBits must be 1..25");
  end
  localparam bit BadActSigBits = ActSigBits < 1 || ActSigBits > 25;
  if (BadActSigBits) begin : gen_bad_act_sig_bits
    $error("hq_decode_mac: ActSigBits must be 1..25");
  end
  localparam bit BadAccBits = AccBits < 2 || AccBits > 1024;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_decode_mac: AccBits must be 2..1024");
  end
  localparam bit BadExponent = WeightExpBits > 1 || ActExpBits > 1;
  if (BadExponent) begin : gen_bad_exponent
    $error("hq_decode_mac: WeightExpBits and ActExpBits must be 0 or 1");
  end
  localparam bit Legal =
      !(BadWeightBits || BadActBits || BadWeightSigBits || BadActSigBits || BadAccBits ||
      BadExponent);

  localparam bit WeightTwos = WeightSigned && !WeightFloat;
  localparam bit ActTwos = ActSigned && !ActFloat;
  localparam int unsigned ABits = RecodeAct ? ActSigBits : WeightSigBits;
  localparam int unsigned BBits = RecodeAct ? WeightSigBits : ActSigBits;
  localparam bit ASigned = RecodeAct ? ActTwos : WeightTwos;
  localparam bit BSigned = RecodeAct ? WeightTwos : ActTwos;
  localparam int unsigned Bits = ABits + BBits;
  localparam int unsigned LowBits = ASigned || BSigned ? Bits - 1 : Bits;
  localparam int unsigned First = (ABits % 2 == 0) == ASigned ? 2 : 1;  // as in hq_book_booth

  // Inputs of the tables, as the truth tables of their own projections.
  localparam logic [63:0] Acc = 64'hAAAA_AAAA_AAAA_AAAA;
  localparam logic [63:0] Neg = 64'hCCCC_CCCC_CCCC_CCCC;
  localparam logic [63:0] A0 = 64'hF0F0_F0F0_F0F0_F0F0;
  localparam logic [63:0] B0 = 64'hFF00_FF00_FF00_FF00;
  localparam logic [63:0] A1 = 64'hFFFF_0000_FFFF_0000;
  localparam logic [63:0] B1 = 64'hFFFF_FFFF_0000_0000;

  logic [WeightBits-1:0] weight_q;
  logic [ActBits-1:0] act_q;
  logic [WeightSigBits-1:0] weight_sig;
  logic [ActSigBits-1:0] act_sig;
  logic weight_neg;
  logic act_neg;
  logic unused_weight_exp;
  logic unused_act_exp;
  logic [ABits-1:0] a;
  logic [BBits-1:0] b;
  logic [Bits-1:0] product;
  logic [LowBits-1:0] sel;
  logic [LowBits-1:0] acc;
  logic neg;
  logic sign;

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      weight_q <= weight_i;
      act_q <= act_i;
    end
  end

  hq_book_decode #(
    .Bits(WeightBits),
    .Float(WeightFloat),
    .Signed(WeightSigned),
    .ExpBits(WeightExpBits),
    .Book(WeightBook),
    .SigBits(WeightSigBits),
    .Words(WeightWords)
  ) u_decode_weight (
    .code_i(weight_q),
    .neg_o(weight_neg),
    .sig_o(weight_sig),
    .exp_o(unused_weight_exp)
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
    .code_i(act_q),
    .neg_o(act_neg),
    .sig_o(act_sig),
    .exp_o(unused_act_exp)
  );

  if (RecodeAct) begin : gen_recode_act
    assign a = act_sig;
    assign b = weight_sig;
  end else begin : gen_recode_weight
    assign a = weight_sig;
    assign b = act_sig;
  end

  assign neg = weight_neg ^ act_neg;
  assign sign = neg ^ ((ASigned || BSigned) && product[Bits-1]);

  hq_book_booth #(
    .Primitive(Primitive),
    .ABits(ABits),
    .BBits(BBits),
    .ASigned(ASigned),
    .BSigned(BSigned)
  ) u_product (
    .a_i(a),
    .b_i(b),
    .product_o(product)
  );

  for (genvar i = 0; Legal && i < LowBits; i++) begin : gen_bit
    if (i == 0) begin : gen_lowest
      hq_lut #(
        .Primitive(Primitive),
        .Init(Acc ^ Neg ^ (A0 & B0))
      ) u_sel (
        .in_i({2'b00, b[0], a[0], neg, acc[i]}),
        .out_o(sel[i])
      );
    end else if (i == 1 && First == 2) begin : gen_low
      hq_lut #(
        .Primitive(Primitive),
        .Init(Acc ^ Neg ^ (A0 & B1) ^ (A1 & B0))
      ) u_sel (
        .in_i({b[1], a[1], b[0], a[0], neg, acc[i]}),
        .out_o(sel[i])
      );
    end else begin : gen_high
      hq_lut #(
        .Primitive(Primitive),
        .Init(Acc ^ Neg ^ A0)
      ) u_sel (
        .in_i({3'b000, product[i], neg, acc[i]}),
        .out_o(sel[i])
      );
    end
  end

  hq_tally #(
    .Primitive(Primitive),
    .LowBits(LowBits),
    .AccBits(AccBits)
  ) u_tally (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .valid_i(valid_i),
    .clear_i(clear_i),
    .sel_i(sel),
    .carry_i(neg),
    .sign_i(sign),
    .acc_low_o(acc),
    .valid_o(valid_o),
    .acc_o(acc_o)
  );

  logic unused_low;
  assign unused_low = ^product[First-1:0];

endmodule

`default_nettype wire
