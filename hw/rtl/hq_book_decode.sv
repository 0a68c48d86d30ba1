// SPDX-License-Identifier: Apache-2.0
/// Split a code of any format, a codebook included, into sign, significand and exponent:
///
///   value = (neg_o ? -1 : 1) * sig_o * 2**(exp_o - Offset)     in units of the format's step
///
/// Codebooks (Book): sig_o is a table, word number code_i, or with a sign bit (Float) word number
/// code_i without its sign bit, neg_o = sign bit; exp_o = 0, Offset = 0.  A word is two's
/// complement when Signed and not Float, else unsigned.  Other formats: hq_decode.
///
/// Latency 0 (combinational).  Exact.  Equals hwquant.codec.decode on every code with a value.
`default_nettype none

module hq_book_decode #(
  parameter int unsigned Bits = 4,  // code width
  parameter bit Float = 1'b1,  // the code has its sign bit on top, or is an unsigned minifloat
  parameter bit Signed = 1'b1,  // has negative values
  parameter int unsigned ExpBits = 0,  // exponent field width, 0 for integers and codebooks
  parameter bit Book = 1'b1,  // a codebook
  parameter int unsigned SigBits = 4,  // width of sig_o
  localparam int unsigned IndexBits = Bits - (Float && Signed ? 1 : 0),
  parameter bit [(1<<IndexBits)*SigBits-1:0] Words = '0,  // the table, word 0 in the low bits
  localparam int unsigned ExpOutBits = ExpBits > 1 ? ExpBits : 1
) (
  input  logic [Bits-1:0] code_i,
  output logic neg_o,
  output logic [SigBits-1:0] sig_o,
  output logic [ExpOutBits-1:0] exp_o
);

  localparam bit BadBits = Bits < 1 || Bits > 8;
  if (BadBits) begin : gen_bad_bits
    $error("hq_book_decode: Bits must be 1..8");
  end
  localparam bit BadSig = SigBits < 1 || SigBits > 25;
  if (BadSig) begin : gen_bad_sig
    $error("hq_book_decode: SigBits must be 1..25");
  end
  localparam bit BadBook = Book && ExpBits != 0;
  if (BadBook) begin : gen_bad_book
    $error("hq_book_decode: a codebook has no exponent field, ExpBits must be 0");
  end
  localparam bit Legal = !(BadBits || BadSig || BadBook);

  if (Book) begin : gen_book
    localparam int unsigned Depth = 1 << IndexBits;

    for (genvar b = 0; Legal && b < SigBits; b++) begin : gen_bit
      logic [Depth-1:0] column;

      for (genvar w = 0; Legal && w < Depth; w++) begin : gen_word
        assign column[w] = Words[w*SigBits+b];
      end

      assign sig_o[b] = column[code_i[IndexBits-1:0]];
    end

    assign neg_o = Float && Signed && code_i[Bits-1];
    assign exp_o = '0;
  end else begin : gen_ordinary
    hq_decode #(
      .Bits(Bits),
      .Float(Float),
      .Signed(Signed),
      .ExpBits(ExpBits)
    ) u_decode (
      .code_i(code_i),
      .neg_o(neg_o),
      .sig_o(sig_o),
      .exp_o(exp_o)
    );
  end

endmodule

`default_nettype wire
