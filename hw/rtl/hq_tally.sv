// SPDX-License-Identifier: Apache-2.0
/// Accumulator whose low adder is fed by look-up tables of the kernel around it:
///
///   acc = (the last beat was followed by clear ? 0 : acc) + addend + carry_i - sign_i * 2**LowBits
///
/// sel_i is acc_low_o ^ addend, made by LUTs that may hold the last stage of the
/// product; a product -x enters as ~x with carry_i = sign_i = 1.  Above LowBits the accumulator
/// only counts up and down (hq_updown), so its price is LowBits + 2/3 of a site for every bit
/// above.  Wraps modulo 2**AccBits.
///
/// clear_i comes with valid_i, one cycle ahead of the beat's addend: it is the registers'
/// synchronous reset.  Reset and enable of the registers are one LUT6 site.
/// Latency 2 from valid_i, initiation interval 1.  Exact.  Equals hwquant.mac.MacSpec.accumulate.
`default_nettype none

module hq_tally #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned LowBits = 8,  // width of the addend without its sign
  parameter int unsigned AccBits = 16  // accumulator width
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic [LowBits-1:0] sel_i,
  input  logic carry_i,
  input  logic sign_i,
  output logic [LowBits-1:0] acc_low_o,
  output logic valid_o,
  output logic [AccBits-1:0] acc_o
);

  if (LowBits < 1 || LowBits > 1024) begin : gen_bad_low
    $error("hq_tally: LowBits must be 1..1024");
  end
  if (AccBits < LowBits || AccBits > 1024) begin : gen_bad_acc
    $error("hq_tally: AccBits must be LowBits..1024");
  end

  // Inputs of the control tables, as the truth tables of their own projections.
  localparam logic [31:0] Rst = 32'hAAAA_AAAA;
  localparam logic [31:0] En = 32'hCCCC_CCCC;
  localparam logic [31:0] Valid = 32'hF0F0_F0F0;
  localparam logic [31:0] Clear = 32'hFF00_FF00;
  localparam logic [31:0] Held = 32'hFFFF_0000;

  logic [AccBits-1:0] acc_d;
  logic [AccBits-1:0] acc_q;
  logic valid_q;
  logic restart;
  logic update;
  logic carry;

  hq_lut_pair #(
    .Primitive(Primitive),
    .InitA(Rst | (En & Valid & Clear)),
    .InitB(En & Held)
  ) u_control (
    .in_i({valid_q, clear_i, valid_i, en_i, rst_i}),
    .a_o(restart),
    .b_o(update)
  );

  hq_chain #(
    .Primitive(Primitive),
    .Width(LowBits)
  ) u_low (
    .carry_i(carry_i),
    .s_i(sel_i),
    .di_i(acc_q[LowBits-1:0]),
    .sum_o(acc_d[LowBits-1:0]),
    .carry_o(carry)
  );

  if (AccBits > LowBits) begin : gen_high
    hq_updown #(
      .Primitive(Primitive),
      .Width(AccBits - LowBits)
    ) u_high (
      .count_i(acc_q[AccBits-1:LowBits]),
      .up_i(carry),
      .down_i(sign_i),
      .next_o(acc_d[AccBits-1:LowBits])
    );
  end else begin : gen_no_high
    logic unused_high;
    assign unused_high = ^{carry, sign_i};
  end

  always_ff @(posedge clk_i) begin
    if (restart) acc_q <= '0;
    else if (update) acc_q <= acc_d;
  end

  always_ff @(posedge clk_i) begin
    if (update) acc_o <= acc_d;
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= 1'b0;
    else if (en_i) valid_q <= valid_i;
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_o <= 1'b0;
    else if (en_i) valid_o <= valid_q;
  end

  assign acc_low_o = acc_q[LowBits-1:0];

endmodule

`default_nettype wire
