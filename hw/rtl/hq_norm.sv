// SPDX-License-Identifier: Apache-2.0
/// Shift a number left until its leading bit is at the top, at most 2**Steps - 2 places:
///
///   field_o = 2**Steps - 1 - (leading bits equal to neg_i), at least 0
///   top_o   = the Keep highest bits of x_i << (field_o > 0 ? 2**Steps - 1 - field_o
///                                                         : 2**Steps - 2)
///   sticky_o = sticky_i or any bit below them
///
/// A negative number is looked at as its bitwise complement, which is never built.  field_o is
/// the exponent field of a minifloat whose subnormals share the shift of its first binade.  Each
/// step decides one bit of the field and drops the bits that no later step can reach.
///
/// Latency 0 (combinational).  Exact.
`default_nettype none

module hq_norm #(
  parameter int unsigned Steps = 2,  // exponent field width, 0..7
  parameter int unsigned Keep = 3,  // bits to keep
  localparam int unsigned InBits = Keep + (1 << Steps) - 1,
  localparam int unsigned FieldBits = Steps > 0 ? Steps : 1
) (
  input  logic neg_i,
  input  logic [InBits-1:0] x_i,
  input  logic sticky_i,
  input  logic normal_i,  // a step before this one left its bits where they were
  output logic [FieldBits-1:0] field_o,
  output logic [Keep-1:0] top_o,
  output logic sticky_o
);

  localparam bit BadKeep = Keep < 1 || Keep > 64;
  if (BadKeep) begin : gen_bad_keep
    $error("hq_norm: Keep must be 1..64");
  end
  localparam bit BadSteps = Steps > 7;
  if (BadSteps) begin : gen_bad_steps
    $error("hq_norm: Steps must be 0..7");
  end
  localparam bit Legal = !(BadKeep || BadSteps);

  if (Steps == 0) begin : gen_done
    logic unused_sign;
    assign unused_sign = neg_i ^ normal_i;
    assign field_o = 1'b0;
    assign top_o = x_i;
    assign sticky_o = sticky_i;
  end else if (Legal) begin : gen_step
    localparam int unsigned Half = 1 << (Steps - 1);
    localparam int unsigned NextBits = InBits - Half;

    logic empty;
    logic move;
    logic [NextBits-1:0] next;
    logic sticky;

    assign empty = x_i[InBits-1-:Half] == {Half{neg_i}};
    assign field_o[Steps-1] = ~empty;

    if (Steps == 1) begin : gen_last
      assign move = empty & normal_i;
    end else begin : gen_early
      assign move = empty;
    end

    assign next = move ? x_i[NextBits-1:0] : x_i[InBits-1:Half];
    assign sticky = sticky_i | (~move & (|x_i[Half-1:0]));

    if (Steps == 1) begin : gen_end
      assign top_o = next;
      assign sticky_o = sticky;
    end else begin : gen_rest
      hq_norm #(
        .Steps(Steps - 1),
        .Keep(Keep)
      ) u_rest (
        .neg_i(neg_i),
        .x_i(next),
        .sticky_i(sticky),
        .normal_i(normal_i | ~empty),
        .field_o(field_o[Steps-2:0]),
        .top_o(top_o),
        .sticky_o(sticky_o)
      );
    end
  end

endmodule

`default_nettype wire
