// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel of one lane for minifloats, with each other or with integers: the
/// product of the significands, shifted, in a counting accumulator (hq_tally).
///
///   x = significand * significand      shift = (max(e, 1) - 1) of either operand, added
///   addend = (x << shift) ^ s          carry in = s, bit above = sign(x) ^ s
///
/// The last 2:1 stage of the shifter is inside the accumulator's LUT: acc, s, two data bits and
/// two nets whose AND selects.  Two exponent bits shift by e1 + (e1 & e0): for one such operand
/// e1 is the first stage and (e1 & e0) the absorbed one; for two, three of the four terms add up
/// to one 4:1 stage.  Wider exponents are added as max(e, 1), and what that is too much is dropped
/// by wiring: the sum's top bit is the absorbed stage.
///
/// Latency 2 (operand registers, accumulator register), initiation interval 1.  Exact; wraps.
/// Equals hwquant.mac.MacSpec.accumulate beat for beat.
`default_nettype none

module hq_shift_mac #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned WeightBits = 5,  // weight code width
  parameter int unsigned WeightExpBits = 2,  // weight exponent field width, 0 for none
  parameter bit WeightTwos = 1'b0,  // weight is two's complement
  parameter bit WeightFlip = 1'b1,  // weight has a sign bit on top of a magnitude
  parameter int unsigned ActBits = 5,  // activation code width
  parameter int unsigned ActExpBits = 2,  // activation exponent field width, 0 for none
  parameter bit ActTwos = 1'b0,  // activation is two's complement
  parameter bit ActFlip = 1'b1,  // activation has a sign bit on top of a magnitude
  parameter bit RecodeAct = 1'b0,  // recode the activation's significand instead of the weight's
  parameter int unsigned AccBits = 19  // accumulator width
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

  localparam bit WeightShifts = WeightExpBits > 1;
  localparam bit ActShifts = ActExpBits > 1;

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_shift_mac: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_shift_mac: ActBits must be 1..8");
  end
  localparam bit BadAccBits = AccBits < 2 || AccBits > 1024;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_shift_mac: AccBits must be 2..1024");
  end
  localparam bit BadExp = !WeightShifts && !ActShifts;
  if (BadExp) begin : gen_bad_exp
    $error("hq_shift_mac: WeightExpBits or ActExpBits must be 2..7");
  end
  localparam bit BadWide = WeightExpBits > 7 || ActExpBits > 7;
  if (BadWide) begin : gen_bad_wide
    $error("hq_shift_mac: WeightExpBits and ActExpBits must be 0..7");
  end
  localparam bit BadSign =
      (WeightTwos && (WeightFlip || WeightExpBits > 0)) || (ActTwos && (ActFlip || ActExpBits > 0));
  if (BadSign) begin : gen_bad_sign
    $error("hq_shift_mac: WeightTwos and ActTwos must be 0 with Flip or ExpBits");
  end
  localparam bit Legal =
      !(BadWeightBits || BadActBits || BadAccBits || BadExp || BadWide || BadSign);

  // A significand has a bit in front of the mantissa where there is an exponent field that shifts;
  // one exponent bit is that bit.
  localparam int unsigned WeightSig =
      WeightBits - (WeightFlip ? 1 : 0) - (WeightShifts ? WeightExpBits - 1 : 0);
  localparam int unsigned ActSig =
      ActBits - (ActFlip ? 1 : 0) - (ActShifts ? ActExpBits - 1 : 0);
  localparam bit Twos = WeightTwos || ActTwos;
  localparam int unsigned ProductBits =
      WeightSig + ActSig - (WeightSig == 1 || ActSig == 1 ? 1 : 0);
  localparam int unsigned WeightMax = WeightShifts ? (1 << WeightExpBits) - 2 : 0;
  localparam int unsigned ActMax = ActShifts ? (1 << ActExpBits) - 2 : 0;
  localparam int unsigned LowBits = ProductBits + WeightMax + ActMax - (Twos ? 1 : 0);

  // How the shift is made up: Stages of up to two bits each, Drop too many, then a last Step.
  localparam bit Pair = WeightShifts && ActShifts;
  localparam bit Short = (!WeightShifts || WeightExpBits == 2) && (!ActShifts || ActExpBits == 2);
  localparam int unsigned LargestExp = WeightExpBits > ActExpBits ? WeightExpBits : ActExpBits;
  localparam int unsigned SumBits = LargestExp + (Pair ? 1 : 0);
  localparam int unsigned ByBits = Short ? (Pair ? 2 : 1) : SumBits - 1;
  localparam int unsigned Step = Short ? 1 : 1 << (SumBits - 1);
  localparam int unsigned Drop = Short ? 0 : Pair ? 2 : 1;
  localparam int unsigned Stages = (ByBits + 1) / 2;
  localparam int unsigned Wide = ProductBits + (1 << ByBits) - 1;

  logic [WeightBits-1:0] weight_q;
  logic [ActBits-1:0] act_q;
  logic [WeightSig-1:0] weight_sig;
  logic [ActSig-1:0] act_sig;
  logic [LargestExp-1:0] weight_exp;  // max(e, 1)
  logic [LargestExp-1:0] act_exp;
  logic [ProductBits-1:0] product;
  logic [ByBits-1:0] by;
  logic [1:0] last;  // both: shift by Step more
  logic [Wide-1:0] shifted[Stages+1];
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

  assign neg = (WeightFlip && weight_q[WeightBits-1]) ^ (ActFlip && act_q[ActBits-1]);
  assign sign = neg ^ (Twos && product[ProductBits-1]);

  if (WeightShifts) begin : gen_weight_float
    logic [WeightExpBits-1:0] field;
    logic normal;

    assign field = weight_q[WeightSig-1+:WeightExpBits];
    assign normal = field != '0;
    assign weight_exp = LargestExp'({field[WeightExpBits-1:1], field[0] || !normal});

    if (WeightSig == 1) begin : gen_hidden_only
      assign weight_sig = normal;
    end else begin : gen_mantissa
      assign weight_sig = {normal, weight_q[WeightSig-2:0]};
    end
  end else begin : gen_weight_fixed
    assign weight_sig = weight_q[WeightSig-1:0];
    assign weight_exp = '0;
  end

  if (ActShifts) begin : gen_act_float
    logic [ActExpBits-1:0] field;
    logic normal;

    assign field = act_q[ActSig-1+:ActExpBits];
    assign normal = field != '0;
    assign act_exp = LargestExp'({field[ActExpBits-1:1], field[0] || !normal});

    if (ActSig == 1) begin : gen_hidden_only
      assign act_sig = normal;
    end else begin : gen_mantissa
      assign act_sig = {normal, act_q[ActSig-2:0]};
    end
  end else begin : gen_act_fixed
    assign act_sig = act_q[ActSig-1:0];
    assign act_exp = '0;
  end

  if (RecodeAct) begin : gen_recode_act
    hq_sig_product #(
      .Primitive(Primitive),
      .ABits(ActSig),
      .BBits(WeightSig),
      .ASigned(ActTwos),
      .BSigned(WeightTwos)
    ) u_product (
      .a_i(act_sig),
      .b_i(weight_sig),
      .product_o(product)
    );
  end else begin : gen_recode_weight
    hq_sig_product #(
      .Primitive(Primitive),
      .ABits(WeightSig),
      .BBits(ActSig),
      .ASigned(WeightTwos),
      .BSigned(ActTwos)
    ) u_product (
      .a_i(weight_sig),
      .b_i(act_sig),
      .product_o(product)
    );
  end

  if (Short && Pair) begin : gen_two_short
    // Inputs of the tables, as the truth tables of their own projections.
    localparam logic [31:0] W0 = 32'hAAAA_AAAA;
    localparam logic [31:0] W1 = 32'hCCCC_CCCC;
    localparam logic [31:0] A1 = 32'hF0F0_F0F0;

    logic [1:0] weight_field;
    logic [1:0] act_field;
    logic unused_exp;

    assign weight_field = weight_q[WeightSig-1+:2];
    assign act_field = act_q[ActSig-1+:2];
    assign unused_exp = ^{weight_exp, act_exp};

    hq_lut_pair #(
      .Primitive(Primitive),
      .InitA((W1 & W0) | (W1 & A1)),
      .InitB((W1 & ~W0) ^ A1)
    ) u_by (
      .in_i({2'b00, act_field[1], weight_field}),
      .a_o(by[1]),
      .b_o(by[0])
    );

    assign last = act_field;
  end else if (Short) begin : gen_one_short
    logic [1:0] field;
    logic unused_exp;

    if (WeightShifts) begin : gen_weight
      assign field = weight_q[WeightSig-1+:2];
    end else begin : gen_act
      assign field = act_q[ActSig-1+:2];
    end

    assign unused_exp = ^{weight_exp, act_exp};
    assign by = field[1];
    assign last = field;
  end else begin : gen_sum
    logic [SumBits-1:0] total;

    if (Pair) begin : gen_pair
      logic [SumBits-1:0] weight_wide;
      logic [SumBits-1:0] act_wide;

      assign weight_wide = SumBits'(weight_exp);
      assign act_wide = SumBits'(act_exp);

      hq_add #(
        .Width(SumBits),
        .HasCarry(1'b0)
      ) u_total (
        .a_i(weight_wide),
        .b_i(act_wide),
        .carry_i(1'b0),
        .sum_o(total)
      );
    end else begin : gen_alone
      assign total = weight_exp | act_exp;
    end

    assign by = total[ByBits-1:0];
    assign last = {1'b1, total[SumBits-1]};
  end

  assign shifted[0] = Wide'(product);

  for (genvar k = 0; Legal && k < Stages; k++) begin : gen_stage
    localparam int unsigned Bits = ProductBits + (1 << (2 * k)) - 1;  // before this stage
    localparam int unsigned Two = 2 * k + 1 < ByBits ? 2 : 1;
    localparam int unsigned Out = ProductBits + (1 << (2 * k + Two)) - 1;

    logic [Out-1:0] out;

    hq_mux_shift #(
      .Primitive(Primitive),
      .Bits(Bits),
      .Step(1 << (2 * k)),
      .ByBits(Two),
      .Signed(Twos)
    ) u_shift (
      .in_i(shifted[k][Bits-1:0]),
      .by_i(by[2*k+:Two]),
      .out_o(out)
    );

    assign shifted[k+1] = Wide'(out);
  end

  // The accumulator's table: one data bit or the other, negated, beside the accumulator's bit.
  localparam logic [63:0] Acc = 64'hAAAA_AAAA_AAAA_AAAA;
  localparam logic [63:0] Neg = 64'hCCCC_CCCC_CCCC_CCCC;
  localparam logic [63:0] Here = 64'hF0F0_F0F0_F0F0_F0F0;
  localparam logic [63:0] Below = 64'hFF00_FF00_FF00_FF00;
  localparam logic [63:0] Last = 64'hFFFF_0000_0000_0000;  // both nets of the select
  localparam logic [63:0] Sel = Acc ^ Neg ^ ((~Last & Here) | (Last & Below));

  for (genvar i = 0; Legal && i < LowBits; i++) begin : gen_bit
    logic here;
    logic below;

    if (i + Drop < Wide) begin : gen_here
      assign here = shifted[Stages][i+Drop];
    end else begin : gen_above
      assign here = Twos && product[ProductBits-1];
    end

    if (i + Drop < Step) begin : gen_zero
      assign below = 1'b0;
    end else if (i + Drop - Step < Wide) begin : gen_below
      assign below = shifted[Stages][i+Drop-Step];
    end else begin : gen_sign
      assign below = Twos && product[ProductBits-1];
    end

    hq_lut #(
      .Primitive(Primitive),
      .Init(Sel)
    ) u_sel (
      .in_i({last, below, here, neg, acc[i]}),
      .out_o(sel[i])
    );
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

  if (Drop > 0) begin : gen_dropped
    logic unused_dropped;
    assign unused_dropped = ^shifted[Stages][Drop-1:0];
  end

endmodule

`default_nettype wire
