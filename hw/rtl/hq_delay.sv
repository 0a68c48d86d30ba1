// SPDX-License-Identifier: Apache-2.0
/// Delay by Stages enabled cycles in flip-flops: out_o = in_i, Stages cycles ago.
///
/// rst_i clears it, for a reason of its own: a shift register in a LUT has no reset, and would cost
/// a site for each bit where flip-flops cost none.
///
/// Latency Stages, initiation interval 1.
`default_nettype none

module hq_delay #(
  parameter int unsigned Stages = 1,  // cycles
  parameter int unsigned Width = 8  // bits
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic [Width-1:0] in_i,
  output logic [Width-1:0] out_o
);

  localparam bit BadWidth = Width < 1 || Width > 1048576;
  if (BadWidth) begin : gen_bad_width
    $error("hq_delay: Width must be 1..1048576");
  end
  localparam bit BadStages = Stages > 16;
  if (BadStages) begin : gen_bad_stages
    $error("hq_delay: Stages must be 0..16");
  end
  localparam bit Legal = !(BadWidth || BadStages);

  if (Stages == 0) begin : gen_wire
    logic unused_control;
    assign unused_control = clk_i ^ rst_i ^ en_i;
    assign out_o = in_i;
  end else begin : gen_registers
    logic [Stages*Width-1:0] stage_q;

    for (genvar k = 0; Legal && k < Stages; k++) begin : gen_stage
      if (k == 0) begin : gen_first
        always_ff @(posedge clk_i) begin
          if (rst_i) stage_q[0+:Width] <= '0;
          else if (en_i) stage_q[0+:Width] <= in_i;
        end
      end else begin : gen_next
        always_ff @(posedge clk_i) begin
          if (rst_i) stage_q[k*Width+:Width] <= '0;
          else if (en_i) stage_q[k*Width+:Width] <= stage_q[(k-1)*Width+:Width];
        end
      end
    end

    assign out_o = stage_q[(Stages-1)*Width+:Width];
  end

endmodule

`default_nettype wire
