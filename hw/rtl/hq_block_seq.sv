// SPDX-License-Identifier: Apache-2.0
/// Follow the blocks of a dot product beside the kernel that sums each block:
///
///   clear_o  the beat is the first of its block          to the kernel, same cycle
///   take_o   the kernel's result is a whole block        Latency enabled cycles after last_i
///   first_o  that block is the first of its dot product  with take_o
///   exp_o, sig_o  the product of its scales (hq_block_scale), taken with last_i
///
/// A beat with clear_i starts a dot product and a block; one behind last_i starts a block.  A reset
/// forgets what is inside.  Latency as said, initiation interval 1.
`default_nettype none

module hq_block_seq #(
  parameter int unsigned Latency = 4,  // enabled cycles of the kernel that sums a block
  parameter bit E4m3 = 1'b0,  // scales are E4M3, else E8M0
  parameter int unsigned ExpBits = 9,  // width of exp_o
  parameter int unsigned SigBits = 1  // width of sig_o
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic last_i,
  input  logic [7:0] weight_scale_i,
  input  logic [7:0] act_scale_i,
  output logic clear_o,
  output logic take_o,
  output logic first_o,
  output logic [ExpBits-1:0] exp_o,
  output logic [SigBits-1:0] sig_o
);

  localparam bit BadExpBits = ExpBits < 1 || ExpBits > 16;
  if (BadExpBits) begin : gen_bad_exp_bits
    $error("hq_block_seq: ExpBits must be 1..16");
  end
  localparam bit BadSigBits = SigBits < 1 || SigBits > 8;
  if (BadSigBits) begin : gen_bad_sig_bits
    $error("hq_block_seq: SigBits must be 1..8");
  end
  localparam bit BadLatency = Latency < 1 || Latency > 64;
  if (BadLatency) begin : gen_bad_latency
    $error("hq_block_seq: Latency must be 1..64");
  end
  localparam bit Legal = !(BadExpBits || BadSigBits || BadLatency);

  logic start_q;  // the next beat starts a block
  logic fresh_q;  // the block under way is the first of its dot product
  logic fresh;
  logic [ExpBits-1:0] exponent;
  logic [SigBits-1:0] sig;
  logic [Latency-1:0] take_q;
  logic [Latency-1:0] first_q;
  logic [Latency*ExpBits-1:0] exp_q;

  assign clear_o = clear_i | start_q;
  assign fresh = clear_i | fresh_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      start_q <= 1'b1;
      fresh_q <= 1'b0;
    end else if (en_i && valid_i) begin
      start_q <= last_i;
      fresh_q <= fresh & ~last_i;
    end
  end

  hq_block_scale #(
    .E4m3(E4m3),
    .ExpBits(ExpBits),
    .SigBits(SigBits)
  ) u_scale (
    .weight_i(weight_scale_i),
    .act_i(act_scale_i),
    .exp_o(exponent),
    .sig_o(sig)
  );

  for (genvar k = 0; Legal && k < Latency; k++) begin : gen_stage
    always_ff @(posedge clk_i) begin
      if (rst_i) take_q[k] <= 1'b0;
      else if (en_i) take_q[k] <= k == 0 ? valid_i && last_i : take_q[k == 0 ? 0 : k-1];
    end

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        first_q[k] <= k == 0 ? fresh : first_q[k == 0 ? 0 : k-1];
        exp_q[k*ExpBits+:ExpBits] <=
            k == 0 ? exponent : exp_q[(k == 0 ? 0 : k - 1)*ExpBits+:ExpBits];
      end
    end
  end

  if (E4m3) begin : gen_sig
    logic [Latency*SigBits-1:0] sig_q;

    for (genvar k = 0; Legal && k < Latency; k++) begin : gen_stage
      always_ff @(posedge clk_i) begin
        if (en_i) begin
          sig_q[k*SigBits+:SigBits] <=
              k == 0 ? sig : sig_q[(k == 0 ? 0 : k - 1)*SigBits+:SigBits];
        end
      end
    end

    assign sig_o = sig_q[(Latency-1)*SigBits+:SigBits];
  end else begin : gen_one
    assign sig_o = sig;
  end

  assign take_o = take_q[Latency-1];
  assign first_o = first_q[Latency-1];
  assign exp_o = exp_q[(Latency-1)*ExpBits+:ExpBits];

endmodule

`default_nettype wire
