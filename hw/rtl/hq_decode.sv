// SPDX-License-Identifier: Apache-2.0
/// Split a code into sign, significand and exponent.
///
///   value = (neg_o ? -1 : 1) * sig_o * 2**(exp_o - Offset)     in units of the format's step
///
/// Integers:   sig_o is the code itself (two's complement when Signed), neg_o = 0, exp_o = 0.
/// Minifloats: sig_o = {e != 0, m}, exp_o = max(e, 1), Offset = 1.  With fewer than two exponent
///             bits every significand has the same weight: exp_o = 0, Offset = 0.
///
/// max(e, 1) is one OR gate where e - 1 would be a subtractor; hq_align drops the Offset by
/// wiring.  The exponent bias does not exist here: it is part of the step.
///
/// Latency 0 (combinational).  Exact.  Equals hwquant.codec.decode on every code with a value.
`default_nettype none

module hq_decode #(
  parameter int unsigned Bits = 4,  // code width
  parameter bit Float = 1'b1,  // minifloat, else integer
  parameter bit Signed = 1'b1,  // has a sign bit
  parameter int unsigned ExpBits = 2,  // exponent field width, 0 for integers
  localparam int unsigned ManBits = Bits - ExpBits - (Signed ? 1 : 0),
  localparam int unsigned SigBits = !Float ? Bits : ManBits + (ExpBits > 0 ? 1 : 0),
  localparam int unsigned ExpOutBits = ExpBits > 1 ? ExpBits : 1
) (
  input  logic [Bits-1:0] code_i,
  output logic neg_o,
  output logic [SigBits-1:0] sig_o,
  output logic [ExpOutBits-1:0] exp_o
);

  if (Bits < 1 || Bits > 8) begin : gen_bad_bits
    $error("hq_decode: Bits must be 1..8");
  end
  if (!Float && ExpBits != 0) begin : gen_bad_integer
    $error("hq_decode: an integer has no exponent field, ExpBits must be 0");
  end
  if (ExpBits > Bits || ExpBits + (Signed ? 1 : 0) > Bits) begin : gen_bad_fields
    $error("hq_decode: ExpBits must be 0..Bits, less the sign bit");
  end

  if (!Float) begin : gen_integer
    assign neg_o = 1'b0;
    assign sig_o = code_i;
    assign exp_o = '0;
  end else begin : gen_minifloat
    if (Signed) begin : gen_signed
      assign neg_o = code_i[Bits-1];
    end else begin : gen_unsigned
      assign neg_o = 1'b0;
    end

    if (ExpBits == 0) begin : gen_sign_magnitude
      assign sig_o = code_i[SigBits-1:0];
      assign exp_o = '0;
    end else begin : gen_fields
      logic [ExpBits-1:0] field;
      logic normal;

      assign field = code_i[ManBits+:ExpBits];
      assign normal = field != '0;

      if (ManBits == 0) begin : gen_hidden_only
        assign sig_o = normal;
      end else begin : gen_mantissa
        assign sig_o = {normal, code_i[ManBits-1:0]};
      end

      if (ExpBits == 1) begin : gen_one_weight
        assign exp_o = '0;
      end else begin : gen_exponent
        assign exp_o = {field[ExpBits-1:1], field[0] | ~normal};
      end
    end
  end

endmodule

`default_nettype wire
