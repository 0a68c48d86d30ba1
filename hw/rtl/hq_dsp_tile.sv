// SPDX-License-Identifier: Apache-2.0
/// Tile of Weights x Acts multiply-accumulates around one DSP slice that makes all the products:
///
///   acc_o[i][j] = (clear_i ? 0 : acc[i][j]) + weight_i[i] * act_i[j]
///
/// The operands are packed so that every product has its own field of Stride bits in the slice's
/// result (hw/packing.py).  A negative field would borrow from the one above it; the slice adds
/// Bias, half of each field but the top one, so that none is negative: a field is then
/// product + 2**(Stride-1), whose low bits are the product's own.
///
/// Wide operands get together in the pre-adder (their low bits minus their sign bits), narrow ones
/// in a few LUTs.  Of minifloats the significands are packed; exponents and signs go around.
/// InDsp: the slice adds up, a field holds the whole sum and nothing is left to do in LUTs
/// (integers only).  Else every field has an accumulator of its own (hq_tally).
///
/// Latency Stages + 2, one more with Decode (code registers) and one more without InDsp, where
/// Stages is 2 with the pre-adder, else 1.  Initiation interval 1.  Exact; wraps, InDsp only as
/// far as the field is wider than the sum.  Equals hwquant.mac.MacSpec.accumulate in each place.
`default_nettype none

module hq_dsp_tile #(
  parameter bit Primitive = 1'b0,  // instantiate the device's cells
  parameter int unsigned Weights = 2,  // weights per beat
  parameter int unsigned Acts = 2,  // activations per beat
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter bit WeightFloat = 1'b0,  // weight is a minifloat
  parameter bit WeightSigned = 1'b1,  // weight has a sign
  parameter int unsigned WeightExpBits = 0,  // weight exponent field width
  parameter int unsigned ActBits = 4,  // activation code width
  parameter bit ActFloat = 1'b0,  // activation is a minifloat
  parameter bit ActSigned = 1'b1,  // activation has a sign
  parameter int unsigned ActExpBits = 0,  // activation exponent field width
  parameter bit WeightsWide = 1'b1,  // the weights have the 27-bit port
  parameter int unsigned Stride = 11,  // bits of a field
  parameter int unsigned WeightStep = 22,  // bits between packed weights
  parameter int unsigned ActStep = 11,  // bits between packed activations
  parameter bit [47:0] Bias = 48'h0_0002_0010_0400,  // half of each field but the top one
  parameter int unsigned SigBits = 8,  // width of a product of significands, two's complement
  parameter int unsigned ProductBits = 8,  // width of a product, the sign of minifloats apart
  parameter bit Decode = 1'b0,  // code registers in front of the decoders
  parameter bit InDsp = 1'b0,  // the slice adds up
  parameter int unsigned AccBits = 16  // accumulator width
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic [Weights-1:0][WeightBits-1:0] weight_i,
  input  logic [Acts-1:0][ActBits-1:0] act_i,
  output logic valid_o,
  output logic [Weights-1:0][Acts-1:0][AccBits-1:0] acc_o
);

  localparam bit WeightTwos = WeightSigned && !WeightFloat;
  localparam bit ActTwos = ActSigned && !ActFloat;
  localparam bit Twos = WeightTwos || ActTwos;
  localparam bit HasSign = (WeightFloat && WeightSigned) || (ActFloat && ActSigned);
  localparam int unsigned Fields = Weights * Acts;

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_dsp_tile: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_dsp_tile: ActBits must be 1..8");
  end
  localparam bit BadWeightExpBits = WeightExpBits > 7;
  if (BadWeightExpBits) begin : gen_bad_weight_exp_bits
    $error("hq_dsp_tile: WeightExpBits must be 0..7");
  end
  localparam bit BadActExpBits = ActExpBits > 7;
  if (BadActExpBits) begin : gen_bad_act_exp_bits
    $error("hq_dsp_tile: ActExpBits must be 0..7");
  end
  localparam bit BadStride = Stride < 1 || Stride > 49;
  if (BadStride) begin : gen_bad_stride
    $error("hq_dsp_tile: Stride must be 1..49");
  end
  localparam bit BadWeightStep = WeightStep > 49;
  if (BadWeightStep) begin : gen_bad_weight_step
    $error("hq_dsp_tile: WeightStep must be 0..49");
  end
  localparam bit BadActStep = ActStep > 49;
  if (BadActStep) begin : gen_bad_act_step
    $error("hq_dsp_tile: ActStep must be 0..49");
  end
  localparam bit BadProductBits = ProductBits < 1 || ProductBits > 512;
  if (BadProductBits) begin : gen_bad_product_bits
    $error("hq_dsp_tile: ProductBits must be 1..512");
  end
  localparam bit BadAccBits = AccBits < 2 || AccBits > 1024;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_dsp_tile: AccBits must be 2..1024");
  end
  localparam bit BadCount =
      Weights < 1 || Weights > 49 || Acts < 1 || Acts > 49 || Fields * Stride > 49;
  if (BadCount) begin : gen_bad_count
    $error("hq_dsp_tile: Weights * Acts * Stride must be 1..49");
  end
  localparam bit BadSig = SigBits < 1 || SigBits > Stride;
  if (BadSig) begin : gen_bad_sig
    $error("hq_dsp_tile: SigBits must be 1..Stride");
  end
  localparam bit BadInDsp = InDsp && (WeightFloat || ActFloat || AccBits > Stride);
  if (BadInDsp) begin : gen_bad_in_dsp
    $error("hq_dsp_tile: InDsp needs integers and AccBits up to Stride");
  end
  localparam bit BadSteps =
      (Weights > 1 && WeightStep < Stride) || (Acts > 1 && ActStep < Stride);
  if (BadSteps) begin : gen_bad_steps
    $error("hq_dsp_tile: WeightStep and ActStep must be Stride..49 where there are several");
  end
  localparam bit Legal =
      !(BadWeightBits || BadActBits || BadWeightExpBits || BadActExpBits || BadStride ||
      BadWeightStep || BadActStep || BadProductBits || BadAccBits || BadCount || BadSig ||
      BadInDsp || BadSteps);

  // Multiplicands, without the sign of a minifloat.
  localparam int unsigned WeightSig = !WeightFloat ? WeightBits
      : WeightBits - WeightExpBits - (WeightSigned ? 1 : 0) + (WeightExpBits > 0 ? 1 : 0);
  localparam int unsigned ActSig = !ActFloat ? ActBits
      : ActBits - ActExpBits - (ActSigned ? 1 : 0) + (ActExpBits > 0 ? 1 : 0);

  // As the two ports see them.
  localparam int unsigned Many = WeightsWide ? Weights : Acts;
  localparam int unsigned ManyBits = WeightsWide ? WeightSig : ActSig;
  localparam int unsigned ManyStep = WeightsWide ? WeightStep : ActStep;
  localparam bit ManyTwos = WeightsWide ? WeightTwos : ActTwos;
  localparam int unsigned Few = WeightsWide ? Acts : Weights;
  localparam int unsigned FewBits = WeightsWide ? ActSig : WeightSig;
  localparam int unsigned FewStep = WeightsWide ? ActStep : WeightStep;
  localparam bit FewTwos = WeightsWide ? ActTwos : WeightTwos;
  localparam bit PreSub = ManyTwos && Many > 1;
  localparam int unsigned Stages = PreSub ? 2 : 1;
  localparam int unsigned Wait = Decode ? 1 : 0;
  localparam int unsigned Whole = Stages + 1 + Wait;  // cycles until the slice's sum

  logic [Weights-1:0][WeightBits-1:0] weight_code;
  logic [Acts-1:0][ActBits-1:0] act_code;
  logic [Weights-1:0][WeightSig-1:0] weight_sig;
  logic [Acts-1:0][ActSig-1:0] act_sig;
  logic [Many-1:0][ManyBits-1:0] many;
  logic [Few-1:0][FewBits-1:0] few;
  logic [26:0] low;
  logic [26:0] high;
  logic [17:0] right;
  logic [47:0] sum;
  logic [Whole:0] valid_q;
  logic [Whole:0] clear_q;

  if (Decode) begin : gen_codes
    always_ff @(posedge clk_i) begin
      if (en_i) begin
        weight_code <= weight_i;
        act_code <= act_i;
      end
    end
  end else begin : gen_direct
    assign weight_code = weight_i;
    assign act_code = act_i;
  end

  for (genvar i = 0; Legal && i < Weights; i++) begin : gen_weight
    logic unused_neg;
    logic [(WeightExpBits > 1 ? WeightExpBits : 1)-1:0] unused_exp;

    hq_decode #(
      .Bits(WeightBits),
      .Float(WeightFloat),
      .Signed(WeightSigned),
      .ExpBits(WeightExpBits)
    ) u_decode (
      .code_i(weight_code[i]),
      .neg_o(unused_neg),
      .sig_o(weight_sig[i]),
      .exp_o(unused_exp)
    );
  end

  for (genvar j = 0; Legal && j < Acts; j++) begin : gen_act
    logic unused_neg;
    logic [(ActExpBits > 1 ? ActExpBits : 1)-1:0] unused_exp;

    hq_decode #(
      .Bits(ActBits),
      .Float(ActFloat),
      .Signed(ActSigned),
      .ExpBits(ActExpBits)
    ) u_decode (
      .code_i(act_code[j]),
      .neg_o(unused_neg),
      .sig_o(act_sig[j]),
      .exp_o(unused_exp)
    );
  end

  if (WeightsWide) begin : gen_weights_wide
    assign many = weight_sig;
    assign few = act_sig;
  end else begin : gen_acts_wide
    assign many = act_sig;
    assign few = weight_sig;
  end

  // Wide port: a number is its low bits minus its sign bit, for any number of numbers at once.
  always_comb begin
    low = '0;
    high = '0;
    for (int unsigned i = 0; i < Many; i++) low[i*ManyStep+:ManyBits] = many[i];
    if (PreSub) begin
      for (int unsigned i = 0; i < Many; i++) begin
        low[i*ManyStep+ManyBits-1] = 1'b0;
        high[i*ManyStep+ManyBits-1] = many[i][ManyBits-1];
      end
    end else if (ManyTwos) begin
      for (int unsigned i = ManyBits; i < 27; i++) low[i] = many[0][ManyBits-1];
    end
  end

  // Narrow port: what is above a negative number is one less.
  for (genvar j = 0; Legal && j < Few; j++) begin : gen_few
    localparam int unsigned Last = j == Few - 1 ? 18 : (j + 1) * FewStep;
    localparam int unsigned Space = Last - j * FewStep;

    logic [Space-1:0] number;
    logic [Space-1:0] less;

    if (FewTwos) begin : gen_signed
      assign number = Space'($signed(few[j]));
    end else begin : gen_unsigned
      assign number = Space'(few[j]);
    end

    if (FewTwos && j > 0) begin : gen_borrow
      logic [FewBits:0] own;  // the number less one, in a bit more
      logic borrow;

      assign borrow = right[j*FewStep-1];
      assign own[0] = few[j][0] ^ borrow;
      for (genvar b = 1; Legal && b < FewBits; b++) begin : gen_bit
        assign own[b] = few[j][b] ^ (borrow && few[j][b-1:0] == '0);
      end
      assign own[FewBits] = few[j][FewBits-1] || (borrow && few[j] == '0);
      assign less = Space'($signed(own));

      logic unused_number;
      assign unused_number = ^number;
    end else begin : gen_plain
      assign less = number;
    end

    assign right[j*FewStep+:Space] = less;
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else if (en_i) valid_q <= {valid_q[Whole-1:0], valid_i};
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) clear_q <= '0;
    else if (en_i) clear_q <= {clear_q[Whole-1:0], clear_i};
  end

  logic restart;
  logic take;

  hq_dsp_mul #(
    .Primitive(Primitive),
    .Stages(Stages),
    .PreSub(PreSub),
    .ABits(27),
    .BBits(18),
    .PBits(48),
    .Bias(Bias)
  ) u_mul (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .a_i(low),
    .h_i(high),
    .b_i(right),
    .neg_i(1'b0),
    .restart_i(restart),
    .take_i(take),
    .p_o(sum)
  );

  if (InDsp) begin : gen_in_dsp
    logic fresh_q;  // no beat since the reset, which leaves no Bias

    always_ff @(posedge clk_i) begin
      if (rst_i) fresh_q <= 1'b1;
      else if (en_i && valid_q[Whole-2]) fresh_q <= 1'b0;
    end

    assign restart = clear_q[Whole-2] || fresh_q;
    assign take = en_i && valid_q[Whole-1];
    assign valid_o = valid_q[Whole];

    logic unused_clear;
    assign unused_clear = ^clear_q;
  end else begin : gen_product
    assign restart = 1'b1;
    assign take = en_i;
  end

  // What goes around the slice.
  logic [Weights-1:0][WeightBits-1:0] weight_late;
  logic [Acts-1:0][ActBits-1:0] act_late;

  if (WeightFloat || ActFloat) begin : gen_around
    hq_delay #(
      .Stages(Stages + 2),
      .Width(Weights * WeightBits + Acts * ActBits)
    ) u_around (
      .clk_i(clk_i),
      .rst_i(1'b0),
      .en_i(en_i),
      .in_i({weight_code, act_code}),
      .out_o({weight_late, act_late})
    );
  end else begin : gen_nothing_around
    assign weight_late = '0;
    assign act_late = '0;
  end

  logic [Fields-1:0] valid_each;

  for (genvar i = 0; Legal && i < Weights; i++) begin : gen_row
    for (genvar j = 0; Legal && j < Acts; j++) begin : gen_col
      localparam int unsigned Field = (i * WeightStep + j * ActStep) / Stride;
      localparam int unsigned Room = Field == Fields - 1 ? 48 - Field * Stride : Stride;

      logic [Room-1:0] field;

      assign field = sum[Field*Stride+:Room];

      if (InDsp) begin : gen_sum
        // Bias has inverted the top bit of a field but for the highest.
        if (Twos && AccBits == Stride && Field != Fields - 1) begin : gen_tight
          assign acc_o[i][j] = {!field[Stride-1], field[AccBits-2:0]};
        end else begin : gen_loose
          assign acc_o[i][j] = field[AccBits-1:0];
        end
        assign valid_each[i*Acts+j] = 1'b0;

        logic unused_field;
        assign unused_field = ^field;
      end else begin : gen_own
        localparam int unsigned LowBits = Twos && !HasSign ? ProductBits - 1 : ProductBits;

        logic [SigBits-1:0] sig;
        logic [ProductBits-1:0] product;
        logic [LowBits-1:0] sel;
        logic [LowBits-1:0] acc;
        logic neg;
        logic sign;
        logic unused_field;
        logic unused_late;

        // Bias has inverted the top bit of a field but for the highest.
        if (Twos && SigBits == Stride && Field != Fields - 1) begin : gen_tight
          assign sig = {!field[Stride-1], field[Stride-2:0]};
        end else begin : gen_loose
          assign sig = field[SigBits-1:0];
        end

        assign unused_field = ^field;
        assign unused_late = ^{weight_late[i], act_late[j]};
        assign neg = (WeightFloat && WeightSigned && weight_late[i][WeightBits-1])
            ^ (ActFloat && ActSigned && act_late[j][ActBits-1]);

        if (WeightExpBits > 1 || ActExpBits > 1) begin : gen_shift
          localparam int unsigned WeightShift = WeightExpBits > 1 ? WeightExpBits : 0;
          localparam int unsigned ActShift = ActExpBits > 1 ? ActExpBits : 0;
          logic [6:0] weight_exp;
          logic [6:0] act_exp;

          if (WeightShift > 0) begin : gen_weight_exp
            assign weight_exp = 7'(weight_late[i][WeightSig-1+:WeightExpBits]);
          end else begin : gen_no_weight_exp
            assign weight_exp = '0;
          end
          if (ActShift > 0) begin : gen_act_exp
            assign act_exp = 7'(act_late[j][ActSig-1+:ActExpBits]);
          end else begin : gen_no_act_exp
            assign act_exp = '0;
          end

          hq_tree_shift #(
            .Primitive(Primitive),
            .SigBits(SigBits),
            .Twos(Twos),
            .WeightExpBits(WeightShift),
            .ActExpBits(ActShift),
            .ProductBits(ProductBits)
          ) u_shift (
            .sig_i(sig),
            .weight_exp_i(weight_exp),
            .act_exp_i(act_exp),
            .product_o(product)
          );
        end else begin : gen_fixed
          assign product = sig;
        end

        assign sel = acc ^ product[LowBits-1:0] ^ {LowBits{neg}};
        assign sign = neg ^ (Twos && product[ProductBits-1]);

        hq_tally #(
          .Primitive(Primitive),
          .LowBits(LowBits),
          .AccBits(AccBits)
        ) u_tally (
          .clk_i(clk_i),
          .rst_i(rst_i),
          .en_i(en_i),
          .valid_i(valid_q[Whole-1]),
          .clear_i(clear_q[Whole-1]),
          .sel_i(sel),
          .carry_i(neg),
          .sign_i(sign),
          .acc_low_o(acc),
          .valid_o(valid_each[i*Acts+j]),
          .acc_o(acc_o[i][j])
        );
      end
    end
  end

  if (InDsp) begin : gen_whole_valid
    logic unused_each;
    assign unused_each = ^valid_each;
  end else begin : gen_each_valid
    logic unused_each;
    assign valid_o = valid_each[0];
    assign unused_each = ^{valid_each, valid_q, clear_q};
  end

endmodule

`default_nettype wire
