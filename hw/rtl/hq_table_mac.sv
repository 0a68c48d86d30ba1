// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel of one lane whose product is a few tables, the last of them inside
/// the accumulator:
///
///   net     1 | act | weight | Codes computed nets       (index 0 is the constant 0)
///   code k  = CodeInit[k] (six nets)                     one LUT6 each
///   sel i   = acc[i] ^ BitInit[i] (five nets)            the LUT in front of carry position i
///
/// Any addend bit that is a function of five nets or fewer is absorbed: it costs nothing beyond
/// the accumulator's own LUT.  Which nets, and which functions, is worked out from the formats by
/// hw.styles.table, which also proves that tables and picks give the product.
///
/// Latency 2 (operand registers, accumulator register), initiation interval 1.  Exact; wraps.
/// Equals hwquant.mac.MacSpec.accumulate beat for beat.
`default_nettype none

module hq_table_mac #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned WeightBits = 3,  // weight code width
  parameter int unsigned ActBits = 3,  // activation code width
  parameter int unsigned Codes = 1,  // computed nets
  parameter int unsigned LowBits = 4,  // addend bits below its sign
  parameter int unsigned AccBits = 13,  // accumulator width
  parameter logic [64*Codes-1:0] CodeInit = 64'hFF00FF0000FF00FF,  // their truth tables
  parameter logic [30*Codes-1:0] CodePick = 30'h0,  // their inputs: six nets each, five bits a net
  parameter logic [32*LowBits-1:0] BitInit = 128'h0,  // truth table of each addend bit
  parameter logic [25*LowBits-1:0] BitPick = 100'h0,  // its inputs: five nets, five bits a net
  parameter int unsigned CarryPick = 0,  // net added at bit 0
  parameter int unsigned SignPick = 0  // net subtracted at bit LowBits
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

  localparam int unsigned Nets = 1 + ActBits + WeightBits + Codes;

  localparam bit BadLowBits = LowBits < 1 || LowBits > 64;
  if (BadLowBits) begin : gen_bad_low_bits
    $error("hq_table_mac: LowBits must be 1..64");
  end
  localparam bit BadAccBits = AccBits < 2 || AccBits > 1024;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_table_mac: AccBits must be 2..1024");
  end
  localparam bit BadWeight = WeightBits < 1 || WeightBits > 8;
  if (BadWeight) begin : gen_bad_weight
    $error("hq_table_mac: WeightBits must be 1..8");
  end
  localparam bit BadAct = ActBits < 1 || ActBits > 8;
  if (BadAct) begin : gen_bad_act
    $error("hq_table_mac: ActBits must be 1..8");
  end
  localparam bit BadCodes = Codes < 1 || Codes > 32 || Nets > 32;
  if (BadCodes) begin : gen_bad_codes
    $error("hq_table_mac: Codes must be 1 or more, with at most 32 nets in all");
  end
  localparam bit BadPick = CarryPick >= Nets || SignPick >= Nets;
  if (BadPick) begin : gen_bad_pick
    $error("hq_table_mac: CarryPick and SignPick must be below the number of nets");
  end
  localparam bit Legal = !(BadLowBits || BadAccBits || BadWeight || BadAct || BadCodes || BadPick);

  logic [WeightBits-1:0] weight_q;
  logic [ActBits-1:0] act_q;
  logic [Codes-1:0] code;
  logic [Nets-1:0] net;
  logic [LowBits-1:0] sel;
  logic [LowBits-1:0] acc;

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      weight_q <= weight_i;
      act_q <= act_i;
    end
  end

  assign net = {code, weight_q, act_q, 1'b0};

  for (genvar k = 0; Legal && k < Codes; k++) begin : gen_code
    logic [5:0] in;

    for (genvar j = 0; Legal && j < 6; j++) begin : gen_in
      localparam int unsigned Pick = 32'(CodePick[30*k+5*j+:5]);
      assign in[j] = net[Pick];
    end

    hq_lut #(
      .Primitive(Primitive),
      .Init(CodeInit[64*k+:64])
    ) u_code (
      .in_i(in),
      .out_o(code[k])
    );
  end

  for (genvar i = 0; Legal && i < LowBits; i++) begin : gen_bit
    logic [4:0] in;

    for (genvar j = 0; Legal && j < 5; j++) begin : gen_in
      localparam int unsigned Pick = 32'(BitPick[25*i+5*j+:5]);
      assign in[j] = net[Pick];
    end

    hq_lut #(
      .Primitive(Primitive),
      .Init({~BitInit[32*i+:32], BitInit[32*i+:32]})
    ) u_sel (
      .in_i({acc[i], in}),
      .out_o(sel[i])
    );
  end

  hq_tally #(
    .Primitive(Primitive),
    .LowBits(LowBits),
    .AccBits(AccBits)
  ) u_tally (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .valid_i(valid_i),
    .clear_i(clear_i),
    .sel_i(sel),
    .carry_i(net[CarryPick]),
    .sign_i(net[SignPick]),
    .acc_low_o(acc),
    .valid_o(valid_o),
    .acc_o(acc_o)
  );

endmodule

`default_nettype wire
