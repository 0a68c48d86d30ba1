// SPDX-License-Identifier: Apache-2.0
/// Accumulate one number a beat:
///
///   acc = wrap_or_clamp((the last beat was followed by clear ? 0 : acc) + sum_i + carry_i)
///
/// Wrap is modulo 2**AccBits; Saturate clamps the exact sum to -2**(AccBits-1) .. 2**(AccBits-1)-1
/// after each beat.  clear_i comes one cycle ahead of the beat that it restarts, so that it is the
/// registers' synchronous reset instead of a gate in the adder; acc_o keeps the finished sum.
///
/// Latency 1, initiation interval 1.  Exact.  Equals hwquant.mac.MacSpec.accumulate.
`default_nettype none

module hq_acc #(
  parameter int unsigned SumBits = 9,  // width of sum_i, two's complement
  parameter int unsigned AccBits = 16,  // accumulator width
  parameter bit Saturate = 1'b0,  // clamp, else wrap
  parameter bit HasCarry = 1'b1  // carry_i is used, else it must be 0
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic clear_i,
  input  logic valid_i,
  input  logic [SumBits-1:0] sum_i,
  input  logic carry_i,
  output logic valid_o,
  output logic [AccBits-1:0] acc_o
);

  if (SumBits < 1 || SumBits > 1024) begin : gen_bad_sum_bits
    $error("hq_acc: SumBits must be 1..1024");
  end
  if (AccBits < 2 || AccBits > 1024) begin : gen_bad_acc
    $error("hq_acc: AccBits must be 2..1024");
  end

  logic [AccBits-1:0] acc_d;
  logic [AccBits-1:0] acc_q;

  if (Saturate) begin : gen_saturate
    localparam int unsigned WideBits = (AccBits > SumBits ? AccBits : SumBits) + 1;

    logic [WideBits-1:0] wide;
    logic fits;

    hq_add #(
      .Width(WideBits),
      .HasCarry(HasCarry)
    ) u_add (
      .a_i(WideBits'($signed(acc_q))),
      .b_i(WideBits'($signed(sum_i))),
      .carry_i(carry_i),
      .sum_o(wide)
    );

    // The sum fits when all bits from the accumulator's sign upward are equal.
    assign fits = (&wide[WideBits-1:AccBits-1]) | ~(|wide[WideBits-1:AccBits-1]);
    assign acc_d = fits ? wide[AccBits-1:0] : {wide[WideBits-1], {AccBits - 1{~wide[WideBits-1]}}};
  end else begin : gen_wrap
    if (SumBits > AccBits) begin : gen_narrow
      logic unused_high;  // a sum modulo 2**AccBits does not depend on the bits above
      assign unused_high = ^sum_i[SumBits-1:AccBits];
    end

    // A wire of its own: Yosys stops at a cast to the same width in a port connection.
    logic [AccBits-1:0] addend;
    assign addend = AccBits'($signed(sum_i));

    hq_add #(
      .Width(AccBits),
      .HasCarry(HasCarry)
    ) u_add (
      .a_i(acc_q),
      .b_i(addend),
      .carry_i(carry_i),
      .sum_o(acc_d)
    );
  end

  always_ff @(posedge clk_i) begin
    if (rst_i || (en_i && clear_i)) acc_q <= '0;
    else if (en_i && valid_i) acc_q <= acc_d;
  end

  always_ff @(posedge clk_i) begin
    if (en_i && valid_i) acc_o <= acc_d;
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_o <= 1'b0;
    else if (en_i) valid_o <= valid_i;
  end

endmodule

`default_nettype wire
