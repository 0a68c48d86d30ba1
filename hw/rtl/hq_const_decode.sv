// SPDX-License-Identifier: Apache-2.0
/// Decode a minifloat to an unsigned integer: its value in steps, plus Max where it has a sign.
///
///   x_o = Signed ? value + Max : value
///
/// Latency 0 (combinational).  Exact.  Equals hwquant.codec.decode (plus Max) on every code with a
/// value.
`default_nettype none

module hq_const_decode #(
  parameter int unsigned Bits = 8,  // code width
  parameter bit Signed = 1'b1,  // has a sign bit
  parameter int unsigned ExpBits = 4,  // exponent field width
  parameter int unsigned Width = 19,  // width of x_o
  parameter logic [Width-1:0] Max = '0  // the greatest value
) (
  input  logic [Bits-1:0] code_i,
  output logic [Width-1:0] x_o
);

  if (ExpBits > 7) begin : gen_bad_exp_bits
    $error("hq_const_decode: ExpBits must be 0..7");
  end
  if (Bits < 1 || Bits > 8) begin : gen_bad_bits
    $error("hq_const_decode: Bits must be 1..8");
  end
  if (Width < 1 || Width > 512) begin : gen_bad_width
    $error("hq_const_decode: Width must be 1..512");
  end

  localparam int unsigned ManBits = Bits - ExpBits - (Signed ? 1 : 0);
  localparam int unsigned SigBits = ManBits + (ExpBits > 0 ? 1 : 0);
  localparam int unsigned ExpOutBits = ExpBits > 1 ? ExpBits : 1;

  logic neg;
  logic [SigBits-1:0] sig;
  logic [ExpOutBits-1:0] exp;
  logic [Width-1:0] mag;

  hq_decode #(
    .Bits(Bits),
    .Float(1'b1),
    .Signed(Signed),
    .ExpBits(ExpBits)
  ) u_decode (
    .code_i(code_i),
    .neg_o(neg),
    .sig_o(sig),
    .exp_o(exp)
  );

  hq_align #(
    .InBits(SigBits),
    .InSigned(1'b0),
    .ExpBits(ExpOutBits),
    .Offset(ExpBits > 1 ? 1 : 0),
    .OutBits(Width)
  ) u_align (
    .p_i(sig),
    .exp_i(exp),
    .mag_o(mag)
  );

  if (Signed) begin : gen_signed
    hq_add #(
      .Width(Width),
      .HasCarry(1'b1)
    ) u_add (
      .a_i(Max),
      .b_i(mag ^ {Width{neg}}),
      .carry_i(neg),
      .sum_o(x_o)
    );
  end else begin : gen_unsigned
    logic unused_neg;
    assign unused_neg = neg;
    assign x_o = mag;
  end

endmodule

`default_nettype wire
