// SPDX-License-Identifier: Apache-2.0
/// Multiply-accumulate kernel of one lane for a codebook of at most three bits beside its sign by an
/// integer (or sign and magnitude): rows of small tables (hq_digit_rows) in front of a counting
/// accumulator (hq_tally).
///
/// With x the product of the two numbers below the sign bits and s the XOR of the sign bits:
///
///   addend = x ^ s (below the product's sign), carry in = s, bit above = sign(x) ^ s
///
/// Latency 2 (operand registers, accumulator register), initiation interval 1.  Exact; wraps.
/// Equals hwquant.mac.MacSpec.accumulate beat for beat.
`default_nettype none

module hq_digit_mac #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter bit WeightFlip = 1'b1,  // weight has a sign bit on top
  parameter int unsigned ActBits = 4,  // activation code width
  parameter bit ActFlip = 1'b0,  // activation has a sign bit on top
  parameter bit IndexAct = 1'b0,  // the activation is the codebook, else the weight
  parameter int unsigned Rows = 2,  // as in hq_digit_rows
  parameter int unsigned MaxBits = 6,
  parameter bit [8*Rows-1:0] Widths = 16'h06_05,
  parameter bit [Rows-1:0] Signs = 2'b00,
  parameter bit [32*MaxBits*Rows-1:0] Init = '0,
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
  localparam int unsigned XBits = IndexAct ? WeightWidth : ActWidth;
  localparam int unsigned Index = IndexAct ? ActWidth : WeightWidth;

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_digit_mac: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_digit_mac: ActBits must be 1..8");
  end
  localparam bit BadRows = Rows < 1 || Rows > 13;
  if (BadRows) begin : gen_bad_rows
    $error("hq_digit_mac: Rows must be 1..13");
  end
  localparam bit BadMaxBits = MaxBits < 2 || MaxBits > 52;
  if (BadMaxBits) begin : gen_bad_max_bits
    $error("hq_digit_mac: MaxBits must be 2..52");
  end
  localparam bit BadAccBits = AccBits < 2 || AccBits > 1024;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_digit_mac: AccBits must be 2..1024");
  end
  localparam bit BadIndex = Index < 1 || Index > 3;
  if (BadIndex) begin : gen_bad_index
    $error("hq_digit_mac: the codebook's WeightBits or ActBits must be 1..3, less the sign bit");
  end
  localparam bit Legal =
      !(BadWeightBits || BadActBits || BadRows || BadMaxBits || BadAccBits || BadIndex);

  localparam int unsigned Bits = Legal ? 2 * (Rows - 1) + 32'(Widths[8*(Rows-1)+:8]) : 1;
  localparam int unsigned LowBits = Legal ? Bits - (Signs[Rows-1] ? 1 : 0) : 1;

  // Inputs of the tables, as the truth tables of their own projections.
  localparam logic [63:0] Acc = 64'hAAAA_AAAA_AAAA_AAAA;
  localparam logic [63:0] Neg = 64'hCCCC_CCCC_CCCC_CCCC;
  localparam logic [63:0] Product = 64'hF0F0_F0F0_F0F0_F0F0;

  logic [WeightBits-1:0] weight_q;
  logic [ActBits-1:0] act_q;
  logic [2:0] index;
  logic [XBits-1:0] x;
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

  if (IndexAct) begin : gen_index_act
    assign index = 3'(act_q[ActWidth-1:0]);
    assign x = weight_q[WeightWidth-1:0];
  end else begin : gen_index_weight
    assign index = 3'(weight_q[WeightWidth-1:0]);
    assign x = act_q[ActWidth-1:0];
  end

  assign neg = (WeightFlip && weight_q[WeightBits-1]) ^ (ActFlip && act_q[ActBits-1]);
  assign sign = neg ^ (Signs[Rows-1] && product[Bits-1]);

  hq_digit_rows #(
    .Primitive(Primitive),
    .XBits(XBits),
    .Rows(Rows),
    .MaxBits(MaxBits),
    .Widths(Widths),
    .Signs(Signs),
    .Init(Init)
  ) u_product (
    .index_i(index),
    .x_i(x),
    .product_o(product)
  );

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
