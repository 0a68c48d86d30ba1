// SPDX-License-Identifier: Apache-2.0
/// Add a bias to an accumulator, round to an integer format under one shift, and clamp:
///
///   d      = acc_i - minus_i + (Upper ? 2**(Bits + Drop) : 0)                   exact
///   code_o = 0 where d < 0, 2**Bits - 1 where d >= 2**(Bits + Drop), else d >> Drop
///
/// with the lowest bit cleared where the Drop low bits of d are 0 (a tie: half a divisor is in
/// minus_i), and for a signed format the highest inverted (2**(Bits - 1 + Drop) is in minus_i).
/// Upper lets the caller choose the minus_i that needs fewer bits.
///
/// Only the Bits in the middle of d are built.  Below them the borrow is wanted and whether all
/// bits are equal, above them the borrow and whether acc_i - minus_i has zeros there only (Upper:
/// ones), so two bits a and b of the operands share a position of the chain.  Zeros it has where
///
///   the lowest of them are equal and nothing is borrowed, or unequal and it is, and
///   for each pair of neighbours (i, i+1):  a[i+1] == b[i+1]  unless  a[i] < b[i]
///
/// (ones: the other way round, and a[i] > b[i]).  The first is the sum output of the lowest
/// position, the second needs no carry.  Clamping costs no gate in the path of the code: on the one
/// side it resets the registers of the first stage, on the other those of the second.
///
/// Latency 2, initiation interval 1.  Exact.  Equals hwquant.requant.RoundPack for integers.
`default_nettype none

module hq_clip #(
  parameter int unsigned AccBits = 24,  // width of acc_i, two's complement
  parameter int unsigned BiasBits = 24,  // width of minus_i, two's complement
  parameter int unsigned Drop = 8,  // low bits that are not in the code
  parameter int unsigned Bits = 8,  // width of the code
  parameter bit Signed = 1'b1,  // two's complement code, else unsigned
  parameter bit Upper = 1'b0  // codes that do not saturate lie below minus_i, else above
) (
  input  logic clk_i,
  input  logic en_i,
  input  logic [AccBits-1:0] acc_i,
  input  logic [BiasBits-1:0] minus_i,
  output logic [Bits-1:0] code_o
);

  localparam int unsigned Width = AccBits > BiasBits ? AccBits : BiasBits;

  localparam bit BadAccBits = AccBits < 1 || AccBits > 4096;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_clip: AccBits must be 1..4096");
  end
  localparam bit BadBiasBits = BiasBits < 1 || BiasBits > 4096;
  if (BadBiasBits) begin : gen_bad_bias_bits
    $error("hq_clip: BiasBits must be 1..4096");
  end
  localparam bit BadRangeDrop = Drop < 1 || Drop > 4096;
  if (BadRangeDrop) begin : gen_bad_range_drop
    $error("hq_clip: Drop must be 1..4096");
  end
  localparam bit BadBits = Bits < 1 || Bits > 8;
  if (BadBits) begin : gen_bad_bits
    $error("hq_clip: Bits must be 1..8");
  end
  localparam bit BadDrop = Drop < 1 || Drop + Bits >= Width;
  if (BadDrop) begin : gen_bad_drop
    $error("hq_clip: Drop must be 1 or more, Drop + Bits less than AccBits or BiasBits");
  end
  localparam bit Legal = !(BadAccBits || BadBiasBits || BadRangeDrop || BadBits || BadDrop);

  localparam int unsigned Base = Drop + Bits;  // the first bit above the code
  localparam int unsigned Low = Legal ? (Drop + 1) / 2 : 1;  // positions of the chain
  localparam int unsigned High = Legal ? (Width - Base + 1) / 2 : 1;
  localparam int unsigned Positions = Low + Bits + High;
  localparam int unsigned Steps = Legal ? Width - Base - 1 : 1;  // pairs above the code
  localparam int unsigned Tests = Steps > 0 ? (Steps + 1) / 2 : 1;

  logic [Width-1:0] a;
  logic [Width-1:0] b;
  logic [Positions-1:0] left;
  logic [Positions-1:0] right;
  logic [Positions:0] diff;
  logic [Low:0] equal;  // so far from below
  logic [Tests-1:0] bad_d;
  logic [Tests-1:0] bad_q;
  logic [Bits-1:0] sum_d;
  logic [Bits-1:0] sum_q;
  logic first_q;
  logic near_end;  // saturates, at minus_i
  logic far_end;  // saturates, at the other end

  // Both signs inverted: the order of the numbers is that of unsigned ones.
  assign a = Width'($signed(acc_i)) ^ {1'b1, {Width - 1{1'b0}}};
  assign b = Width'($signed(minus_i)) ^ {1'b1, {Width - 1{1'b0}}};
  assign equal[0] = 1'b1;

  for (genvar k = 0; Legal && k < Low; k++) begin : gen_low
    localparam int unsigned Count = 2 * k + 1 < Drop ? 2 : 1;
    logic [Count-1:0] one;
    logic [Count-1:0] other;
    logic same;

    // A borrow passes where they are equal, else it depends on which is larger.
    assign one = a[2*k+:Count];
    assign other = b[2*k+:Count];
    assign same = one == other;
    assign left[k] = one > other;
    assign right[k] = one < other;
    assign equal[k+1] = equal[k] & same;
  end

  assign left[Low+:Bits] = a[Drop+:Bits];
  assign right[Low+:Bits] = b[Drop+:Bits];

  for (genvar k = 0; Legal && k < High; k++) begin : gen_high
    // A bit that is left over comes first.
    localparam int unsigned Odd = (Width - Base) % 2;
    localparam int unsigned Count = Odd == 1 && k == 0 ? 1 : 2;
    localparam int unsigned From = Base + (k > 0 ? 2 * k - Odd : 0);
    logic [Count-1:0] one;
    logic [Count-1:0] other;

    assign one = a[From+:Count];
    assign other = b[From+:Count];
    assign left[Low+Bits+k] = one > other;
    assign right[Low+Bits+k] = one < other;
  end

  if (Steps > 0) begin : gen_tests
    logic [2*Tests-1:0] bad;

    for (genvar i = 0; Legal && i < 2 * Tests; i++) begin : gen_step
      if (i < Steps) begin : gen_neighbours
        assign bad[i] = (a[Base+i+1] == b[Base+i+1])
            == (Upper ? a[Base+i] > b[Base+i] : a[Base+i] < b[Base+i]);
      end else begin : gen_none
        assign bad[i] = 1'b0;
      end
    end
    for (genvar i = 0; Legal && i < Tests; i++) begin : gen_test
      assign bad_d[i] = bad[2*i] | bad[2*i+1];
    end
  end else begin : gen_no_tests
    assign bad_d = '0;
  end

  assign diff = {1'b0, left} - {1'b0, right};
  assign near_end = en_i & (diff[Positions] ^ Upper);
  assign far_end = en_i & ((first_q ^ Upper) | (|bad_q));

  always_comb begin
    sum_d = diff[Low+:Bits];
    sum_d[0] = diff[Low] & ~equal[Low];
  end

  if (Positions > Low + Bits + 1) begin : gen_unused_high
    logic unused_high;
    assign unused_high = ^diff[Positions-1:Low+Bits+1];
  end

  logic unused_low;
  assign unused_low = ^diff[Low-1:0];

  always_ff @(posedge clk_i) begin
    if (near_end) begin
      sum_q <= {Bits{Upper}};
      first_q <= Upper;
      bad_q <= '0;
    end else if (en_i) begin
      sum_q <= sum_d;
      first_q <= diff[Low+Bits];
      bad_q <= bad_d;
    end
  end

  // The highest bit has registers of its own: its inverter must not become a gate of the others.
  always_ff @(posedge clk_i) begin
    if (far_end) code_o[Bits-1] <= Signed ^ ~Upper;
    else if (en_i) code_o[Bits-1] <= sum_q[Bits-1] ^ Signed;
  end

  if (Bits > 1) begin : gen_body
    always_ff @(posedge clk_i) begin
      if (far_end) code_o[Bits-2:0] <= {Bits - 1{~Upper}};
      else if (en_i) code_o[Bits-2:0] <= sum_q[Bits-2:0];
    end
  end

endmodule

`default_nettype wire
