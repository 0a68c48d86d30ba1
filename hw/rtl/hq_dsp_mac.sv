// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel of one lane in one DSP slice, multiplier and accumulator:
///
///   acc_o = (clear_i ? 0 : acc) + weight_i * act_i
///
/// Integers go to the multiplier as they are.  Minifloats go as magnitudes, decoded in LUTs; their
/// sign tells the slice to subtract.  acc is the slice's own register and holds the last sum.
///
/// Latency 3 (operand, product and accumulator registers of the slice), one more where there is
/// something to decode (code registers); initiation interval 1.  Exact; wraps.
/// Equals hwquant.mac.MacSpec.accumulate beat for beat.
`default_nettype none

module hq_dsp_mac #(
  parameter bit Primitive = 1'b0,  // instantiate the device's cell
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter bit WeightFloat = 1'b1,  // weight is a minifloat
  parameter bit WeightSigned = 1'b1,  // weight has a sign
  parameter int unsigned WeightExpBits = 2,  // weight exponent field width
  parameter int unsigned WeightWidth = 5,  // width of a weight as a number
  parameter int unsigned ActBits = 4,  // activation code width
  parameter bit ActFloat = 1'b1,  // activation is a minifloat
  parameter bit ActSigned = 1'b1,  // activation has a sign
  parameter int unsigned ActExpBits = 2,  // activation exponent field width
  parameter int unsigned ActWidth = 5,  // width of an activation as a number
  parameter bit ActWide = 1'b0,  // the activation has the 27-bit port, else the weight
  parameter bit Decode = 1'b1,  // code registers in front of the decoders
  parameter int unsigned AccBits = 17  // accumulator width
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic [WeightBits-1:0] weight_i,
  input  logic [ActBits-1:0] act_i,
  output logic valid_o,
  output logic [AccBits-1:0] acc_o
);

  if (WeightBits < 1 || WeightBits > 8) begin : gen_bad_weight_bits
    $error("hq_dsp_mac: WeightBits must be 1..8");
  end
  if (ActBits < 1 || ActBits > 8) begin : gen_bad_act_bits
    $error("hq_dsp_mac: ActBits must be 1..8");
  end
  if (WeightExpBits > 7) begin : gen_bad_weight_exp_bits
    $error("hq_dsp_mac: WeightExpBits must be 0..7");
  end
  if (ActExpBits > 7) begin : gen_bad_act_exp_bits
    $error("hq_dsp_mac: ActExpBits must be 0..7");
  end
  if (WeightWidth < 1 || WeightWidth > 27) begin : gen_bad_weight_width
    $error("hq_dsp_mac: WeightWidth must be 1..27");
  end
  if (ActWidth < 1 || ActWidth > 27) begin : gen_bad_act_width
    $error("hq_dsp_mac: ActWidth must be 1..27");
  end
  if (AccBits < 2 || AccBits > 48) begin : gen_bad_acc
    $error("hq_dsp_mac: AccBits must be 2..48");
  end

  localparam int unsigned ABits = ActWide ? ActWidth : WeightWidth;
  localparam int unsigned BBits = ActWide ? WeightWidth : ActWidth;
  localparam int unsigned Wait = Decode ? 1 : 0;
  localparam bit HasSign = (WeightFloat && WeightSigned) || (ActFloat && ActSigned);

  logic [WeightBits-1:0] weight_code;
  logic [ActBits-1:0] act_code;
  logic [WeightWidth-1:0] weight;
  logic [ActWidth-1:0] act;
  logic [ABits-1:0] a;
  logic [BBits-1:0] b;
  logic weight_neg;
  logic act_neg;
  logic neg;
  logic [2+Wait:0] valid_q;
  logic [Wait:0] restart_q;
  logic take;

  if (Decode) begin : gen_codes
    always_ff @(posedge clk_i) begin
      if (en_i) begin
        weight_code <= weight_i;
        act_code <= act_i;
      end
    end
  end else begin : gen_direct
    assign weight_code = weight_i;
    assign act_code = act_i;
  end

  hq_dsp_operand #(
    .Bits(WeightBits),
    .Float(WeightFloat),
    .Signed(WeightSigned),
    .ExpBits(WeightExpBits),
    .OutBits(WeightWidth)
  ) u_weight (
    .code_i(weight_code),
    .neg_o(weight_neg),
    .value_o(weight)
  );

  hq_dsp_operand #(
    .Bits(ActBits),
    .Float(ActFloat),
    .Signed(ActSigned),
    .ExpBits(ActExpBits),
    .OutBits(ActWidth)
  ) u_act (
    .code_i(act_code),
    .neg_o(act_neg),
    .value_o(act)
  );

  if (HasSign) begin : gen_sign
    logic neg_q;

    always_ff @(posedge clk_i) begin
      if (en_i) neg_q <= weight_neg ^ act_neg;
    end

    assign neg = neg_q;
  end else begin : gen_no_sign
    logic unused_neg;
    assign unused_neg = weight_neg ^ act_neg;
    assign neg = 1'b0;
  end

  if (ActWide) begin : gen_act_wide
    assign a = act;
    assign b = weight;
  end else begin : gen_weight_wide
    assign a = weight;
    assign b = act;
  end

  // What travels along: a beat's restart reaches the slice with the operand registers' outputs.
  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else if (en_i) valid_q <= {valid_q[1+Wait:0], valid_i};
  end

  if (Decode) begin : gen_restart_later
    always_ff @(posedge clk_i) begin
      if (en_i) restart_q <= {restart_q[0], clear_i};
    end
  end else begin : gen_restart
    always_ff @(posedge clk_i) begin
      if (en_i) restart_q <= clear_i;
    end
  end

  assign take = en_i && valid_q[1+Wait];
  assign valid_o = valid_q[2+Wait];

  hq_dsp_mul #(
    .Primitive(Primitive),
    .Stages(1),
    .PreSub(1'b0),
    .ABits(ABits),
    .BBits(BBits),
    .PBits(AccBits)
  ) u_mul (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .a_i(a),
    .h_i(ABits'(0)),
    .b_i(b),
    .neg_i(neg),
    .restart_i(restart_q[Wait]),
    .take_i(take),
    .p_o(acc_o)
  );

endmodule

`default_nettype wire
