// SPDX-License-Identifier: Apache-2.0
/// One step of a binary search: read a threshold, compare, write one bit of the count.
///
///   found_o = found_i with bit Steps-1-Step := (acc_i >= threshold of chan_i at found_i)
///
/// acc_o, chan_o and found_o belong together.
///
/// Latency 1 up to the threshold; the comparison is combinational, so that its result addresses
/// the next step's table in the same cycle.  Initiation interval 1.  Exact.
`default_nettype none

module hq_thr_step #(
  parameter int unsigned AccBits = 24,  // accumulator width, two's complement
  parameter int unsigned ThrBits = 25,  // threshold width, two's complement
  parameter int unsigned Steps = 4,  // steps of the search
  parameter int unsigned Step = 0,  // this one, from 0
  parameter int unsigned Channels = 4,  // rows of the table
  parameter bit [(Channels<<Step)*ThrBits-1:0] Thresholds = '0,  // channel by channel
  localparam int unsigned ChanBits = Channels > 1 ? $clog2(Channels) : 1
) (
  input  logic clk_i,
  input  logic en_i,
  input  logic [ChanBits-1:0] chan_i,
  input  logic [AccBits-1:0] acc_i,
  input  logic [Steps-1:0] found_i,
  output logic [ChanBits-1:0] chan_o,
  output logic [AccBits-1:0] acc_o,
  output logic [Steps-1:0] found_o
);

  if (AccBits < 2 || AccBits > 1024) begin : gen_bad_acc_bits
    $error("hq_thr_step: AccBits must be 2..1024");
  end
  if (ThrBits < 1 || ThrBits > 1025) begin : gen_bad_thr_bits
    $error("hq_thr_step: ThrBits must be 1..1025");
  end
  if (Channels < 1 || Channels > 16384) begin : gen_bad_channels
    $error("hq_thr_step: Channels must be 1..16384");
  end
  if (Steps < 1 || Steps > 8) begin : gen_bad_steps
    $error("hq_thr_step: Steps must be 1..8");
  end
  if (Step >= Steps) begin : gen_bad_step
    $error("hq_thr_step: Step must be 0..Steps-1");
  end

  localparam int unsigned Depth = Channels << Step;
  localparam int unsigned AddrBits = Depth > 1 ? $clog2(Depth) : 1;
  localparam int unsigned LutWords = 64;  // one LUT6 a bit
  localparam int unsigned CompareBits = AccBits > ThrBits ? AccBits : ThrBits;

  logic [AddrBits-1:0] addr;
  logic [ThrBits-1:0] threshold;
  logic [Steps-1:0] found_q;
  logic signed [CompareBits-1:0] left;
  logic signed [CompareBits-1:0] right;
  logic reached;

  if (Step == 0) begin : gen_first
    assign addr = chan_i;
  end else if (Channels == 1) begin : gen_one_channel
    assign addr = found_i[Steps-1-:Step];
  end else begin : gen_channels
    assign addr = {chan_i, found_i[Steps-1-:Step]};
  end

  hq_rom #(
    .Depth(Depth),
    .Width(ThrBits),
    .Block(Depth > LutWords),
    .Words(Thresholds)
  ) u_rom (
    .clk_i(clk_i),
    .en_i(en_i),
    .addr_i(addr),
    .data_o(threshold)
  );

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      chan_o <= chan_i;
      acc_o <= acc_i;
      found_q <= found_i;
    end
  end

  assign left = CompareBits'($signed(acc_o));
  assign right = CompareBits'($signed(threshold));
  assign reached = left >= right;
  assign found_o = found_q | (Steps'(reached) << (Steps - 1 - Step));

endmodule

`default_nettype wire
