// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel of one or two lanes: products in LUTs (hq_tree_lane), everything
/// that is added in one DSP slice:
///
///   acc_o = (clear_i ? 0 : acc) + sum over lanes of weight_i * act_i
///         = start + s0 * (x0 + s0 * s1 * x1)      s of lane 0 to the slice, which subtracts
///
/// The second lane's product is negated where the signs differ: by its complement and the slice's
/// carry in.
///
/// Latency 3 (code, product and accumulator registers), initiation interval 1.  Exact; wraps.
/// Equals hwquant.mac.MacSpec.accumulate beat for beat.
`default_nettype none

module hq_dsp_acc_mac #(
  parameter bit Primitive = 1'b0,  // instantiate the device's cells
  parameter int unsigned Lanes = 1,  // products per beat
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter int unsigned WeightExpBits = 2,  // weight exponent field width, 0 for none
  parameter bit WeightTwos = 1'b0,  // weight is two's complement
  parameter bit WeightFlip = 1'b1,  // weight has a sign bit on top of a magnitude
  parameter int unsigned ActBits = 4,  // activation code width
  parameter int unsigned ActExpBits = 2,  // activation exponent field width, 0 for none
  parameter bit ActTwos = 1'b0,  // activation is two's complement
  parameter bit ActFlip = 1'b1,  // activation has a sign bit on top of a magnitude
  parameter bit RecodeAct = 1'b0,  // recode the activation's significand instead of the weight's
  parameter int unsigned ProductBits = 8,  // width of a product, its sign apart
  parameter int unsigned AccBits = 17  // accumulator width
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

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_dsp_acc_mac: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_dsp_acc_mac: ActBits must be 1..8");
  end
  localparam bit BadWeightExpBits = WeightExpBits > 7;
  if (BadWeightExpBits) begin : gen_bad_weight_exp_bits
    $error("hq_dsp_acc_mac: WeightExpBits must be 0..7");
  end
  localparam bit BadActExpBits = ActExpBits > 7;
  if (BadActExpBits) begin : gen_bad_act_exp_bits
    $error("hq_dsp_acc_mac: ActExpBits must be 0..7");
  end
  localparam bit BadLanes = Lanes < 1 || Lanes > 2;
  if (BadLanes) begin : gen_bad_lanes
    $error("hq_dsp_acc_mac: Lanes must be 1..2");
  end
  localparam bit BadAcc = AccBits < 2 || AccBits > 48;
  if (BadAcc) begin : gen_bad_acc
    $error("hq_dsp_acc_mac: AccBits must be 2..48");
  end
  localparam bit BadProduct = ProductBits < 2 || ProductBits > 47;
  if (BadProduct) begin : gen_bad_product
    $error("hq_dsp_acc_mac: ProductBits must be 2..47");
  end
  localparam bit Legal =
      !(BadWeightBits || BadActBits || BadWeightExpBits || BadActExpBits || BadLanes || BadAcc ||
      BadProduct);

  localparam bit Twos = WeightTwos || ActTwos;

  logic [Lanes-1:0][WeightBits-1:0] weight_q;
  logic [Lanes-1:0][ActBits-1:0] act_q;
  logic [Lanes-1:0][AccBits-1:0] product;
  logic [Lanes-1:0] neg;
  logic [AccBits-1:0] second;
  logic [2:0] valid_q;
  logic clear_q;
  logic take;
  logic differ;

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      weight_q <= weight_i;
      act_q <= act_i;
      clear_q <= clear_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else if (en_i) valid_q <= {valid_q[1:0], valid_i};
  end

  assign take = en_i && valid_q[1];
  assign valid_o = valid_q[2];

  for (genvar lane = 0; Legal && lane < Lanes; lane++) begin : gen_lane
    logic [ProductBits-1:0] narrow;

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
      .product_o(narrow)
    );

    if (AccBits <= ProductBits) begin : gen_short
      assign product[lane] = narrow[AccBits-1:0];

      if (AccBits < ProductBits) begin : gen_above
        logic unused_above;  // a sum modulo 2**AccBits does not depend on the bits above
        assign unused_above = ^narrow[ProductBits-1:AccBits];
      end
    end else begin : gen_long
      assign product[lane] = {{AccBits - ProductBits{Twos && narrow[ProductBits-1]}}, narrow};
    end
  end

  if (Lanes == 2) begin : gen_second
    assign differ = neg[0] ^ neg[1];
    assign second = product[1] ^ {AccBits{differ}};
  end else begin : gen_one
    assign differ = 1'b0;
    assign second = '0;
  end

  hq_dsp_add #(
    .Primitive(Primitive),
    .Bits(AccBits)
  ) u_add (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .x_i(product[0]),
    .y_i(second),
    .carry_i(differ),
    .neg_i(neg[0]),
    .restart_i(clear_q),
    .take_i(take),
    .p_o(acc_o)
  );

endmodule

`default_nettype wire
