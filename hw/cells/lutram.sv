// SPDX-License-Identifier: Apache-2.0
/// LUTs as memory: one write port at the rising edge of WCLK, reads without a clock.
///
/// RAM<words>X1S reads where it writes; RAM<words>X1D has a second read address; the wide ones
/// (RAM32M, RAM64M, RAM32M16, RAM64M8) write all their parts at the last address and read each at
/// its own.  INIT is the content after configuration.
/// Source: UG974, design elements RAM*X1S, RAM*X1D, RAM32M, RAM64M, RAM32M16, RAM64M8.
`default_nettype none

module hq_cell_ram #(
  parameter int unsigned AddrBits = 5,  // width of an address
  parameter int unsigned Width = 1,  // bits per word
  parameter [Width*(1<<AddrBits)-1:0] INIT = '0,  // content, word 0 in the low bits
  parameter [0:0] Fall = 1'b0  // write at the falling edge
) (
  input  logic clk_i,
  input  logic we_i,
  input  logic [AddrBits-1:0] waddr_i,
  input  logic [Width-1:0] data_i,
  input  logic [AddrBits-1:0] raddr_i,
  output logic [Width-1:0] data_o
);

  logic [Width*(1<<AddrBits)-1:0] mem_q;
  logic clock;

  initial mem_q = INIT;
  assign clock = clk_i ^ Fall;
  assign data_o = mem_q[Width*raddr_i+:Width];
  always_ff @(posedge clock) begin
    if (we_i) mem_q[Width*waddr_i+:Width] <= data_i;
  end

endmodule

module RAM32X1S #(
  parameter [31:0] INIT = 32'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic A0,
  input  logic A1,
  input  logic A2,
  input  logic A3,
  input  logic A4,
  input  logic D,
  output logic O
);
  hq_cell_ram #(.AddrBits(5), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_ram (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(O),
    .waddr_i({A4, A3, A2, A1, A0}), .raddr_i({A4, A3, A2, A1, A0})
  );
endmodule

module RAM64X1S #(
  parameter [63:0] INIT = 64'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic A0,
  input  logic A1,
  input  logic A2,
  input  logic A3,
  input  logic A4,
  input  logic A5,
  input  logic D,
  output logic O
);
  hq_cell_ram #(.AddrBits(6), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_ram (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(O),
    .waddr_i({A5, A4, A3, A2, A1, A0}), .raddr_i({A5, A4, A3, A2, A1, A0})
  );
endmodule

module RAM128X1S #(
  parameter [127:0] INIT = 128'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic A0,
  input  logic A1,
  input  logic A2,
  input  logic A3,
  input  logic A4,
  input  logic A5,
  input  logic A6,
  input  logic D,
  output logic O
);
  hq_cell_ram #(.AddrBits(7), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_ram (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(O),
    .waddr_i({A6, A5, A4, A3, A2, A1, A0}), .raddr_i({A6, A5, A4, A3, A2, A1, A0})
  );
endmodule

module RAM256X1S #(
  parameter [255:0] INIT = 256'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic [7:0] A,
  input  logic D,
  output logic O
);
  hq_cell_ram #(.AddrBits(8), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_ram (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(O),
    .waddr_i(A), .raddr_i(A)
  );
endmodule

module RAM512X1S #(
  parameter [511:0] INIT = 512'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic [8:0] A,
  input  logic D,
  output logic O
);
  hq_cell_ram #(.AddrBits(9), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_ram (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(O),
    .waddr_i(A), .raddr_i(A)
  );
endmodule

module RAM32X1D #(
  parameter [31:0] INIT = 32'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic A0,
  input  logic A1,
  input  logic A2,
  input  logic A3,
  input  logic A4,
  input  logic DPRA0,
  input  logic DPRA1,
  input  logic DPRA2,
  input  logic DPRA3,
  input  logic DPRA4,
  input  logic D,
  output logic SPO,
  output logic DPO
);
  hq_cell_ram #(.AddrBits(5), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_single (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(SPO),
    .waddr_i({A4, A3, A2, A1, A0}), .raddr_i({A4, A3, A2, A1, A0})
  );

  hq_cell_ram #(.AddrBits(5), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_dual (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(DPO),
    .waddr_i({A4, A3, A2, A1, A0}), .raddr_i({DPRA4, DPRA3, DPRA2, DPRA1, DPRA0})
  );
endmodule

module RAM64X1D #(
  parameter [63:0] INIT = 64'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic A0,
  input  logic A1,
  input  logic A2,
  input  logic A3,
  input  logic A4,
  input  logic A5,
  input  logic DPRA0,
  input  logic DPRA1,
  input  logic DPRA2,
  input  logic DPRA3,
  input  logic DPRA4,
  input  logic DPRA5,
  input  logic D,
  output logic SPO,
  output logic DPO
);
  hq_cell_ram #(.AddrBits(6), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_single (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(SPO),
    .waddr_i({A5, A4, A3, A2, A1, A0}), .raddr_i({A5, A4, A3, A2, A1, A0})
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_dual (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(DPO),
    .waddr_i({A5, A4, A3, A2, A1, A0}), .raddr_i({DPRA5, DPRA4, DPRA3, DPRA2, DPRA1, DPRA0})
  );
endmodule

module RAM128X1D #(
  parameter [127:0] INIT = 128'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic [6:0] A,
  input  logic [6:0] DPRA,
  input  logic D,
  output logic SPO,
  output logic DPO
);
  hq_cell_ram #(.AddrBits(7), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_single (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(SPO),
    .waddr_i(A), .raddr_i(A)
  );

  hq_cell_ram #(.AddrBits(7), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_dual (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(DPO),
    .waddr_i(A), .raddr_i(DPRA)
  );
endmodule

module RAM256X1D #(
  parameter [255:0] INIT = 256'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic [7:0] A,
  input  logic [7:0] DPRA,
  input  logic D,
  output logic SPO,
  output logic DPO
);
  hq_cell_ram #(.AddrBits(8), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_single (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(SPO),
    .waddr_i(A), .raddr_i(A)
  );

  hq_cell_ram #(.AddrBits(8), .INIT(INIT), .Fall(IS_WCLK_INVERTED)) u_dual (
    .clk_i(WCLK), .we_i(WE), .data_i(D), .data_o(DPO),
    .waddr_i(A), .raddr_i(DPRA)
  );
endmodule

module RAM32M #(
  parameter [63:0] INIT_A = 64'h0,
  parameter [63:0] INIT_B = 64'h0,
  parameter [63:0] INIT_C = 64'h0,
  parameter [63:0] INIT_D = 64'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic [4:0] ADDRA,
  input  logic [4:0] ADDRB,
  input  logic [4:0] ADDRC,
  input  logic [4:0] ADDRD,
  input  logic [1:0] DIA,
  input  logic [1:0] DIB,
  input  logic [1:0] DIC,
  input  logic [1:0] DID,
  output logic [1:0] DOA,
  output logic [1:0] DOB,
  output logic [1:0] DOC,
  output logic [1:0] DOD
);
  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_A), .Fall(IS_WCLK_INVERTED)) u_a (
    .clk_i(WCLK), .we_i(WE), .data_i(DIA), .data_o(DOA),
    .waddr_i(ADDRD), .raddr_i(ADDRA)
  );

  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_B), .Fall(IS_WCLK_INVERTED)) u_b (
    .clk_i(WCLK), .we_i(WE), .data_i(DIB), .data_o(DOB),
    .waddr_i(ADDRD), .raddr_i(ADDRB)
  );

  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_C), .Fall(IS_WCLK_INVERTED)) u_c (
    .clk_i(WCLK), .we_i(WE), .data_i(DIC), .data_o(DOC),
    .waddr_i(ADDRD), .raddr_i(ADDRC)
  );

  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_D), .Fall(IS_WCLK_INVERTED)) u_d (
    .clk_i(WCLK), .we_i(WE), .data_i(DID), .data_o(DOD),
    .waddr_i(ADDRD), .raddr_i(ADDRD)
  );
endmodule

module RAM64M #(
  parameter [63:0] INIT_A = 64'h0,
  parameter [63:0] INIT_B = 64'h0,
  parameter [63:0] INIT_C = 64'h0,
  parameter [63:0] INIT_D = 64'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic [5:0] ADDRA,
  input  logic [5:0] ADDRB,
  input  logic [5:0] ADDRC,
  input  logic [5:0] ADDRD,
  input  logic DIA,
  input  logic DIB,
  input  logic DIC,
  input  logic DID,
  output logic DOA,
  output logic DOB,
  output logic DOC,
  output logic DOD
);
  hq_cell_ram #(.AddrBits(6), .INIT(INIT_A), .Fall(IS_WCLK_INVERTED)) u_a (
    .clk_i(WCLK), .we_i(WE), .data_i(DIA), .data_o(DOA),
    .waddr_i(ADDRD), .raddr_i(ADDRA)
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT_B), .Fall(IS_WCLK_INVERTED)) u_b (
    .clk_i(WCLK), .we_i(WE), .data_i(DIB), .data_o(DOB),
    .waddr_i(ADDRD), .raddr_i(ADDRB)
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT_C), .Fall(IS_WCLK_INVERTED)) u_c (
    .clk_i(WCLK), .we_i(WE), .data_i(DIC), .data_o(DOC),
    .waddr_i(ADDRD), .raddr_i(ADDRC)
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT_D), .Fall(IS_WCLK_INVERTED)) u_d (
    .clk_i(WCLK), .we_i(WE), .data_i(DID), .data_o(DOD),
    .waddr_i(ADDRD), .raddr_i(ADDRD)
  );
endmodule

module RAM32M16 #(
  parameter [63:0] INIT_A = 64'h0,
  parameter [63:0] INIT_B = 64'h0,
  parameter [63:0] INIT_C = 64'h0,
  parameter [63:0] INIT_D = 64'h0,
  parameter [63:0] INIT_E = 64'h0,
  parameter [63:0] INIT_F = 64'h0,
  parameter [63:0] INIT_G = 64'h0,
  parameter [63:0] INIT_H = 64'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic [4:0] ADDRA,
  input  logic [4:0] ADDRB,
  input  logic [4:0] ADDRC,
  input  logic [4:0] ADDRD,
  input  logic [4:0] ADDRE,
  input  logic [4:0] ADDRF,
  input  logic [4:0] ADDRG,
  input  logic [4:0] ADDRH,
  input  logic [1:0] DIA,
  input  logic [1:0] DIB,
  input  logic [1:0] DIC,
  input  logic [1:0] DID,
  input  logic [1:0] DIE,
  input  logic [1:0] DIF,
  input  logic [1:0] DIG,
  input  logic [1:0] DIH,
  output logic [1:0] DOA,
  output logic [1:0] DOB,
  output logic [1:0] DOC,
  output logic [1:0] DOD,
  output logic [1:0] DOE,
  output logic [1:0] DOF,
  output logic [1:0] DOG,
  output logic [1:0] DOH
);
  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_A), .Fall(IS_WCLK_INVERTED)) u_a (
    .clk_i(WCLK), .we_i(WE), .data_i(DIA), .data_o(DOA),
    .waddr_i(ADDRH), .raddr_i(ADDRA)
  );

  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_B), .Fall(IS_WCLK_INVERTED)) u_b (
    .clk_i(WCLK), .we_i(WE), .data_i(DIB), .data_o(DOB),
    .waddr_i(ADDRH), .raddr_i(ADDRB)
  );

  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_C), .Fall(IS_WCLK_INVERTED)) u_c (
    .clk_i(WCLK), .we_i(WE), .data_i(DIC), .data_o(DOC),
    .waddr_i(ADDRH), .raddr_i(ADDRC)
  );

  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_D), .Fall(IS_WCLK_INVERTED)) u_d (
    .clk_i(WCLK), .we_i(WE), .data_i(DID), .data_o(DOD),
    .waddr_i(ADDRH), .raddr_i(ADDRD)
  );

  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_E), .Fall(IS_WCLK_INVERTED)) u_e (
    .clk_i(WCLK), .we_i(WE), .data_i(DIE), .data_o(DOE),
    .waddr_i(ADDRH), .raddr_i(ADDRE)
  );

  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_F), .Fall(IS_WCLK_INVERTED)) u_f (
    .clk_i(WCLK), .we_i(WE), .data_i(DIF), .data_o(DOF),
    .waddr_i(ADDRH), .raddr_i(ADDRF)
  );

  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_G), .Fall(IS_WCLK_INVERTED)) u_g (
    .clk_i(WCLK), .we_i(WE), .data_i(DIG), .data_o(DOG),
    .waddr_i(ADDRH), .raddr_i(ADDRG)
  );

  hq_cell_ram #(.AddrBits(5), .Width(2), .INIT(INIT_H), .Fall(IS_WCLK_INVERTED)) u_h (
    .clk_i(WCLK), .we_i(WE), .data_i(DIH), .data_o(DOH),
    .waddr_i(ADDRH), .raddr_i(ADDRH)
  );
endmodule

module RAM64M8 #(
  parameter [63:0] INIT_A = 64'h0,
  parameter [63:0] INIT_B = 64'h0,
  parameter [63:0] INIT_C = 64'h0,
  parameter [63:0] INIT_D = 64'h0,
  parameter [63:0] INIT_E = 64'h0,
  parameter [63:0] INIT_F = 64'h0,
  parameter [63:0] INIT_G = 64'h0,
  parameter [63:0] INIT_H = 64'h0,
  parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
  input  logic WCLK,
  input  logic WE,
  input  logic [5:0] ADDRA,
  input  logic [5:0] ADDRB,
  input  logic [5:0] ADDRC,
  input  logic [5:0] ADDRD,
  input  logic [5:0] ADDRE,
  input  logic [5:0] ADDRF,
  input  logic [5:0] ADDRG,
  input  logic [5:0] ADDRH,
  input  logic DIA,
  input  logic DIB,
  input  logic DIC,
  input  logic DID,
  input  logic DIE,
  input  logic DIF,
  input  logic DIG,
  input  logic DIH,
  output logic DOA,
  output logic DOB,
  output logic DOC,
  output logic DOD,
  output logic DOE,
  output logic DOF,
  output logic DOG,
  output logic DOH
);
  hq_cell_ram #(.AddrBits(6), .INIT(INIT_A), .Fall(IS_WCLK_INVERTED)) u_a (
    .clk_i(WCLK), .we_i(WE), .data_i(DIA), .data_o(DOA),
    .waddr_i(ADDRH), .raddr_i(ADDRA)
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT_B), .Fall(IS_WCLK_INVERTED)) u_b (
    .clk_i(WCLK), .we_i(WE), .data_i(DIB), .data_o(DOB),
    .waddr_i(ADDRH), .raddr_i(ADDRB)
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT_C), .Fall(IS_WCLK_INVERTED)) u_c (
    .clk_i(WCLK), .we_i(WE), .data_i(DIC), .data_o(DOC),
    .waddr_i(ADDRH), .raddr_i(ADDRC)
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT_D), .Fall(IS_WCLK_INVERTED)) u_d (
    .clk_i(WCLK), .we_i(WE), .data_i(DID), .data_o(DOD),
    .waddr_i(ADDRH), .raddr_i(ADDRD)
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT_E), .Fall(IS_WCLK_INVERTED)) u_e (
    .clk_i(WCLK), .we_i(WE), .data_i(DIE), .data_o(DOE),
    .waddr_i(ADDRH), .raddr_i(ADDRE)
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT_F), .Fall(IS_WCLK_INVERTED)) u_f (
    .clk_i(WCLK), .we_i(WE), .data_i(DIF), .data_o(DOF),
    .waddr_i(ADDRH), .raddr_i(ADDRF)
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT_G), .Fall(IS_WCLK_INVERTED)) u_g (
    .clk_i(WCLK), .we_i(WE), .data_i(DIG), .data_o(DOG),
    .waddr_i(ADDRH), .raddr_i(ADDRG)
  );

  hq_cell_ram #(.AddrBits(6), .INIT(INIT_H), .Fall(IS_WCLK_INVERTED)) u_h (
    .clk_i(WCLK), .we_i(WE), .data_i(DIH), .data_o(DOH),
    .waddr_i(ADDRH), .raddr_i(ADDRH)
  );
endmodule

`default_nettype wire
