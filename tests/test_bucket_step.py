# SPDX-License-Identifier: Apache-2.0
"""The bucket's read-modify-write step, proved for every state: RAM abstracted, pipeline free.

The RAM is replaced by a word that may be anything in every cycle, registers begin with anything.
Then, for all codes: accumulating writes back bucket + product, at the exponent's address; draining
adds the top to the bucket and shifts; clearing writes 0.  With a RAM that returns what was last
written (`hw/cells`, checked by simulation) this is the induction step of the buckets' sums; the
order of the steps (`hq_drain`) is what tests/test_bucket.py checks to the cycle.
"""

from __future__ import annotations

import pytest

from hw.library import source_text
from hw.netlist import cell_models
from hw.styles import STYLES
from hw.yosys import run
from hwquant import codec
from hwquant.errors import ToolError
from hwquant.mac import MacSpec

KEYS = (
    "Primitive", "WeightBits", "WeightFloat", "WeightSigned", "WeightExpBits", "ActBits",
    "ActFloat", "ActSigned", "ActExpBits", "RecodeAct", "Window", "AddrBits", "BucketBits",
)  # fmt: skip
WIDE = 24

RAM = """
module hq_bucket_ram #(
  parameter bit Primitive = 1'b0,
  parameter int unsigned AddrBits = 5,
  parameter int unsigned Width = 8
) (
  input  logic clk_i,
  input  logic we_i,
  input  logic [AddrBits-1:0] addr_i,
  input  logic [Width-1:0] data_i,
  output logic [Width-1:0] data_o
);
  (* anyseq *) logic [Width-1:0] anything;
  assign data_o = anything;
endmodule
"""


def golden(spec, values):
    """Return the miter: one bucket lane and what each of its steps must give."""
    rows = [
        f"      {spec.weight.bits + spec.act.bits}'d{w << spec.act.bits | a}: value = "
        f"{'-' if product < 0 else ''}{WIDE}'sd{abs(product)};"
        for w in spec.weight.codes
        for a in spec.act.codes
        if (product := codec.decode(spec.weight, w) * codec.decode(spec.act, a))
    ]
    tables = (
        f"  logic signed [{WIDE - 1}:0] value;\n"
        "  always_comb begin\n    value = '0;\n    case ({w_q, a_q})\n"
        + "\n".join(rows)
        + "\n      default: ;\n    endcase\n  end\n"
    )
    exponents = (values["WeightExpBits"] > 1) + (values["ActExpBits"] > 1)
    settings = ", ".join(f".{key}({values[key]})" for key in KEYS)
    bits, address, digit = values["BucketBits"], values["AddrBits"], 1 << values["Window"]
    return f"""
module miter (
  input  logic clk_i, drop_i, clear_i, set_i, shift_i, write_i,
  input  logic [{address - 1}:0] addr_i,
  input  logic [{spec.weight.bits - 1}:0] weight_i,
  input  logic [{spec.act.bits - 1}:0] act_i,
  output logic ok
);
  logic [{bits - 1}:0] top, bucket, sum, top_was, sum_was;
  logic [{address - 1}:0] addr, addr_was;
  logic [{digit - 1}:0] digit;
  logic [{spec.weight.bits - 1}:0] w_q;
  logic [{spec.act.bits - 1}:0] a_q;
  logic signed [{WIDE - 1}:0] value_q, added, placed;
  logic dropped_q, adds, drains, clears, set_was, shift_was, right;

  hq_bucket #({settings}) u_bucket (
    .en_i(1'b1), .f_bucket_o(bucket), .f_sum_o(sum), .f_addr_o(addr), .top_o(top),
    .digit_o(digit), .*);
{tables}
  always_ff @(posedge clk_i) begin
    w_q <= drop_i ? '0 : weight_i;
    a_q <= drop_i ? '0 : act_i;
    dropped_q <= drop_i;
    value_q <= value <<< {exponents};
    adds <= addr_i == {values["First"]} && !clear_i;
    drains <= dropped_q && !clear_i;
    clears <= dropped_q && clear_i;
    addr_was <= addr_i;
    top_was <= top;
    sum_was <= sum;
    set_was <= set_i;
    shift_was <= shift_i;
  end

  assign added = {WIDE}'($signed(sum - bucket));
  assign placed = added <<< ({{2'd0, addr}} << {values["Window"]});
  always_comb begin
    right = 1'b1;
    if (adds && top == '0) right = placed == value_q;
    if (drains) right = right && sum == bucket + top && addr == addr_was;
    if (clears && &top) right = right && sum == '0 && addr == addr_was;
    if (set_was) right = right && &top;
    else if (shift_was) right = right && $signed(top) == ($signed(sum_was) >>> {digit});
    else right = right && top == top_was;
    ok = right && digit == sum[{digit - 1}:0];
  end
endmodule
"""


def prove(spec, style, edit=("", "")):
    """Run Yosys' solver over the step; raises `ToolError` where it is refuted."""
    values = dict(STYLES[style].parameters(spec))
    sources = {name: source_text(name) for name in STYLES[style].sources}
    del sources["hq_bucket_mac.sv"], sources["hq_drain.sv"]
    port = "output logic [BucketBits-1:0] top_o\n"
    text = sources["hq_bucket.sv"]
    assert text.count(port) == 1
    text = text.replace(
        port,
        "output logic [BucketBits-1:0] f_bucket_o, f_sum_o,\n"
        f"  output logic [AddrBits-1:0] f_addr_o,\n  {port}",
    ).replace(
        "\nendmodule",
        "\n  assign f_bucket_o = bucket;\n  assign f_sum_o = sum;\n  assign f_addr_o = addr_q;\n"
        "\nendmodule",
    )
    if edit[0]:
        assert text.count(edit[0]) == 1
        text = text.replace(*edit)
    sources |= {"hq_bucket.sv": text, "hq_bucket_ram.sv": RAM, "miter.sv": golden(spec, values)}
    cells = cell_models(("LUT6_2", "CARRY8"))
    names = " ".join((*cells, *sources))
    script = (
        f"read_verilog -sv {names}\nhierarchy -check -top miter\nproc\nflatten\nmemory\nopt\n"
        "sat -verify -seq 3 -prove-skip 2 -prove ok 1 miter\n"
    )
    run(script, cells | sources)


@pytest.mark.synth
@pytest.mark.parametrize(
    ("name", "style"),
    [("e2m1", "bucket"), ("e2m0", "bucket"), ("e3m0", "bucket_fast"), ("e3m0", "bucket_portable")],
)
def test_the_step_is_right_in_every_state(name, style):
    prove(MacSpec(name, name, 1, 16), style)


FAULTS = {
    "a sign is lost": ("(weight_neg ^ act_neg) | clear_i", "weight_neg | clear_i"),
    "the bucket next to it": ("addr_q <= exp_sum[SumBits-1:Window];", "addr_q <= '0;"),
    "the top keeps its sign out": ("{Digit{sum[BucketBits-1]}}", "{Digit{1'b0}}"),
    "clearing forgets the top": ("top_q & {BucketBits{neg_q}}", "{BucketBits{1'b0}}"),
}


@pytest.mark.synth
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_step_is_refuted(fault):
    with pytest.raises(ToolError, match=r"Yosys failed.*(proof did fail|failed)"):
        prove(MacSpec("e2m1", "e2m1", 1, 16), "bucket", FAULTS[fault])
