// SPDX-License-Identifier: Apache-2.0
/// hq_decode for bucket kernels: with Primitive and two to five exponent bits, the hidden bit and
/// the exponent's least bit, both functions of the exponent field alone, are one LUT site.
///
/// Latency 0 (combinational).  Exact.  Equals hq_decode.
`default_nettype none

module hq_bucket_decode #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Bits = 8,  // code width
  parameter bit Float = 1'b1,  // minifloat, else integer
  parameter bit Signed = 1'b1,  // has a sign bit
  parameter int unsigned ExpBits = 4,  // exponent field width, 0 for integers
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
    $error("hq_bucket_decode: Bits must be 1..8");
  end
  if (ExpBits > 7 || (!Float && ExpBits != 0)) begin : gen_bad_exp
    $error("hq_bucket_decode: ExpBits must be 0..7, and 0 for an integer");
  end

  if (Primitive && Float && ExpBits >= 2 && ExpBits <= 5) begin : gen_pair
    logic [ExpBits-1:0] field;
    logic normal;
    logic least;

    assign field = code_i[ManBits+:ExpBits];
    assign neg_o = Signed ? code_i[Bits-1] : 1'b0;
    assign exp_o = {field[ExpBits-1:1], least};

    if (ManBits == 0) begin : gen_hidden_only
      assign sig_o = normal;
    end else begin : gen_mantissa
      assign sig_o = {normal, code_i[ManBits-1:0]};
    end

    hq_lut_pair #(
      .Primitive(1'b1),
      .InitA(32'hFFFF_FFFE),
      .InitB(32'hAAAA_AAAB)
    ) u_pair (
      .in_i(5'(field)),
      .a_o(normal),
      .b_o(least)
    );
  end else begin : gen_plain
    hq_decode #(
      .Bits(Bits),
      .Float(Float),
      .Signed(Signed),
      .ExpBits(ExpBits)
    ) u_decode (
      .code_i(code_i),
      .neg_o(neg_o),
      .sig_o(sig_o),
      .exp_o(exp_o)
    );
  end

endmodule

`default_nettype wire
