// SPDX-License-Identifier: Apache-2.0
/// Sequencer of bucket kernels: says when a beat is taken, then empties and clears the buckets.
///
/// One unit serves any number of hq_bucket in step: it holds no data, the adder that drains is
/// each bucket's own.  With n = Last - First + 1 buckets, counted in enabled cycles from the cycle
/// in which the last beat of a dot product is taken (cycle 0):
///
///   1            the last beat is in flight
///   2 .. S+1     addresses First .. Last to drain, then Last + 1 (an empty word) up to S = Steps
///   S+2          the last step is in flight
///   S+3          valid_o: the result stands in the buckets' tops and the digits they gave
///   S+3 .. S+C+2 addresses to clear; C = n, or n + 1 when the empty word is used
///   S+C+3        ready_o: the next beat
///
/// A beat that clears a dot product not ended (clear_i without last_i before it) is held off
/// until the buckets are cleared: C + 2 cycles.  After rst_i it is C + 1.  en_i = 0 freezes
/// everything; rst_i acts even then.
`default_nettype none

module hq_drain #(
  parameter int unsigned AddrBits = 5,  // width of a bucket address
  parameter int unsigned First = 2,  // address of the least bucket
  parameter int unsigned Last = 30,  // address of the greatest bucket
  parameter int unsigned Steps = 29  // drain steps, Last - First + 1 or more
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic last_i,
  output logic ready_o,
  output logic drop_o,  // resets the operands: no beat is taken
  output logic [AddrBits-1:0] addr_o,  // the bucket to drain or clear; else First
  output logic clear_o,  // addr_o is to be cleared
  output logic set_o,  // sets the buckets' tops
  output logic shift_o,  // the buckets' tops move on, one cycle after addr_o
  output logic drain_o,  // the bucket is drained, one cycle after addr_o
  output logic valid_o
);

  localparam int unsigned Buckets = Last - First + 1;
  localparam bit Tail = Steps > Buckets;
  localparam int unsigned StepBits = $clog2(Steps);

  if (Last < First || Last >= (1 << AddrBits)) begin : gen_bad_last
    $error("hq_drain: Last must be First..2**AddrBits-1");
  end
  if (Steps < Buckets || Steps > 1024) begin : gen_bad_steps
    $error("hq_drain: Steps must be Last-First+1..1024");
  end

  logic busy_q;  // no beat is taken
  logic clear_q;  // clearing, else draining
  logic wait_q;  // one cycle for what is in flight
  logic dirty_q;  // a dot product has begun
  logic drain;
  logic drain_q;
  logic abort;
  logic done;
  logic shift_q;
  logic [AddrBits-1:0] addr_q;

  assign abort = clear_i && dirty_q;
  assign ready_o = !busy_q && !abort;
  assign drop_o = rst_i || (en_i && !(valid_i && ready_o));
  assign addr_o = addr_q;
  assign clear_o = busy_q && !wait_q && clear_q;
  assign set_o = en_i && clear_o;
  assign shift_o = en_i && shift_q;
  assign drain = busy_q && !wait_q && !clear_q;
  assign drain_o = drain_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      busy_q <= 1'b1;
      clear_q <= 1'b1;
      wait_q <= 1'b1;
      dirty_q <= 1'b0;
    end else if (en_i) begin
      if (!busy_q) begin
        if (valid_i) begin
          dirty_q <= !abort && !last_i;
          busy_q <= abort || last_i;
          wait_q <= 1'b1;
          clear_q <= abort;
        end
      end else if (wait_q) begin
        wait_q <= 1'b0;
      end else if (done) begin
        busy_q <= !clear_q;
        wait_q <= 1'b1;
        clear_q <= 1'b1;
      end
    end
  end

  if (!Tail) begin : gen_buckets_only
    assign done = addr_q == AddrBits'(Last);
    always_ff @(posedge clk_i) begin
      if (rst_i) addr_q <= AddrBits'(First);
      else if (en_i && busy_q && !wait_q) addr_q <= done ? AddrBits'(First) : addr_q + 1'b1;
    end
  end else begin : gen_tail
    localparam logic [AddrBits-1:0] Empty = AddrBits'(Last + 1);

    logic [StepBits-1:0] step_q;

    assign done = clear_q ? addr_q == Empty : step_q == StepBits'(Steps - 1);
    always_ff @(posedge clk_i) begin
      if (rst_i) begin
        addr_q <= AddrBits'(First);
        step_q <= '0;
      end else if (en_i && busy_q && !wait_q) begin
        step_q <= done ? '0 : step_q + 1'b1;
        if (done) addr_q <= AddrBits'(First);
        else if (addr_q != Empty) addr_q <= addr_q + 1'b1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      shift_q <= 1'b0;
      drain_q <= 1'b0;
      valid_o <= 1'b0;
    end else if (en_i) begin
      shift_q <= busy_q && !wait_q;
      drain_q <= drain;
      valid_o <= drain_q && !drain;
    end
  end

endmodule

`default_nettype wire
