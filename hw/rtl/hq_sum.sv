// SPDX-License-Identifier: Apache-2.0
/// Add Count signed numbers and Count single bits in a tree:
///
///   sum_o + carry_o = sum over i of (term_i[i] + carry_i[i])
///
/// Each adder of the tree takes one single bit as its carry; one bit is left over and is handed
/// on.  So a term x with its sign s apart joins as term x ^ s, carry s, and no negation is built.
///
/// Latency 0 (combinational).  Exact.  Equals Python's sum.
`default_nettype none

module hq_sum #(
  parameter int unsigned Count = 4,  // numbers to add
  parameter int unsigned Width = 8,  // width of one number, two's complement
  parameter bit HasCarry = 1'b1,  // the single bits are used, else they must be 0
  localparam int unsigned OutBits = Width + $clog2(Count)
) (
  input  logic [Count-1:0][Width-1:0] term_i,
  input  logic [Count-1:0] carry_i,
  output logic [OutBits-1:0] sum_o,
  output logic carry_o
);

  localparam bit BadCount = Count < 1 || Count > 4096;
  if (BadCount) begin : gen_bad_count
    $error("hq_sum: Count must be 1..4096");
  end
  localparam bit BadWidth = Width < 1 || Width > 512;
  if (BadWidth) begin : gen_bad_width
    $error("hq_sum: Width must be 1..512");
  end
  localparam bit Legal = !(BadCount || BadWidth);

  if (Count == 1) begin : gen_leaf
    assign sum_o = term_i;
    assign carry_o = carry_i;
  end else if (Legal) begin : gen_node
    localparam int unsigned LowCount = 1 << ($clog2(Count) - 1);
    localparam int unsigned HighCount = Count - LowCount;
    localparam int unsigned LowBits = Width + $clog2(LowCount);
    localparam int unsigned HighBits = Width + $clog2(HighCount);

    logic [LowBits-1:0] low;
    logic [HighBits-1:0] high;
    logic low_carry;

    hq_sum #(
      .Count(LowCount),
      .Width(Width),
      .HasCarry(HasCarry)
    ) u_low (
      .term_i(term_i[LowCount-1:0]),
      .carry_i(carry_i[LowCount-1:0]),
      .sum_o(low),
      .carry_o(low_carry)
    );

    hq_sum #(
      .Count(HighCount),
      .Width(Width),
      .HasCarry(HasCarry)
    ) u_high (
      .term_i(term_i[Count-1:LowCount]),
      .carry_i(carry_i[Count-1:LowCount]),
      .sum_o(high),
      .carry_o(carry_o)
    );

    hq_add #(
      .Width(OutBits),
      .HasCarry(HasCarry)
    ) u_add (
      .a_i(OutBits'($signed(low))),
      .b_i(OutBits'($signed(high))),
      .carry_i(low_carry),
      .sum_o(sum_o)
    );
  end

endmodule

`default_nettype wire
