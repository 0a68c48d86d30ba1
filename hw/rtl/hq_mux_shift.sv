// SPDX-License-Identifier: Apache-2.0
/// One stage of a left shifter:  out_o = in_i << (Step * by_i), by_i of 0 .. 3
///
/// A 4:1 multiplexer is one LUT6; the bits at either end have fewer inputs and share sites, so a
/// stage of Bits inputs and by_i of two bits costs about Bits sites for its Bits + 3 outputs, two
/// fewer than two stages of 2:1 multiplexers.  With ByBits = 1 two bits share a site.
///
/// Latency 0 (combinational).  Exact: out_o holds every shifted bit, sign extended where Signed.
`default_nettype none

module hq_mux_shift #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Bits = 6,  // width of in_i
  parameter int unsigned Step = 1,  // weight of by_i
  parameter int unsigned ByBits = 2,  // width of by_i, 1 or 2
  parameter bit Signed = 1'b0,  // in_i is two's complement
  localparam int unsigned OutBits = Bits + Step * ((1 << ByBits) - 1)
) (
  input  logic [Bits-1:0] in_i,
  input  logic [ByBits-1:0] by_i,
  output logic [OutBits-1:0] out_o
);

  localparam bit BadBits = Bits < 1 || Bits > 512;
  if (BadBits) begin : gen_bad_bits
    $error("hq_mux_shift: Bits must be 1..512");
  end
  localparam bit BadStep = Step < 1 || Step > 128;
  if (BadStep) begin : gen_bad_step
    $error("hq_mux_shift: Step must be 1..128");
  end
  localparam bit BadBy = ByBits < 1 || ByBits > 2;
  if (BadBy) begin : gen_bad_by
    $error("hq_mux_shift: ByBits must be 1..2");
  end
  localparam bit Legal = !(BadBits || BadStep || BadBy);

  // Inputs of the table, as the truth tables of their own projections.
  localparam logic [63:0] X0 = 64'hAAAA_AAAA_AAAA_AAAA;
  localparam logic [63:0] X1 = 64'hCCCC_CCCC_CCCC_CCCC;
  localparam logic [63:0] X2 = 64'hF0F0_F0F0_F0F0_F0F0;
  localparam logic [63:0] X3 = 64'hFF00_FF00_FF00_FF00;
  localparam logic [63:0] By0 = 64'hFFFF_0000_FFFF_0000;
  localparam logic [63:0] By1 = 64'hFFFF_FFFF_0000_0000;

  localparam logic [63:0] Low = (~By0 & X0) | (By0 & X1);
  localparam logic [63:0] High = (~By0 & X2) | (By0 & X3);
  localparam logic [63:0] Mux = (~By1 & Low) | (By1 & High);

  logic [1:0] by;
  assign by = 2'(by_i);

  for (genvar i = 0; Legal && i < OutBits; i++) begin : gen_bit
    logic [3:0] x;

    for (genvar k = 0; Legal && k < 4; k++) begin : gen_in
      if (k >= (1 << ByBits) || i < Step * k) begin : gen_below
        assign x[k] = 1'b0;
      end else if (i - Step * k < Bits) begin : gen_inside
        assign x[k] = in_i[i-Step*k];
      end else begin : gen_above
        assign x[k] = Signed && in_i[Bits-1];
      end
    end

    if (Signed && i == OutBits - 1) begin : gen_sign
      logic unused_x;
      assign unused_x = ^x;
      assign out_o[i] = in_i[Bits-1];
    end else begin : gen_mux
      hq_lut #(
        .Primitive(Primitive),
        .Init(Mux)
      ) u_mux (
        .in_i({by, x}),
        .out_o(out_o[i])
      );
    end
  end

endmodule

`default_nettype wire
