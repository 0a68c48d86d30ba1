// SPDX-License-Identifier: Apache-2.0
/// A code as a number for a multiplier, its sign apart:
///
///   value(code_i) = neg_o ? -value_o : value_o      in units of the format's step
///
/// Integers are taken as they are (neg_o = 0), minifloats as their magnitude: significand shifted
/// by the exponent.
///
/// Latency 0 (combinational).  Exact.  Equals hwquant.codec.decode on every code with a value.
`default_nettype none

module hq_dsp_operand #(
  parameter int unsigned Bits = 4,  // code width
  parameter bit Float = 1'b1,  // minifloat, else integer
  parameter bit Signed = 1'b1,  // has a sign bit
  parameter int unsigned ExpBits = 2,  // exponent field width, 0 for integers
  parameter int unsigned OutBits = 5  // width of value_o, two's complement
) (
  input  logic [Bits-1:0] code_i,
  output logic neg_o,
  output logic [OutBits-1:0] value_o
);

  localparam int unsigned SigBits =
      !Float ? Bits : Bits - ExpBits - (Signed ? 1 : 0) + (ExpBits > 0 ? 1 : 0);
  localparam int unsigned ExpOutBits = ExpBits > 1 ? ExpBits : 1;
  localparam int unsigned Largest = ExpBits > 1 ? (1 << ExpBits) - 2 : 0;
  localparam int unsigned Needed = SigBits + Largest + (Float || !Signed ? 1 : 0);

  if (Bits < 1 || Bits > 8) begin : gen_bad_bits
    $error("hq_dsp_operand: Bits must be 1..8");
  end
  if (ExpBits > 7) begin : gen_bad_exp_bits
    $error("hq_dsp_operand: ExpBits must be 0..7");
  end
  if (OutBits != Needed) begin : gen_bad_out
    $error("hq_dsp_operand: OutBits must be the width of the format's values");
  end

  logic [SigBits-1:0] sig;
  logic [ExpOutBits-1:0] exp;

  hq_decode #(
    .Bits(Bits),
    .Float(Float),
    .Signed(Signed),
    .ExpBits(ExpBits)
  ) u_decode (
    .code_i(code_i),
    .neg_o(neg_o),
    .sig_o(sig),
    .exp_o(exp)
  );

  if (ExpBits > 1) begin : gen_shifted
    logic [OutBits:0] twice;
    logic unused_low;

    assign twice = (OutBits + 1)'(sig) << exp;  // exp is max(e, 1)
    assign value_o = twice[OutBits:1];
    assign unused_low = twice[0];
  end else begin : gen_fixed
    logic unused_exp;

    assign unused_exp = exp;

    if (Float || !Signed) begin : gen_magnitude
      assign value_o = OutBits'(sig);
    end else begin : gen_signed
      assign value_o = sig;
    end
  end

endmodule

`default_nettype wire
