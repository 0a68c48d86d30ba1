// SPDX-License-Identifier: Apache-2.0
/// Product of two block scales, taken apart:
///
///   scale(weight_i) * scale(act_i) = sig_o * 2**(exp_o + constant)
///
/// E8M0: sig_o = 1, exp_o = weight_i + act_i, constant -254.  Code 255 (NaN) must not come.
/// E4M3 (E4m3 = 1, codes 0..126): sig_o is the product of the significands, 0..225; exp_o the sum
/// of the exponents above that of a subnormal, 0..28, constant -18.
///
/// Latency 0 (combinational).  Exact.  Equals hwquant.block_mac.scale_parts.
`default_nettype none

module hq_block_scale #(
  parameter bit E4m3 = 1'b0,  // scales are E4M3, else E8M0
  parameter int unsigned ExpBits = 9,  // width of exp_o: 9, or 5 for E4M3
  parameter int unsigned SigBits = 1  // width of sig_o: 1, or 8 for E4M3
) (
  input  logic [7:0] weight_i,
  input  logic [7:0] act_i,
  output logic [ExpBits-1:0] exp_o,
  output logic [SigBits-1:0] sig_o
);

  if (ExpBits != (E4m3 ? 5 : 9)) begin : gen_bad_exp
    $error("hq_block_scale: ExpBits must be 9, or 5 for E4M3");
  end
  if (SigBits != (E4m3 ? 8 : 1)) begin : gen_bad_sig
    $error("hq_block_scale: SigBits must be 1, or 8 for E4M3");
  end

  if (E4m3) begin : gen_e4m3
    logic weight_normal;
    logic act_normal;
    logic unused_sign;

    assign weight_normal = weight_i[6:3] != 4'd0;
    assign act_normal = act_i[6:3] != 4'd0;
    assign unused_sign = weight_i[7] ^ act_i[7];
    // A subnormal has the exponent of field 1.
    assign exp_o = ExpBits'(weight_i[6:3]) - ExpBits'(weight_normal)
        + ExpBits'(act_i[6:3]) - ExpBits'(act_normal);
    assign sig_o = SigBits'({weight_normal, weight_i[2:0]}) * SigBits'({act_normal, act_i[2:0]});
  end else begin : gen_e8m0
    assign exp_o = ExpBits'(weight_i) + ExpBits'(act_i);
    assign sig_o = SigBits'(1'b1);
  end

endmodule

`default_nettype wire
