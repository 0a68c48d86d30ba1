// SPDX-License-Identifier: Apache-2.0
/// Add a bias to an accumulator, in no more bits than what follows can tell apart:
///
///   over_o = 0:  {sum_o, low bits} = acc_i - minus_i, tie_o: all Drop low bits are 0
///   over_o = 1:  acc_i - minus_i does not fit SumBits, and has the sign of sum_o
///
/// The bias comes negated: then the low bits are 0 where those of both operands are equal, which
/// is what makes a carry run through a subtractor.  Of the Drop low bits only the carry and that
/// are wanted, so two of them share a position of the chain.
///
/// Without Split, SumBits holds every sum and over_o is 0.  With Split the K = SumBits - 1 low bits
/// are added, and the high part T of the accumulator only ever changes by d = -1, 0 or 1, so its
/// adder shrinks to a test: the sum fits when T + d is 0 or -1.  That takes T's lowest bit and
/// whether its other bits are all equal.
///
/// Latency 1, initiation interval 1.  Exact.  Equals Python's `-`, clamped to SumBits where over_o.
`default_nettype none

module hq_bias #(
  parameter int unsigned AccBits = 24,  // width of acc_i, two's complement
  parameter int unsigned BiasBits = 12,  // width of minus_i, two's complement
  parameter int unsigned SumBits = 25,  // width of the difference, two's complement
  parameter int unsigned Drop = 0,  // low bits that are not in sum_o
  parameter bit Split = 1'b0  // SumBits does not hold every sum
) (
  input  logic clk_i,
  input  logic en_i,
  input  logic [AccBits-1:0] acc_i,
  input  logic [BiasBits-1:0] minus_i,
  output logic [SumBits-Drop-1:0] sum_o,
  output logic tie_o,
  output logic over_o
);

  localparam bit BadAccBits = AccBits < 1 || AccBits > 4096;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_bias: AccBits must be 1..4096");
  end
  localparam bit BadBiasBits = BiasBits < 1 || BiasBits > 4096;
  if (BadBiasBits) begin : gen_bad_bias_bits
    $error("hq_bias: BiasBits must be 1..4096");
  end
  localparam bit BadSumBits = SumBits < 1 || SumBits > 4096;
  if (BadSumBits) begin : gen_bad_sum_bits
    $error("hq_bias: SumBits must be 1..4096");
  end
  localparam bit BadBias = SumBits < BiasBits;
  if (BadBias) begin : gen_bad_bias
    $error("hq_bias: SumBits must be BiasBits or more");
  end
  localparam bit BadDrop = Drop >= SumBits;
  if (BadDrop) begin : gen_bad_drop
    $error("hq_bias: Drop must be 0..SumBits-1");
  end
  localparam bit BadSplit = Split && AccBits < SumBits + 1;
  if (BadSplit) begin : gen_bad_split
    $error("hq_bias: Split must be 0 unless AccBits is SumBits+1 or more");
  end
  localparam bit BadSum = !Split && SumBits < AccBits;
  if (BadSum) begin : gen_bad_sum
    $error("hq_bias: SumBits must be AccBits or more without Split");
  end
  localparam bit Legal =
      !(BadAccBits || BadBiasBits || BadSumBits || BadBias || BadDrop || BadSplit || BadSum);

  localparam int unsigned Pairs = (Drop + 1) / 2;  // positions for the low bits
  localparam int unsigned KeptBits = SumBits - Drop;

  logic [SumBits-1:0] left;
  logic [SumBits-1:0] right;
  logic [Pairs+KeptBits-1:0] chain_left;
  logic [Pairs+KeptBits-1:0] chain_right;
  logic [Pairs+KeptBits-1:0] chain_d;
  logic [Pairs:0] equal;  // so far from below
  logic [KeptBits-1:0] sum_q;

  assign right = SumBits'($signed(minus_i));
  assign chain_left[Pairs+:KeptBits] = left[SumBits-1:Drop];
  assign chain_right[Pairs+:KeptBits] = right[SumBits-1:Drop];
  assign equal[0] = 1'b1;

  for (genvar k = 0; Legal && k < Pairs; k++) begin : gen_pair
    localparam int unsigned Bits = 2 * k + 1 < Drop ? 2 : 1;
    logic [Bits-1:0] a;
    logic [Bits-1:0] b;
    logic same;

    // A borrow passes where they are equal, else it depends on which is larger.
    assign a = left[2*k+:Bits];
    assign b = right[2*k+:Bits];
    assign same = a == b;
    assign chain_left[k] = a > b;
    assign chain_right[k] = a < b;
    assign equal[k+1] = equal[k] & same;
  end

  assign chain_d = chain_left - chain_right;

  if (Pairs > 0) begin : gen_unused
    logic unused_low;
    assign unused_low = ^chain_d[Pairs-1:0];
  end

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      sum_q <= chain_d[Pairs+:KeptBits];
      tie_o <= equal[Pairs];
    end
  end

  if (!Split) begin : gen_whole
    assign left = SumBits'($signed(acc_i));
    assign sum_o = sum_q;
    assign over_o = 1'b0;
  end else begin : gen_split
    logic down_q;  // minus_i is not negative: d is 0 or -1, else 0 or 1
    logic moved;  // d is not 0
    logic low_q;  // T's lowest bit
    logic sign_q;
    logic plain_q;  // T's other bits are all equal to its sign
    logic neg;

    assign left = {1'b0, acc_i[SumBits-2:0]};
    assign moved = sum_q[KeptBits-1];

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        down_q <= ~minus_i[BiasBits-1];
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

    if (KeptBits > 1) begin : gen_body
      assign sum_o = {neg, sum_q[KeptBits-2:0]};
    end else begin : gen_sign
      assign sum_o = neg;
    end
  end

endmodule

`default_nettype wire
