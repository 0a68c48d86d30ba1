// SPDX-License-Identifier: Apache-2.0
/// Finish the rounding of an integer to the nearest, ties to even, and clamp it:
///
///   code_o = clamp(sum_i - (tie_i && sum_i is odd))      clamp to the rails of the output format
///
/// sum_i is floor(x + 1/2) and tie_i says that x + 1/2 was an integer, so that x was a tie: the
/// lowest bit of the upper neighbour is cleared, which gives the even one without an adder.
///
/// Latency 0 (combinational).  Exact.  Equals hwquant.rounding.RoundPack for integer formats.
`default_nettype none

module hq_clamp #(
  parameter int unsigned InBits = 16,  // width of sum_i, two's complement
  parameter int unsigned Bits = 8,  // width of the code
  parameter bit Signed = 1'b1,  // two's complement code, else unsigned
  parameter bit Narrow = 1'b0  // no code for -2**(Bits-1)
) (
  input  logic [InBits-1:0] sum_i,
  input  logic tie_i,
  input  logic over_i,  // beyond InBits, with the sign of sum_i
  output logic [Bits-1:0] code_o
);

  if (InBits < 1 || InBits > 4096) begin : gen_bad_in_bits
    $error("hq_clamp: InBits must be 1..4096");
  end
  if (Bits < 1 || Bits > 8) begin : gen_bad_bits
    $error("hq_clamp: Bits must be 1..8");
  end
  if (Narrow && !Signed) begin : gen_bad_narrow
    $error("hq_clamp: Narrow must be 0 for an unsigned format");
  end

  // One bit more than the code, so that there is a sign to look at.
  localparam int unsigned WideBits = InBits > Bits + 1 ? InBits : Bits + 1;

  logic [WideBits-1:0] wide;
  logic neg;
  logic low;

  assign wide = WideBits'($signed(sum_i));
  assign neg = wide[WideBits-1];
  assign low = wide[0] & ~tie_i;

  if (Signed) begin : gen_signed
    logic over;
    logic [Bits-1:0] body;

    // It fits when every bit from the code's sign upward is the sign.
    assign over = over_i || wide[WideBits-1:Bits-1] != {WideBits - Bits + 1{neg}};

    if (Bits == 1) begin : gen_one
      assign body = low;
    end else begin : gen_more
      assign body = {wide[Bits-1:1], low};
    end

    if (Narrow) begin : gen_narrow
      logic [Bits-1:0] clamped;
      assign clamped = over ? {neg, {Bits - 1{~neg}}} : body;
      assign code_o = clamped | Bits'(clamped == {1'b1, {Bits - 1{1'b0}}});
    end else begin : gen_full
      assign code_o = over ? {neg, {Bits - 1{~neg}}} : body;
    end
  end else begin : gen_unsigned
    logic over;

    assign over = over_i | (|wide[WideBits-1:Bits]);  // too large, or negative

    if (Bits == 1) begin : gen_one
      assign code_o = over ? ~neg : low;
    end else begin : gen_more
      assign code_o = over ? {Bits{~neg}} : {wide[Bits-1:1], low};
    end
  end

endmodule

`default_nettype wire
