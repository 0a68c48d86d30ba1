// SPDX-License-Identifier: Apache-2.0
/// Buckets: one word is read and written each cycle, at the same address.
///
///   data_o = mem[addr_i]      mem[addr_i] <= data_i where we_i
///
/// The portable form is an array with asynchronous read.  With Primitive it is built of single
/// ports of distributed RAM: 32 words take 16 bits in 8 LUTs (RAM32M16 with every address alike),
/// 8 bits in 4 (RAM32M) or 1 bit in one (RAM32X1S); 64 words take one LUT a bit (RAM64X1S).
///
/// Read 0 cycles, write 1.  The contents after power-up are undefined.
`default_nettype none

module hq_bucket_ram #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned AddrBits = 5,  // 2**AddrBits words
  parameter int unsigned Width = 16  // bits per word
) (
  input  logic clk_i,
  input  logic we_i,
  input  logic [AddrBits-1:0] addr_i,
  input  logic [Width-1:0] data_i,
  output logic [Width-1:0] data_o
);

  localparam bit BadWidth = Width < 1 || Width > 512;
  if (BadWidth) begin : gen_bad_width
    $error("hq_bucket_ram: Width must be 1..512");
  end
  localparam bit BadAddress = AddrBits < 1 || AddrBits > 6;
  if (BadAddress) begin : gen_bad_address
    $error("hq_bucket_ram: AddrBits must be 1..6");
  end
  localparam bit Legal = !(BadWidth || BadAddress);

  if (!Primitive) begin : gen_portable
    logic [Width-1:0] mem[1<<AddrBits];

    assign data_o = mem[addr_i];
    always_ff @(posedge clk_i) begin
      if (we_i) mem[addr_i] <= data_i;
    end
  end else if (AddrBits <= 5) begin : gen_deep32
    localparam int unsigned Rest = Width % 16;
    localparam int unsigned Wide = Width / 16 + (Rest > 11 ? 1 : 0);
    localparam int unsigned Left = Rest > 11 ? 0 : Rest;
    localparam int unsigned Half = Left > 4 ? 1 : 0;
    localparam int unsigned Ones = Left > 8 ? Left - 8 : (Left > 4 ? 0 : Left);
    localparam int unsigned Bits = 16 * Wide + 8 * Half + Ones;

    logic [4:0] addr;
    logic [Bits-1:0] data;
    logic [Bits-1:0] read;

    assign addr = 5'(addr_i);
    assign data = Bits'(data_i);
    assign data_o = read[Width-1:0];

    for (genvar c = 0; Legal && c < Wide; c++) begin : gen_wide
      RAM32M16 u_ram (
        .WCLK(clk_i), .WE(we_i),
        .ADDRA(addr), .ADDRB(addr), .ADDRC(addr), .ADDRD(addr),
        .ADDRE(addr), .ADDRF(addr), .ADDRG(addr), .ADDRH(addr),
        .DIA(data[16*c+:2]), .DIB(data[16*c+2+:2]),
        .DIC(data[16*c+4+:2]), .DID(data[16*c+6+:2]),
        .DIE(data[16*c+8+:2]), .DIF(data[16*c+10+:2]),
        .DIG(data[16*c+12+:2]), .DIH(data[16*c+14+:2]),
        .DOA(read[16*c+:2]), .DOB(read[16*c+2+:2]),
        .DOC(read[16*c+4+:2]), .DOD(read[16*c+6+:2]),
        .DOE(read[16*c+8+:2]), .DOF(read[16*c+10+:2]),
        .DOG(read[16*c+12+:2]), .DOH(read[16*c+14+:2])
      );
    end
    if (Half == 1) begin : gen_half
      RAM32M u_ram (
        .WCLK(clk_i), .WE(we_i),
        .ADDRA(addr), .ADDRB(addr), .ADDRC(addr), .ADDRD(addr),
        .DIA(data[16*Wide+:2]), .DIB(data[16*Wide+2+:2]),
        .DIC(data[16*Wide+4+:2]), .DID(data[16*Wide+6+:2]),
        .DOA(read[16*Wide+:2]), .DOB(read[16*Wide+2+:2]),
        .DOC(read[16*Wide+4+:2]), .DOD(read[16*Wide+6+:2])
      );
    end
    for (genvar b = Bits - Ones; Legal && b < Bits; b++) begin : gen_one
      RAM32X1S u_ram (
        .WCLK(clk_i), .WE(we_i), .D(data[b]), .O(read[b]),
        .A0(addr[0]), .A1(addr[1]), .A2(addr[2]), .A3(addr[3]), .A4(addr[4])
      );
    end
    if (Bits > Width) begin : gen_rest
      logic unused_rest;
      assign unused_rest = ^read[Bits-1:Width];
    end
  end else begin : gen_deep64
    for (genvar b = 0; Legal && b < Width; b++) begin : gen_one
      RAM64X1S u_ram (
        .WCLK(clk_i), .WE(we_i), .D(data_i[b]), .O(data_o[b]),
        .A0(addr_i[0]), .A1(addr_i[1]), .A2(addr_i[2]),
        .A3(addr_i[3]), .A4(addr_i[4]), .A5(addr_i[5])
      );
    end
  end

endmodule

`default_nettype wire
