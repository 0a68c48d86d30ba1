// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel of one lane for integers: Booth rows (hq_booth) in front of a
/// counting accumulator (hq_tally).  An operand is two's complement (Twos), or a magnitude with
/// its sign bit on top (Flip), or unsigned (neither).
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

module hq_booth_mac #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter bit WeightTwos = 1'b1,  // weight is two's complement
  parameter bit WeightFlip = 1'b0,  // weight has a sign bit on top of a magnitude
  parameter int unsigned ActBits = 4,  // activation code width
  parameter bit ActTwos = 1'b1,  // activation is two's complement
  parameter bit ActFlip = 1'b0,  // activation has a sign bit on top of a magnitude
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

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 9;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_booth_mac: WeightBits must be 1..9");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 9;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_booth_mac: ActBits must be 1..9");
  end
  localparam bit BadAccBits = AccBits < 2 || AccBits > 1024;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_booth_mac: AccBits must be 2..1024");
  end
  localparam bit BadSign = (WeightTwos && WeightFlip) || (ActTwos && ActFlip);
  if (BadSign) begin : gen_bad_sign
    $error("hq_booth_mac: WeightTwos and ActTwos must be 0 with WeightFlip and ActFlip");
  end
  localparam bit Legal = !(BadWeightBits || BadActBits || BadAccBits || BadSign);

  localparam int unsigned WeightWidth = WeightBits - (WeightFlip ? 1 : 0);
  localparam int unsigned ActWidth = ActBits - (ActFlip ? 1 : 0);
  localparam int unsigned ABits = RecodeAct ? ActWidth : WeightWidth;
  localparam int unsigned BBits = RecodeAct ? WeightWidth : ActWidth;
  localparam bit ASigned = RecodeAct ? ActTwos : WeightTwos;
  localparam bit BSigned = RecodeAct ? WeightTwos : ActTwos;
  localparam int unsigned Bits = ABits + BBits;
  localparam int unsigned LowBits = ASigned || BSigned ? Bits - 1 : Bits;
  localparam int unsigned First = (ABits % 2 == 0) == ASigned ? 2 : 1;  // as in hq_booth

  // Inputs of the tables, as the truth tables of their own projections.
  localparam logic [63:0] Acc = 64'hAAAA_AAAA_AAAA_AAAA;
  localparam logic [63:0] Neg = 64'hCCCC_CCCC_CCCC_CCCC;
  localparam logic [63:0] A0 = 64'hF0F0_F0F0_F0F0_F0F0;
  localparam logic [63:0] B0 = 64'hFF00_FF00_FF00_FF00;
  localparam logic [63:0] A1 = 64'hFFFF_0000_FFFF_0000;
  localparam logic [63:0] B1 = 64'hFFFF_FFFF_0000_0000;

  logic [WeightBits-1:0] weight_q;
  logic [ActBits-1:0] act_q;
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

  if (RecodeAct) begin : gen_recode_act
    assign a = act_q[ActWidth-1:0];
    assign b = weight_q[WeightWidth-1:0];
  end else begin : gen_recode_weight
    assign a = weight_q[WeightWidth-1:0];
    assign b = act_q[ActWidth-1:0];
  end

  assign neg = (WeightFlip && weight_q[WeightBits-1]) ^ (ActFlip && act_q[ActBits-1]);
  assign sign = neg ^ ((ASigned || BSigned) && product[Bits-1]);

  hq_booth #(
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
