// SPDX-License-Identifier: Apache-2.0
/// Shift a product of significands to its place on the product grid:
///
///   mag_o = p_i * 2**(exp_i - Offset)
///
/// Offset is the least value exp_i takes (one per operand that has an exponent), so nothing is
/// lost by dropping that many low bits.
///
/// Latency 0 (combinational).  Exact while OutBits holds the largest shifted product (hq_term
/// sees to it).  Equals Python's `p << exp - Offset`.
`default_nettype none

module hq_align #(
  parameter int unsigned InBits = 4,  // width of p_i
  parameter bit InSigned = 1'b0,  // p_i is two's complement
  parameter int unsigned ExpBits = 3,  // width of exp_i
  parameter int unsigned Offset = 2,  // least exponent; 0 means exp_i is always 0
  parameter int unsigned OutBits = 9  // width of mag_o, two's complement
) (
  input  logic [InBits-1:0] p_i,
  input  logic [ExpBits-1:0] exp_i,
  output logic [OutBits-1:0] mag_o
);

  if (Offset > 512) begin : gen_bad_offset
    $error("hq_align: Offset must be 0..512");
  end
  if (InBits < 1 || InBits > 64) begin : gen_bad_in
    $error("hq_align: InBits must be 1..64");
  end
  if (ExpBits < 1 || ExpBits > 8) begin : gen_bad_exp
    $error("hq_align: ExpBits must be 1..8");
  end
  if (OutBits < 1 || OutBits > 512) begin : gen_bad_out
    $error("hq_align: OutBits must be 1..512");
  end

  localparam int unsigned WideBits = OutBits + Offset;

  logic [WideBits-1:0] wide;

  if (InSigned) begin : gen_signed
    assign wide = WideBits'($signed(p_i));
  end else begin : gen_unsigned
    assign wide = WideBits'(p_i);
  end

  assign mag_o = OutBits'((wide << exp_i) >> Offset);

endmodule

`default_nettype wire
