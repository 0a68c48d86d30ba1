// SPDX-License-Identifier: Apache-2.0
/// Requantize under power-of-two scales: normalise, round, pack.
///
///   code_o = RNE((acc_i * 2**Frac - minus[chan_i]) / 2**(Shift + shift[chan_i]))
///
/// in units of the output format's step: nearest, ties to the even code (with no mantissa: away
/// from zero, but to 0 next to 0), saturating, -0 never emitted.  Frac is 0 unless a shift below
/// one is wanted.  The table holds the negated biases (see hq_bias); for integer formats half of
/// the divisor is already in them, which leaves only ties to be set right.  SumBits must hold every
/// sum, or (Split) more than every number that does not saturate.  With Clip an integer format goes
/// through hq_clip instead, which builds no bits above the code.  hw.requant chooses all of these.
///
/// en_i = 0 freezes everything; rst_i acts even then.
///
/// Latency: constants, sum, (channel shift,) (normalise,) code: 3, plus 1 for a minifloat, plus 1
/// where ShiftBits > 0.  Initiation interval 1.  Exact.  Equals hwquant.requant.RoundPack.
`default_nettype none

module hq_round #(
  parameter int unsigned AccBits = 24,  // accumulator width, two's complement
  parameter int unsigned Frac = 0,  // zero bits below the accumulator
  parameter int unsigned SumBits = 25,  // width of accumulator plus bias
  parameter bit Split = 1'b0,  // SumBits does not hold every sum, see hq_bias
  parameter bit Clip = 1'b0,  // an integer under one shift by hq_clip, whose offset is in Minus
  parameter bit Upper = 1'b0,  // with Clip, see there
  parameter int unsigned Channels = 4,  // rows of the tables
  parameter int unsigned BiasBits = 12,  // width of a negated bias, two's complement
  parameter bit [Channels*BiasBits-1:0] Minus = '0,  // channel 0 in the low bits
  parameter int unsigned Shift = 8,  // shift of every channel, 1 or more
  parameter int unsigned ShiftBits = 0,  // width of a channel's own shift, 0 for none
  parameter bit [Channels*(ShiftBits > 0 ? ShiftBits : 1)-1:0] ChannelShift = '0,
  parameter bit Float = 1'b1,  // output is a minifloat, else an integer
  parameter bit Signed = 1'b1,  // output has a sign
  parameter bit Narrow = 1'b0,  // output has no code for -2**(Bits-1)
  parameter int unsigned Bits = 4,  // output code width
  parameter int unsigned ExpBits = 2,  // output exponent field width, 0 for integers
  parameter int unsigned MaxCode = 7,  // largest magnitude code of a minifloat
  localparam int unsigned ChanBits = Channels > 1 ? $clog2(Channels) : 1
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic [ChanBits-1:0] chan_i,
  input  logic [AccBits-1:0] acc_i,
  output logic valid_o,
  output logic [Bits-1:0] code_o
);

  localparam int unsigned Latency = 3 + (Float ? 1 : 0) + (ShiftBits > 0 ? 1 : 0);
  localparam int unsigned Drop = Float ? Shift - 1 : Shift;  // bits that are only remembered
  localparam int unsigned KeptBits = SumBits - Drop;
  localparam int unsigned OwnBits = ShiftBits > 0 ? ShiftBits : 1;

  if (Frac > 4096) begin : gen_bad_frac
    $error("hq_round: Frac must be 0..4096");
  end
  if (SumBits < 2 || SumBits > 4096) begin : gen_bad_sum_bits
    $error("hq_round: SumBits must be 2..4096");
  end
  if (Channels < 1 || Channels > 16384) begin : gen_bad_channels
    $error("hq_round: Channels must be 1..16384");
  end
  if (BiasBits < 1 || BiasBits > 4096) begin : gen_bad_bias_bits
    $error("hq_round: BiasBits must be 1..4096");
  end
  if (Shift < 1 || Shift > 4095) begin : gen_bad_range_shift
    $error("hq_round: Shift must be 1..4095");
  end
  if (ShiftBits > 11) begin : gen_bad_shift_bits
    $error("hq_round: ShiftBits must be 0..11");
  end
  localparam bit BadBits = Bits < 1 || Bits > 8;
  if (BadBits) begin : gen_bad_bits
    $error("hq_round: Bits must be 1..8");
  end
  localparam bit Legal = !BadBits;
  if (ExpBits > 7) begin : gen_bad_exp_bits
    $error("hq_round: ExpBits must be 0..7");
  end
  if (MaxCode > 255) begin : gen_bad_max_code
    $error("hq_round: MaxCode must be 0..255");
  end
  if (AccBits < 2 || AccBits > 2048) begin : gen_bad_acc
    $error("hq_round: AccBits must be 2..2048");
  end
  if (Shift < 1 || Shift >= SumBits) begin : gen_bad_shift
    $error("hq_round: Shift must be 1..SumBits-1");
  end
  if (!Float && ExpBits != 0) begin : gen_bad_integer
    $error("hq_round: an integer has no exponent field, ExpBits must be 0");
  end

  if (Clip && (Float || Narrow || Split || ShiftBits > 0)) begin : gen_bad_clip
    $error("hq_round: Clip must be 0 unless Float, Narrow, Split and ShiftBits are 0");
  end

  logic [Latency-1:0] valid_q;
  logic [AccBits-1:0] acc_q;
  logic [BiasBits-1:0] minus_q;
  logic [AccBits+Frac-1:0] left;

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else if (en_i) valid_q <= {valid_q[Latency-2:0], valid_i};
  end

  assign valid_o = valid_q[Latency-1];

  always_ff @(posedge clk_i) begin
    if (en_i) acc_q <= acc_i;
  end

  hq_rom #(
    .Depth(Channels),
    .Width(BiasBits),
    .Words(Minus)
  ) u_bias (
    .clk_i(clk_i),
    .en_i(en_i),
    .addr_i(chan_i),
    .data_o(minus_q)
  );

  assign left = (AccBits + Frac)'($signed(acc_q)) << Frac;

  if (Clip) begin : gen_clip
    hq_clip #(
      .AccBits(AccBits + Frac),
      .BiasBits(BiasBits),
      .Drop(Shift),
      .Bits(Bits),
      .Signed(Signed),
      .Upper(Upper)
    ) u_clip (
      .clk_i(clk_i),
      .en_i(en_i),
      .acc_i(left),
      .minus_i(minus_q),
      .code_o(code_o)
    );
  end else begin : gen_sum
    logic over_q;
    logic [KeptBits-1:0] kept;
    logic tie;
    logic kept_sticky;
    logic [KeptBits-1:0] scaled;
    logic sticky;
    logic over;
    logic [Bits-1:0] code_d;

    always_ff @(posedge clk_i) begin
      if (en_i) code_o <= code_d;
    end

    hq_bias #(
      .AccBits(AccBits + Frac),
      .BiasBits(BiasBits),
      .SumBits(SumBits),
      .Drop(Drop),
      .Split(Split)
    ) u_sum (
      .clk_i(clk_i),
      .en_i(en_i),
      .acc_i(left),
      .minus_i(minus_q),
      .sum_o(kept),
      .tie_o(tie),
      .over_o(over_q)
    );

    assign kept_sticky = ~tie;

    if (ShiftBits > 0) begin : gen_own_shift
      logic [OwnBits-1:0] own_q;
      logic [OwnBits-1:0] own_qq;
      logic [KeptBits-1:0] scaled_d;
      logic sticky_d;

      hq_rom #(
        .Depth(Channels),
        .Width(OwnBits),
        .Words(ChannelShift)
      ) u_shift_rom (
        .clk_i(clk_i),
        .en_i(en_i),
        .addr_i(chan_i),
        .data_o(own_q)
      );

      hq_shift #(
        .Width(KeptBits),
        .AmountBits(OwnBits)
      ) u_shift (
        .x_i(kept),
        .amount_i(own_qq),
        .sticky_i(kept_sticky),
        .x_o(scaled_d),
        .sticky_o(sticky_d)
      );

      always_ff @(posedge clk_i) begin
        if (en_i) begin
          own_qq <= own_q;
          scaled <= scaled_d;
          sticky <= sticky_d;
          over <= over_q;
        end
      end
    end else begin : gen_one_shift
      assign scaled = kept;
      assign sticky = kept_sticky;
      assign over = over_q;
    end

    if (Float) begin : gen_minifloat
      localparam int unsigned ManBits = Bits - ExpBits - (Signed ? 1 : 0);
      localparam int unsigned FieldBits = ExpBits > 0 ? ExpBits : 1;
      localparam int unsigned Keep = ManBits + 1 + (ExpBits > 0 ? 1 : 0);
      // The largest integer part, the bit below it, and one that no shift reaches.
      localparam int unsigned WindowBits = Keep + (1 << ExpBits) - 1;
      localparam int unsigned LiveBits = ExpBits > 0 ? WindowBits - 1 : WindowBits;
      localparam int unsigned WideBits = KeptBits > LiveBits + 1 ? KeptBits : LiveBits + 1;
      // Half a step below the largest power of two, nothing saturates.
      localparam bit Saturate = KeptBits > LiveBits || MaxCode + 1 != (1 << (ExpBits + ManBits));

      logic [WideBits-1:0] wide;
      logic [WindowBits-1:0] window;
      logic neg;
      logic [FieldBits-1:0] field;
      logic [Keep-1:0] top;
      logic low;
      logic neg_q;
      logic large_q;
      logic [FieldBits-1:0] field_q;
      logic [ManBits:0] top_q;
      logic low_q;

      assign wide = WideBits'($signed(scaled));
      assign neg = wide[WideBits-1];

      if (ExpBits > 0) begin : gen_exponent
        logic unused_hidden;
        assign unused_hidden = top[Keep-1];
        assign window = {wide[LiveBits-1:0], 1'b0};
      end else begin : gen_no_exponent
        assign window = wide[LiveBits-1:0];
      end

      hq_norm #(
        .Steps(ExpBits),
        .Keep(Keep)
      ) u_norm (
        .neg_i(neg),
        .x_i(window),
        .sticky_i(sticky),
        .normal_i(1'b0),
        .field_o(field),
        .top_o(top),
        .sticky_o(low)
      );

      always_ff @(posedge clk_i) begin
        if (en_i) begin
          neg_q <= neg;
          large_q <= over || wide[WideBits-1:LiveBits] != {WideBits - LiveBits{neg}};
          field_q <= field;
          top_q <= top[ManBits:0];
          low_q <= low;
        end
      end

      hq_pack #(
        .ExpBits(ExpBits),
        .ManBits(ManBits),
        .Signed(Signed),
        .MaxCode(MaxCode),
        .Saturate(Saturate)
      ) u_pack (
        .neg_i(neg_q),
        .over_i(large_q),
        .field_i(field_q),
        .top_i(top_q),
        .sticky_i(low_q),
        .code_o(code_d)
      );
    end else begin : gen_integer
      hq_clamp #(
        .InBits(KeptBits),
        .Bits(Legal ? Bits : 1),
        .Signed(Signed),
        .Narrow(Narrow)
      ) u_clamp (
        .sum_i(scaled),
        .tie_i(~sticky),
        .over_i(over),
        .code_o(code_d)
      );
    end
  end

endmodule

`default_nettype wire
