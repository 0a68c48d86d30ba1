// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel of Lanes products a beat, summed by registered ternary adders:
///
///   acc = (clear ? 0 : acc) + sum over lanes of weight * act
///
/// Products with signs of their own are added in pairs with both signs folded into one binary
/// adder (hq_fold); two's complement products enter as they are.  All operands become unsigned by
/// an inverted top bit.  Of Operands operands of Width bits, an odd number goes through a tree of
/// ternary adders (hq_tree_sum); the accumulator itself is a ternary adder and takes the tree's sum
/// and either the operand left over or nothing, and the constant that takes back what the inverted
/// bits added.  Above the sum's width it only counts up and down (hq_updown).
///
/// Latency 3 + levels of the tree (operands, products, levels, accumulator), initiation interval
/// 1.  Exact; wraps modulo 2**AccBits.  Equals hwquant.mac.MacSpec.accumulate beat for beat.
`default_nettype none

module hq_tree_mac #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Lanes = 8,  // products per beat
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter int unsigned WeightExpBits = 2,  // weight exponent field width, 0 for none
  parameter bit WeightTwos = 1'b0,  // weight is two's complement
  parameter bit WeightFlip = 1'b1,  // weight has a sign bit on top of a magnitude
  parameter int unsigned ActBits = 4,  // activation code width
  parameter int unsigned ActExpBits = 2,  // activation exponent field width, 0 for none
  parameter bit ActTwos = 1'b0,  // activation is two's complement
  parameter bit ActFlip = 1'b1,  // activation has a sign bit on top of a magnitude
  parameter bit RecodeAct = 1'b0,  // recode the activation's significand instead of the weight's
  parameter int unsigned ProductBits = 8,  // width of a lane's product, without a sign apart
  parameter int unsigned Levels = 1,  // of the tree, see hw.styles.tree
  parameter int unsigned AccBits = 20  // accumulator width
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic [Lanes-1:0][WeightBits-1:0] weight_i,
  input  logic [Lanes-1:0][ActBits-1:0] act_i,
  output logic valid_o,
  output logic [AccBits-1:0] acc_o
);

  localparam bit Flip = WeightFlip || ActFlip;
  localparam bit Twos = WeightTwos || ActTwos;
  localparam int unsigned FoldBits = ProductBits + (Twos ? 0 : 1);  // with a sign on top
  localparam int unsigned Width = Flip ? FoldBits + 1 : ProductBits;  // of an operand
  localparam int unsigned Pairs = (Lanes + 1) / 2;
  localparam int unsigned Operands = Lanes < 1 ? 1 : Flip ? Pairs : Lanes;
  localparam bit Spare = Operands % 2 == 0;  // an operand goes straight to the accumulator
  localparam int unsigned Count = Spare ? Operands - 1 : Operands;
  localparam int unsigned SumBits = Width + $clog2(Count);
  localparam bit Signed = Flip || Twos;
  localparam bit InvTop = Twos && !Flip;

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_tree_mac: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_tree_mac: ActBits must be 1..8");
  end
  localparam bit BadWeightExpBits = WeightExpBits > 7;
  if (BadWeightExpBits) begin : gen_bad_weight_exp_bits
    $error("hq_tree_mac: WeightExpBits must be 0..7");
  end
  localparam bit BadActExpBits = ActExpBits > 7;
  if (BadActExpBits) begin : gen_bad_act_exp_bits
    $error("hq_tree_mac: ActExpBits must be 0..7");
  end
  localparam bit BadLanes = Lanes < 1 || Lanes > 4096;
  if (BadLanes) begin : gen_bad_lanes
    $error("hq_tree_mac: Lanes must be 1..4096");
  end
  localparam bit BadProduct = ProductBits < 2 || ProductBits > 480;
  if (BadProduct) begin : gen_bad_product
    $error("hq_tree_mac: ProductBits must be 2..480");
  end
  localparam bit BadAcc = AccBits < 2 || AccBits > 1024;
  if (BadAcc) begin : gen_bad_acc
    $error("hq_tree_mac: AccBits must be 2..1024");
  end

  localparam int unsigned Needed = 32'(Count > 1) + 32'(Count > 3) + 32'(Count > 9) + 32'(Count > 27)
        + 32'(Count > 81) + 32'(Count > 243) + 32'(Count > 729) + 32'(Count > 2187);  // log3, rounded up

  localparam bit BadLevels = Levels != Needed;
  if (BadLevels) begin : gen_bad_levels
    $error("hq_tree_mac: Levels must be log3 of the operands in the tree, rounded up");
  end
  localparam bit Legal =
      !(BadWeightBits || BadActBits || BadWeightExpBits || BadActExpBits || BadLanes ||
      BadProduct || BadAcc || BadLevels);

  logic [Lanes-1:0][WeightBits-1:0] weight_q;
  logic [Lanes-1:0][ActBits-1:0] act_q;
  logic [2*((Lanes+1)/2)-1:0][ProductBits-1:0] product;
  logic [2*((Lanes+1)/2)-1:0] neg;
  logic [Operands-1:0][Width-1:0] term_d;
  logic [Operands-1:0][Width-1:0] term_q;
  logic [Operands-1:0] late_d;  // a bit to be added to each operand
  logic [Operands-1:0] late_q;
  logic [SumBits-1:0] sum;
  logic [Width-1:0] spare;
  logic [1:0] low;

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      weight_q <= weight_i;
      act_q <= act_i;
      term_q <= term_d;
      late_q <= late_d;
    end
  end

  for (genvar lane = 0; Legal && lane < Lanes; lane++) begin : gen_lane
    hq_tree_lane #(
      .Primitive(Primitive),
      .WeightBits(WeightBits),
      .WeightExpBits(WeightExpBits),
      .WeightTwos(WeightTwos),
      .WeightFlip(WeightFlip),
      .ActBits(ActBits),
      .ActExpBits(ActExpBits),
      .ActTwos(ActTwos),
      .ActFlip(ActFlip),
      .RecodeAct(RecodeAct),
      .ProductBits(ProductBits)
    ) u_lane (
      .weight_i(weight_q[lane]),
      .act_i(act_q[lane]),
      .neg_o(neg[lane]),
      .product_o(product[lane])
    );
  end

  if (Lanes % 2 == 1) begin : gen_no_partner
    assign product[Lanes] = '0;
    assign neg[Lanes] = 1'b0;
  end

  if (Flip) begin : gen_fold
    for (genvar k = 0; Legal && k < Operands; k++) begin : gen_pair
      logic [FoldBits-1:0] a;
      logic [FoldBits-1:0] b;

      if (Twos) begin : gen_signed
        assign a = product[2*k];
        assign b = product[2*k+1];
      end else begin : gen_magnitude
        assign a = {1'b0, product[2*k]};
        assign b = {1'b0, product[2*k+1]};
      end

      hq_fold #(
        .Primitive(Primitive),
        .Width(FoldBits)
      ) u_fold (
        .a_i(a),
        .b_i(b),
        .neg_i(neg[2*k+:2]),
        .sum_o(term_d[k])
      );

      assign late_d[k] = neg[2*k+1];
    end
  end else begin : gen_plain
    assign term_d = product[Lanes-1:0];
    assign late_d = '0;

    logic unused_neg;
    assign unused_neg = ^{neg, product};
  end

  hq_tree_sum #(
    .Primitive(Primitive),
    .Count(Legal ? Count : 1),
    .Width(Width),
    .InvTop(InvTop)
  ) u_sum (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .term_i(term_q[Count-1:0]),
    .carry_i(late_q[Count-1:0]),
    .sum_o(sum),
    .carry_o(low[0])
  );

  if (Spare) begin : gen_spare
    hq_delay #(
      .Stages(Levels),
      .Width(Width + 1)
    ) u_spare (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .en_i(en_i),
      .in_i({late_q[Operands-1], term_q[Operands-1]}),
      .out_o({low[1], spare})
    );
  end else begin : gen_no_spare
    assign spare = '0;
    assign low[1] = 1'b0;
  end

  hq_tree_acc #(
    .Primitive(Primitive),
    .Levels(Levels),
    .Operands(Operands),
    .Width(Width),
    .SumBits(SumBits),
    .Signed(Signed),
    .InvSum(InvTop && Count == 1),
    .InvSpare(InvTop && Spare),
    .AccBits(AccBits)
  ) u_acc (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .valid_i(valid_i),
    .clear_i(clear_i),
    .sum_i(sum),
    .spare_i(spare),
    .low_i(low),
    .valid_o(valid_o),
    .acc_o(acc_o)
  );

endmodule

`default_nettype wire
