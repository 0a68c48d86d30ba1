// SPDX-License-Identifier: Apache-2.0
/// Add an odd Count of unsigned numbers and as many bits in a tree of registered ternary adders:
///
///   sum_o + carry_o = sum over i of (term_i[i] ^ its top bit where InvTop) + carry_i[i]
///
/// Each adder takes two of the bits at its lowest position; one bit is left over and handed on.
/// An inverted top bit turns two's complement into an unsigned number, 2**(Width-1) more; it is
/// inverted in an adder's LUT, so that with Count 1 the caller has to do it.
///
/// Latency log3(Count), rounded up; initiation interval 1.  Exact.  Equals Python's sum.
`default_nettype none

module hq_tree_sum #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Count = 3,  // numbers to add, odd
  parameter int unsigned Width = 8,  // width of one number
  parameter bit InvTop = 1'b0,  // invert the top bit of each number
  localparam int unsigned OutBits = Width + $clog2(Count)
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic [Count-1:0][Width-1:0] term_i,
  input  logic [Count-1:0] carry_i,
  output logic [OutBits-1:0] sum_o,
  output logic carry_o
);

  localparam bit BadWidth = Width < 1 || Width > 512;
  if (BadWidth) begin : gen_bad_width
    $error("hq_tree_sum: Width must be 1..512");
  end
  localparam bit BadCount = Count % 2 == 0 || Count > 8191;
  if (BadCount) begin : gen_bad_count
    $error("hq_tree_sum: Count must be odd, 1..8191");
  end
  localparam bit Legal = !(BadWidth || BadCount);

  if (Count == 1) begin : gen_leaf
    logic unused_control;
    assign unused_control = clk_i ^ rst_i ^ en_i;
    assign sum_o = term_i[0];
    assign carry_o = carry_i[0];
  end else if (Legal) begin : gen_node
    // Three odd parts, the first the largest.
    localparam int unsigned Third = (Count + 2) / 3;
    localparam int unsigned CountA = Third + (Third % 2 == 0 ? 1 : 0);
    localparam int unsigned Half = (Count - CountA) / 2;
    localparam int unsigned CountB = Half + (Half % 2 == 0 ? 1 : 0);
    localparam int unsigned CountC = Count - CountA - CountB;

    localparam int unsigned WidthA = Width + $clog2(CountA);
    localparam int unsigned WidthB = Width + $clog2(CountB);
    localparam int unsigned WidthC = Width + $clog2(CountC);
    // Levels of ternary adders in each part: log3, rounded up.
    localparam int unsigned LevelsA = 32'(CountA > 1) + 32'(CountA > 3) + 32'(CountA > 9) + 32'(CountA > 27)
        + 32'(CountA > 81) + 32'(CountA > 243) + 32'(CountA > 729) + 32'(CountA > 2187);
    localparam int unsigned LevelsB = 32'(CountB > 1) + 32'(CountB > 3) + 32'(CountB > 9) + 32'(CountB > 27)
        + 32'(CountB > 81) + 32'(CountB > 243) + 32'(CountB > 729) + 32'(CountB > 2187);
    localparam int unsigned LevelsC = 32'(CountC > 1) + 32'(CountC > 3) + 32'(CountC > 9) + 32'(CountC > 27)
        + 32'(CountC > 81) + 32'(CountC > 243) + 32'(CountC > 729) + 32'(CountC > 2187);
    localparam logic [WidthA-1:0] Top = WidthA'(1) << (Width - 1);

    logic [WidthA-1:0] a;
    logic [WidthB-1:0] b_early;
    logic [WidthC-1:0] c_early;
    logic [WidthB-1:0] b;
    logic [WidthC-1:0] c;
    logic [2:0] low;
    logic b_low;
    logic c_low;
    logic [WidthA+1:0] total;

    hq_tree_sum #(
      .Primitive(Primitive),
      .Count(CountA),
      .Width(Width),
      .InvTop(InvTop)
    ) u_a (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .en_i(en_i),
      .term_i(term_i[0+:CountA]),
      .carry_i(carry_i[0+:CountA]),
      .sum_o(a),
      .carry_o(low[0])
    );

    hq_tree_sum #(
      .Primitive(Primitive),
      .Count(CountB),
      .Width(Width),
      .InvTop(InvTop)
    ) u_b (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .en_i(en_i),
      .term_i(term_i[CountA+:CountB]),
      .carry_i(carry_i[CountA+:CountB]),
      .sum_o(b_early),
      .carry_o(b_low)
    );

    hq_tree_sum #(
      .Primitive(Primitive),
      .Count(CountC),
      .Width(Width),
      .InvTop(InvTop)
    ) u_c (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .en_i(en_i),
      .term_i(term_i[CountA+CountB+:CountC]),
      .carry_i(carry_i[CountA+CountB+:CountC]),
      .sum_o(c_early),
      .carry_o(c_low)
    );

    hq_delay #(
      .Stages(LevelsA - LevelsB),
      .Width(WidthB + 1)
    ) u_delay_b (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .en_i(en_i),
      .in_i({b_low, b_early}),
      .out_o({low[1], b})
    );

    hq_delay #(
      .Stages(LevelsA - LevelsC),
      .Width(WidthC + 1)
    ) u_delay_c (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .en_i(en_i),
      .in_i({c_low, c_early}),
      .out_o({low[2], c})
    );

    hq_ternary #(
      .Primitive(Primitive),
      .Width(WidthA),
      .InvA(InvTop && CountA == 1 ? Top : '0),
      .InvB(InvTop && CountB == 1 ? Top : '0),
      .InvC(InvTop && CountC == 1 ? Top : '0)
    ) u_add (
      .a_i(a),
      .b_i(WidthA'(b)),
      .c_i(WidthA'(c)),
      .low_i(low[1:0]),
      .sum_o(total[WidthA-1:0]),
      .over_o(total[WidthA]),
      .carry_o(total[WidthA+1])
    );

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        sum_o <= total[OutBits-1:0];
        carry_o <= low[2];
      end
    end

    if (OutBits < WidthA + 2) begin : gen_one_more
      logic unused_top;  // 0: the sum has but one bit more
      assign unused_top = total[WidthA+1];
    end
  end

endmodule

`default_nettype wire
