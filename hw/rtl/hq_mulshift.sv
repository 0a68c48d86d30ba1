// SPDX-License-Identifier: Apache-2.0
/// Requantize under fixed-point scales: multiply, then round as hq_round does.
///
///   code_o = RNE((acc_i * mult[chan_i] * 2**Frac + bias[chan_i]) / 2**Shift)
///
/// The other parameters are those of hq_round, whose accumulator is the product.
///
/// en_i = 0 freezes everything; rst_i acts even then.
///
/// Latency 2 (multiplier constant, product) plus that of hq_round.  Initiation interval 1.  Exact.
/// Equals hwquant.requant.MultiplyShift.
`default_nettype none

module hq_mulshift #(
  parameter int unsigned AccBits = 24,  // accumulator width, two's complement
  parameter int unsigned MultBits = 16,  // multiplier width, two's complement
  parameter int unsigned Channels = 4,  // rows of the tables
  parameter bit [Channels*MultBits-1:0] Mult = '0,  // channel 0 in the low bits
  parameter int unsigned Frac = 0,  // zero bits below the product
  parameter int unsigned SumBits = 41,  // width of product plus bias
  parameter bit Split = 1'b0,  // SumBits does not hold every sum, see hq_bias
  parameter bit Clip = 1'b0,  // an integer by hq_clip
  parameter bit Upper = 1'b0,  // see hq_clip
  parameter int unsigned BiasBits = 24,  // width of a negated bias, two's complement
  parameter bit [Channels*BiasBits-1:0] Minus = '0,  // channel 0 in the low bits
  parameter int unsigned Shift = 16,  // 1 or more
  parameter bit Float = 1'b0,  // output is a minifloat, else an integer
  parameter bit Signed = 1'b1,  // output has a sign
  parameter bit Narrow = 1'b0,  // output has no code for -2**(Bits-1)
  parameter int unsigned Bits = 8,  // output code width
  parameter int unsigned ExpBits = 0,  // output exponent field width, 0 for integers
  parameter int unsigned MaxCode = 0,  // largest magnitude code of a minifloat
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

  if (Channels < 1 || Channels > 16384) begin : gen_bad_channels
    $error("hq_mulshift: Channels must be 1..16384");
  end
  if (Frac > 4096) begin : gen_bad_frac
    $error("hq_mulshift: Frac must be 0..4096");
  end
  if (SumBits < 2 || SumBits > 4096) begin : gen_bad_sum_bits
    $error("hq_mulshift: SumBits must be 2..4096");
  end
  if (BiasBits < 1 || BiasBits > 4096) begin : gen_bad_bias_bits
    $error("hq_mulshift: BiasBits must be 1..4096");
  end
  if (Shift < 1 || Shift > 4095) begin : gen_bad_shift
    $error("hq_mulshift: Shift must be 1..4095");
  end
  if (Bits < 1 || Bits > 8) begin : gen_bad_bits
    $error("hq_mulshift: Bits must be 1..8");
  end
  if (ExpBits > 7) begin : gen_bad_exp_bits
    $error("hq_mulshift: ExpBits must be 0..7");
  end
  if (MaxCode > 255) begin : gen_bad_max_code
    $error("hq_mulshift: MaxCode must be 0..255");
  end
  if (AccBits < 2 || AccBits > 1024) begin : gen_bad_acc
    $error("hq_mulshift: AccBits must be 2..1024");
  end
  if (MultBits < 2 || MultBits > 32) begin : gen_bad_mult
    $error("hq_mulshift: MultBits must be 2..32");
  end

  localparam int unsigned ProductBits = AccBits + MultBits;

  logic [1:0] valid_q;
  logic [AccBits-1:0] acc_q;
  logic [MultBits-1:0] mult_q;
  logic [1:0][ChanBits-1:0] chan_q;
  logic [ProductBits-1:0] product_d;
  logic [ProductBits-1:0] product_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else if (en_i) valid_q <= {valid_q[0], valid_i};
  end

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      acc_q <= acc_i;
      chan_q <= {chan_q[0], chan_i};
      product_q <= product_d;
    end
  end

  hq_rom #(
    .Depth(Channels),
    .Width(MultBits),
    .Words(Mult)
  ) u_mult (
    .clk_i(clk_i),
    .en_i(en_i),
    .addr_i(chan_i),
    .data_o(mult_q)
  );

  hq_mul #(
    .ABits(AccBits),
    .BBits(MultBits),
    .ASigned(1'b1),
    .BSigned(1'b1)
  ) u_mul (
    .a_i(acc_q),
    .b_i(mult_q),
    .p_o(product_d)
  );

  hq_round #(
    .AccBits(ProductBits),
    .Frac(Frac),
    .SumBits(SumBits),
    .Split(Split),
    .Clip(Clip),
    .Upper(Upper),
    .Channels(Channels),
    .BiasBits(BiasBits),
    .Minus(Minus),
    .Shift(Shift),
    .Float(Float),
    .Signed(Signed),
    .Narrow(Narrow),
    .Bits(Bits),
    .ExpBits(ExpBits),
    .MaxCode(MaxCode)
  ) u_round (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .valid_i(valid_q[1]),
    .chan_i(chan_q[1]),
    .acc_i(product_q),
    .valid_o(valid_o),
    .code_o(code_o)
  );

endmodule

`default_nettype wire
