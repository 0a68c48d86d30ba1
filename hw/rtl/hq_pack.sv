// SPDX-License-Identifier: Apache-2.0
/// Round a normalised number to a minifloat code, saturate, and drop the sign of zero:
///
///   magnitude = min(({field_i, top_i} without its lowest bit) + up, MaxCode)
///   up        = nearest, ties to the even significand
///
/// The carry out of the mantissa runs into the exponent field by itself, subnormals included.  A
/// negative number arrives as two's complement v (in top_i and sticky_i) with the exponent of ~v;
/// its magnitude is ~v + 1, and that one is part of the rounding:
///
///   v >= 0: up = round & (sticky | odd)         v < 0: up = ~round | (~sticky & odd)
///
/// with round and odd of v and ~v.  With no mantissa every significand but 0 is odd, so a tie goes
/// away from zero unless it is next to 0.
///
/// Latency 0 (combinational).  Exact.  Equals hwquant.rounding.RoundPack for minifloats.
`default_nettype none

module hq_pack #(
  parameter int unsigned ExpBits = 2,  // exponent field width
  parameter int unsigned ManBits = 1,  // mantissa field width
  parameter bit Signed = 1'b1,  // has a sign bit
  parameter int unsigned MaxCode = 7,  // fields of the largest finite magnitude
  parameter bit Saturate = 1'b1,  // some number exceeds MaxCode; else over_i is ignored
  localparam int unsigned MagBits = ExpBits + ManBits,
  localparam int unsigned FieldBits = ExpBits > 0 ? ExpBits : 1,
  localparam int unsigned Bits = MagBits + (Signed ? 1 : 0)
) (
  input  logic neg_i,
  input  logic over_i,  // larger than any exponent field can say
  input  logic [FieldBits-1:0] field_i,
  input  logic [ManBits:0] top_i,  // mantissa and the bit below it
  input  logic sticky_i,
  output logic [Bits-1:0] code_o
);

  localparam bit BadBits = ExpBits > 8 || ManBits > 8 || Bits < 2 || Bits > 8;
  if (BadBits) begin : gen_bad_bits
    $error("hq_pack: sign, ExpBits and ManBits must make 2..8 bits");
  end
  localparam bit BadMax = MaxCode >= (1 << MagBits);
  if (BadMax) begin : gen_bad_max
    $error("hq_pack: MaxCode must be below 2**(ExpBits + ManBits)");
  end
  localparam bit Legal = !(BadBits || BadMax);

  logic [MagBits-1:0] magnitude;
  logic [MagBits:0] rounded;
  logic odd;
  logic up;
  logic [MagBits-1:0] clamped;

  if (ManBits == 0) begin : gen_exponent_only
    assign magnitude = field_i;
    assign odd = |field_i;
  end else if (ExpBits == 0) begin : gen_mantissa_only
    logic unused_field;
    assign unused_field = ^field_i;
    assign magnitude = top_i[ManBits:1] ^ {ManBits{neg_i}};
    assign odd = magnitude[0];
  end else begin : gen_both
    assign magnitude = {field_i, top_i[ManBits:1] ^ {ManBits{neg_i}}};
    assign odd = magnitude[0];
  end

  assign up = neg_i ? ~top_i[0] | (~sticky_i & odd) : top_i[0] & (sticky_i | odd);
  // Bit b flips when all below it are ones: a few LUTs, where a carry chain would be longer.
  for (genvar b = 0; Legal && b <= MagBits; b++) begin : gen_bit
    if (b == 0) begin : gen_low
      assign rounded[b] = magnitude[b] ^ up;
    end else if (b < MagBits) begin : gen_middle
      assign rounded[b] = magnitude[b] ^ (up & (&magnitude[b-1:0]));
    end else begin : gen_high
      assign rounded[b] = up & (&magnitude);
    end
  end

  if (Saturate) begin : gen_saturate
    logic over;
    assign over = over_i || rounded > (MagBits + 1)'(MaxCode);
    assign clamped = over ? MagBits'(MaxCode) : rounded[MagBits-1:0];
  end else begin : gen_fits
    logic unused_over;
    assign unused_over = over_i ^ rounded[MagBits];
    assign clamped = rounded[MagBits-1:0];
  end

  if (Signed) begin : gen_signed
    assign code_o = {neg_i & (|clamped), clamped};
  end else begin : gen_unsigned
    assign code_o = neg_i ? '0 : clamped;
  end

endmodule

`default_nettype wire
