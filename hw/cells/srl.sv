// SPDX-License-Identifier: Apache-2.0
/// LUTs as shift registers: with CE the content moves up by one and D enters at position 0;
/// Q reads position A without a clock, Q15 and Q31 read the last one.
///
/// Source: UG974, design elements SRL16E, SRLC32E; UG953, design element SRLC16E.
`default_nettype none

module hq_cell_srl #(
  parameter int unsigned AddrBits = 4,  // width of the read position
  parameter [(1<<AddrBits)-1:0] INIT = '0,  // content after configuration
  parameter [0:0] Fall = 1'b0  // shift at the falling edge
) (
  input  logic clk_i,
  input  logic en_i,
  input  logic data_i,
  input  logic [AddrBits-1:0] addr_i,
  output logic data_o,
  output logic last_o
);

  localparam int unsigned Depth = 1 << AddrBits;

  logic [Depth-1:0] mem_q;
  logic clock;

  initial mem_q = INIT;
  assign clock = clk_i ^ Fall;
  assign data_o = mem_q[addr_i];
  assign last_o = mem_q[Depth-1];
  always_ff @(posedge clock) begin
    if (en_i) mem_q <= {mem_q[Depth-2:0], data_i};
  end

endmodule

module SRL16E #(
  parameter [15:0] INIT = 16'h0,
  parameter [0:0] IS_CLK_INVERTED = 1'b0
) (
  input  logic CLK,
  input  logic CE,
  input  logic A0,
  input  logic A1,
  input  logic A2,
  input  logic A3,
  input  logic D,
  output logic Q
);
  logic unused_last;

  hq_cell_srl #(
    .AddrBits(4),
    .INIT(INIT),
    .Fall(IS_CLK_INVERTED)
  ) u_srl (
    .clk_i(CLK),
    .en_i(CE),
    .data_i(D),
    .addr_i({A3, A2, A1, A0}),
    .data_o(Q),
    .last_o(unused_last)
  );
endmodule

module SRLC16E #(
  parameter [15:0] INIT = 16'h0,
  parameter [0:0] IS_CLK_INVERTED = 1'b0
) (
  input  logic CLK,
  input  logic CE,
  input  logic A0,
  input  logic A1,
  input  logic A2,
  input  logic A3,
  input  logic D,
  output logic Q,
  output logic Q15
);
  hq_cell_srl #(
    .AddrBits(4),
    .INIT(INIT),
    .Fall(IS_CLK_INVERTED)
  ) u_srl (
    .clk_i(CLK),
    .en_i(CE),
    .data_i(D),
    .addr_i({A3, A2, A1, A0}),
    .data_o(Q),
    .last_o(Q15)
  );
endmodule

module SRLC32E #(
  parameter [31:0] INIT = 32'h0,
  parameter [0:0] IS_CLK_INVERTED = 1'b0
) (
  input  logic CLK,
  input  logic CE,
  input  logic [4:0] A,
  input  logic D,
  output logic Q,
  output logic Q31
);
  hq_cell_srl #(
    .AddrBits(5),
    .INIT(INIT),
    .Fall(IS_CLK_INVERTED)
  ) u_srl (
    .clk_i(CLK),
    .en_i(CE),
    .data_i(D),
    .addr_i(A),
    .data_o(Q),
    .last_o(Q31)
  );
endmodule

`default_nettype wire
