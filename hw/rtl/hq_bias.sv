// SPDX-License-Identifier: Apache-2.0
/// Add a bias to an accumulator, in no more bits than what follows can tell apart:
///
///   over_o = 0:  sum_o = acc_i + bias_i
///   over_o = 1:  acc_i + bias_i does not fit SumBits, and has the sign of sum_o
///
/// Without Split, SumBits holds every sum and over_o is 0.  With Split the K = SumBits - 1 low bits
/// are added, and the high part T of the accumulator only ever changes by d = -1, 0 or 1, so its
/// adder shrinks to a test: the sum fits when T + d is 0 or -1.  That takes T's lowest bit and
/// whether its other bits are all equal.
///
/// Latency 1, initiation interval 1.  Exact.  Equals Python's `+`, clamped to SumBits where over_o.
`default_nettype none

module hq_bias #(
  parameter int unsigned AccBits = 24,  // width of acc_i, two's complement
  parameter int unsigned BiasBits = 12,  // width of bias_i, two's complement
  parameter int unsigned SumBits = 25,  // width of sum_o, two's complement
  parameter bit Split = 1'b0  // SumBits does not hold every sum
) (
  input  logic clk_i,
  input  logic en_i,
  input  logic [AccBits-1:0] acc_i,
  input  logic [BiasBits-1:0] bias_i,
  output logic [SumBits-1:0] sum_o,
  output logic over_o
);

  if (SumBits < BiasBits) begin : gen_bad_bias
    $error("hq_bias: SumBits must be BiasBits or more");
  end
  if (Split && AccBits < SumBits + 1) begin : gen_bad_split
    $error("hq_bias: Split must be 0 unless AccBits is SumBits+1 or more");
  end
  if (!Split && SumBits < AccBits) begin : gen_bad_sum
    $error("hq_bias: SumBits must be AccBits or more without Split");
  end

  logic [SumBits-1:0] left;
  logic [SumBits-1:0] right;
  logic [SumBits-1:0] sum_d;
  logic [SumBits-1:0] sum_q;

  assign right = SumBits'($signed(bias_i));

  hq_add #(
    .Width(SumBits),
    .HasCarry(1'b0)
  ) u_add (
    .a_i(left),
    .b_i(right),
    .carry_i(1'b0),
    .sum_o(sum_d)
  );

  always_ff @(posedge clk_i) begin
    if (en_i) sum_q <= sum_d;
  end

  if (!Split) begin : gen_whole
    assign left = SumBits'($signed(acc_i));
    assign sum_o = sum_q;
    assign over_o = 1'b0;
  end else begin : gen_split
    logic down_q;  // the bias is negative: d is 0 or -1, else 0 or 1
    logic moved;  // d is not 0
    logic low_q;  // T's lowest bit
    logic sign_q;
    logic plain_q;  // T's other bits are all equal to its sign
    logic neg;

    assign left = {1'b0, acc_i[SumBits-2:0]};
    assign moved = sum_q[SumBits-1];  // carry ^ sign of the bias

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        down_q <= bias_i[BiasBits-1];
        low_q <= acc_i[SumBits-1];
        sign_q <= acc_i[AccBits-1];
        plain_q <= acc_i[AccBits-1:SumBits] == {AccBits - SumBits{acc_i[AccBits-1]}};
      end
    end

    // T is 0 or 1 (-2 or -1) where plain and not sign (and sign).
    always_comb begin
      if (!plain_q) begin
        neg = sign_q;
        over_o = 1'b1;
      end else if (!sign_q) begin
        neg = ~low_q & moved & down_q;
        over_o = low_q ? ~(moved & down_q) : moved & ~down_q;
      end else begin
        neg = ~(low_q & moved & ~down_q);
        over_o = low_q ? moved & down_q : ~(moved & ~down_q);
      end
    end

    assign sum_o = {neg, sum_q[SumBits-2:0]};
  end

endmodule

`default_nettype wire
