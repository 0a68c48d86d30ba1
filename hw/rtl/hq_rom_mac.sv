// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel of one lane for any two formats of at most eight bits together beside
/// their signs: the product is a table of both codes, in front of a counting accumulator (hq_tally).
///
/// With x the product of the two numbers below the sign bits and s the XOR of the sign bits:
///
///   addend = x ^ s (below the product's sign), carry in = s, bit above = sign(x) ^ s
///
/// Latency 2 (operand registers, accumulator register), initiation interval 1.  Exact; wraps.
/// Equals hwquant.mac.MacSpec.accumulate beat for beat.
`default_nettype none

module hq_rom_mac #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter bit WeightFlip = 1'b1,  // weight has a sign bit on top
  parameter int unsigned ActBits = 4,  // activation code width
  parameter bit ActFlip = 1'b0,  // activation has a sign bit on top
  parameter int unsigned Bits = 9,  // of the product of the two numbers below the sign bits
  parameter bit ProductSigned = 1'b0,  // it is two's complement
  localparam int unsigned Inputs =
      WeightBits - (WeightFlip ? 1 : 0) + ActBits - (ActFlip ? 1 : 0),
  parameter bit [(1<<Inputs)*Bits-1:0] Words = '0,  // the table; index {weight, act}
  parameter int unsigned AccBits = 16  // accumulator width
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

  localparam int unsigned WeightWidth = WeightBits - (WeightFlip ? 1 : 0);
  localparam int unsigned ActWidth = ActBits - (ActFlip ? 1 : 0);
  localparam int unsigned LowBits = Bits - (ProductSigned ? 1 : 0);
  localparam int unsigned Depth = 1 << Inputs;

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_rom_mac: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_rom_mac: ActBits must be 1..8");
  end
  localparam bit BadAccBits = AccBits < 2 || AccBits > 1024;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_rom_mac: AccBits must be 2..1024");
  end
  localparam bit BadInputs = Inputs < 2 || Inputs > 8;
  if (BadInputs) begin : gen_bad_inputs
    $error("hq_rom_mac: WeightBits and ActBits must be 2..8 together, less the sign bits");
  end
  localparam bit BadBits = Bits < 2 || Bits > 50;
  if (BadBits) begin : gen_bad_bits
    $error("hq_rom_mac: Bits must be 2..50");
  end
  localparam bit Legal = !(BadWeightBits || BadActBits || BadAccBits || BadInputs || BadBits);

  // Inputs of the tables, as the truth tables of their own projections.
  localparam logic [63:0] Acc = 64'hAAAA_AAAA_AAAA_AAAA;
  localparam logic [63:0] Neg = 64'hCCCC_CCCC_CCCC_CCCC;
  localparam logic [63:0] Product = 64'hF0F0_F0F0_F0F0_F0F0;

  logic [WeightBits-1:0] weight_q;
  logic [ActBits-1:0] act_q;
  logic [Inputs-1:0] index;
  logic [Bits-1:0] product;
  logic [LowBits-1:0] sel;
  logic [LowBits-1:0] acc;
  logic neg;
  logic sign;

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      weight_q <= weight_i;
      act_q <= act_i;
    end
  end

  assign index = {weight_q[WeightWidth-1:0], act_q[ActWidth-1:0]};
  assign neg = (WeightFlip && weight_q[WeightBits-1]) ^ (ActFlip && act_q[ActBits-1]);
  assign sign = neg ^ (ProductSigned && product[Bits-1]);

  for (genvar i = 0; Legal && i < Bits; i++) begin : gen_product
    logic [Depth-1:0] column;

    for (genvar w = 0; Legal && w < Depth; w++) begin : gen_word
      assign column[w] = Words[w*Bits+i];
    end

    assign product[i] = column[index];
  end

  for (genvar i = 0; Legal && i < LowBits; i++) begin : gen_bit
    hq_lut #(
      .Primitive(Primitive),
      .Init(Acc ^ Neg ^ Product)
    ) u_sel (
      .in_i({3'b000, product[i], neg, acc[i]}),
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
    .carry_i(neg),
    .sign_i(sign),
    .acc_low_o(acc),
    .valid_o(valid_o),
    .acc_o(acc_o)
  );

endmodule

`default_nettype wire
