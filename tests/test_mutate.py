# SPDX-License-Identifier: Apache-2.0
"""The mutation gate: mutants die or are proved equivalent; a weaker stimulus lets them live."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner

from hw.styles import STYLES
from hwquant.errors import HwquantError, InputError, ToolError
from hwquant.mac import MacSpec
from sim import mutate as gate
from sim.designs import design_of_spec
from sim.engine import verify_designs
from sim.kernels import Design
from sim.mutants import mutate_design
from sim.mutate_command import mutate as command
from sim.mutate_kernels import CAMPAIGN, SMALL, blocks, campaign, kernel
from sim.mutate_known import KNOWN
from sim.mutate_prove import CONSTANT, LEGAL, POSITIVE, prove
from sim.replay import play

pytestmark = [pytest.mark.sim, pytest.mark.synth]

STEPS = 16_384
KERNELS = [
    MacSpec("e4m3", "e4m3", 1, 256, 45, "saturate"),
    MacSpec("int4", "uint4", 3, 64, 14, "saturate"),
    MacSpec("e2m1", "int8", 2, 64, 12, "wrap"),
]
SATURATING = MacSpec("e2m1", "int4", 1, 64, 10, "saturate")


@pytest.fixture(scope="module")
def report():
    return gate.mutate(KERNELS, mutants=25, seed=1, steps=STEPS)


def test_every_mutant_of_three_kernels_is_killed_or_proved_equivalent(report):
    report.raise_for_survivor()
    record = report.to_json()
    assert record["mutants"] == record["killed"] + record["equivalent"]
    assert record["survivors"] == 0
    assert record["equivalent"] > 0
    for spec in KERNELS:
        found = [f for f in report.fates if f.kernel.spec == spec]
        assert len(found) >= 200
        assert [f.mutant.index for f in found] == list(range(1, len(found) + 1))
    assert {row["block"] for row in report.rows()} == set(blocks())


def test_a_kill_is_told_with_its_stimulus_and_both_results(report):
    kills = [fate.kill for fate in report.fates if fate.kill is not None]
    assert {kill["stage"] for kill in kills} == {"products", "streams", "gaps"}
    told = [kill for kill in kills if kill["expected"] != kill["got"]]
    assert len(told) > 0.95 * len(kills)  # the rest changed a result that should have stayed
    assert all(kill["index"] >= 0 for kill in told)


@pytest.fixture(scope="module")
def accumulator():
    """All mutants of a saturating accumulator, and what killed each under all the stimulus."""
    mutated = mutate_design(design_of_spec(SATURATING), count=10_000, seed=1, blocks=["hq_acc"])
    return mutated, gate.run_mutants(mutated, seed=1, steps=STEPS)


def test_all_mutants_of_an_accumulator_die_or_are_equivalent(accumulator):
    mutated, killed = accumulator
    assert len(mutated.mutants) > 500
    left = [mutant for mutant in mutated.mutants if mutant.index not in killed]
    assert all(proof.equivalent for proof in prove(mutated, left).values())


@pytest.mark.parametrize(
    "stimulus",
    [("products",), ("products", "random", "random with zeros", "boundary codes", "gaps")],
    ids=["products only", "without the rails"],
)
def test_without_the_corner_streams_mutants_survive(accumulator, stimulus):
    mutated, killed = accumulator
    fewer = gate.run_mutants(mutated, seed=1, steps=STEPS, stimulus=stimulus)
    missed = [m for m in mutated.mutants if m.index in killed.keys() - fewer.keys()]
    assert missed
    assert fewer.keys() <= killed.keys()
    # What the full stimulus killed can be no equivalent: the prover must say so as well.
    proofs = prove(mutated, missed[:20])
    assert {proof.verdict for proof in proofs.values()} == {"different"}
    assert all({"weight_i", "en_i"} <= proof.example.keys() for proof in proofs.values())


def test_an_equivalence_that_needs_legal_codes_says_so():
    """-2 * -2 is the one product of 2-bit integers that is 4; narrow formats have no -2."""
    design = design_of_spec(MacSpec("int2n", "int2n", 1, 4, 2, "saturate"))
    mutated = mutate_design(design, count=10_000, seed=1, blocks=["hq_acc"])
    place = ("const0", "A", 1)
    (mutant,) = (
        m
        for m in mutated.mutants
        if "$reduce_or" in m.cell and (m.mode, m.port, m.portbit) == place
    )
    (proof,) = prove(mutated, [mutant]).values()
    assert (proof.verdict, proof.under) == ("equivalent", LEGAL)
    wide = replace(mutated.kernel, spec=MacSpec("int2", "int2", 1, 4, 2, "saturate"))
    (proof,) = prove(replace(mutated, kernel=wide), [mutant]).values()
    assert (proof.verdict, proof.under) == ("different", "")
    assert set(proof.example["q0"] + proof.example["q1"]) <= {"0", "1"}


def test_an_accumulator_of_unsigned_products_is_never_negative():
    design = design_of_spec(MacSpec("uint3", "uint2", 1, 64, 9, "saturate"))
    mutated = mutate_design(design, count=10_000, seed=1, blocks=["hq_acc"])
    killed = gate.run_mutants(mutated, seed=1, steps=STEPS)
    left = [mutant for mutant in mutated.mutants if mutant.index not in killed]
    proofs = prove(mutated, left)
    assert {proof.verdict for proof in proofs.values()} == {"equivalent"}
    assert {proof.under for proof in proofs.values()} == {"", POSITIVE}


def test_the_prover_tells_killed_mutants_from_the_original(accumulator):
    mutated, killed = accumulator
    some = [mutant for mutant in mutated.mutants if mutant.index in killed][:: len(killed) // 20]
    assert {proof.verdict for proof in prove(mutated, some).values()} == {"different"}


def test_a_kernel_that_is_wrong_by_itself_is_an_error():
    design = design_of_spec(SATURATING)
    right, wrong = "{AccBits - 1{~wide[WideBits-1]}}", "{AccBits - 1{1'b0}}"
    assert right in design.sources["hq_acc.sv"]
    text = design.sources["hq_acc.sv"].replace(right, wrong)
    broken = Design(design.kernels, {**design.sources, "hq_acc.sv": text})
    with pytest.raises(ToolError, match="the original differs already"):
        gate.mutate_designs([(broken, ("hq_acc",))], mutants=2, steps=STEPS)


@pytest.mark.parametrize(
    ("right", "wrong", "stage"),
    [
        ("if (en_i && valid_i) acc_o", "if (en_i) acc_o", "result not held"),
        ("if (rst_i || (en_i && clear_i))", "if (en_i && clear_i)", "gaps"),
    ],
    ids=["result not held", "reset does not clear"],
)
def test_verify_finds_what_the_first_survivors_showed(right, wrong, stage):
    design = design_of_spec(MacSpec("e2m1", "int4", 2, 64, 12, "saturate"))
    assert right in design.sources["hq_acc.sv"]
    text = design.sources["hq_acc.sv"].replace(right, wrong)
    broken = Design(design.kernels, {**design.sources, "hq_acc.sv": text})
    report = verify_designs([broken], steps=4096)
    assert report.mismatches > 0
    failure = report.failures[0]
    assert stage in failure.stage
    again = play(broken, (*failure.before, *failure.rows))
    assert again.mismatches > 0
    assert play(design, (*failure.before, *failure.rows)).mismatches == 0


def test_the_seed_picks_the_mutants_and_the_same_seed_the_same_ones():
    design = design_of_spec(SATURATING)
    first, again, other = (
        mutate_design(design, count=20, seed=seed, blocks=["hq_acc"]).mutants for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert {mutant.block for mutant in first} == {"hq_acc"}
    assert len(first) == 20


def test_the_campaign_shows_every_block_its_branches():
    assert {spec.overflow.value for spec in CAMPAIGN} == {"wrap", "saturate"}
    listed = [mutate_design(kernel(spec)[0], count=200, seed=1).mutants for spec in CAMPAIGN]
    found = Counter(mutant.block for mutants in listed for mutant in mutants)
    assert found.keys() == set(blocks())
    assert min(found.values()) >= 200


def test_the_campaign_holds_a_kernel_of_every_style():
    targets = campaign()
    titles = [design.kernels[0].title for design, _ in targets]
    assert titles[: len(CAMPAIGN)] == [""] * len(CAMPAIGN)
    assert sorted(titles[len(CAMPAIGN) :]) == sorted(STYLES.keys() - {"plain"})
    assert {design.kernels[0].spec for design, _ in targets} <= {*CAMPAIGN, *SMALL}
    assert all(reason for reason in KNOWN.values())
    assert {style for style, _ in KNOWN} <= {*titles}


def test_a_block_of_another_style_is_mutated_in_the_kernels_that_have_it():
    targets = campaign("hq_tree_mac")
    assert [design.kernels[0].title for design, _ in targets] == ["tree", "tree_portable"]
    report = gate.mutate_designs(targets, mutants=25, steps=4096)
    report.raise_for_survivor()
    assert len(report.fates) == 50
    # A register that only ever loads 0 may as well never be clocked.
    assert CONSTANT in {fate.proof.under for fate in report.fates if fate.proof is not None}


def test_a_drain_that_goes_on_while_the_kernel_is_frozen_is_noticed():
    """What the first survivor in a bucket kernel showed: no stall fell into a drain."""
    right, wrong = "end else if (en_i) begin\n      shift_q", "end else begin\n      shift_q"
    design = design_of_spec(MacSpec("e2m1", "e2m1", 1, 40), "bucket_portable")
    assert verify_designs([design], steps=2048).mismatches == 0
    text = design.sources["hq_drain.sv"]
    assert right in text
    broken = {**design.sources, "hq_drain.sv": text.replace(right, wrong)}
    assert verify_designs([Design(design.kernels, broken)], steps=2048).mismatches > 0


@pytest.mark.parametrize("lanes", [1, 6], ids=["no level", "one level"])
def test_a_reset_that_spares_the_accumulator_behind_a_gap_is_noticed(lanes):
    """What a survivor in a tree kernel showed: no reset met a beat right behind a gap."""
    right = "InitA(Rst | (En & Valid & Clear))"
    wrong = "InitA((Rst & ~(En & Valid & ~Clear & ~Held)) | (En & Valid & Clear))"
    design = design_of_spec(MacSpec("int3", "int3", lanes, 60), "tree_portable")
    assert verify_designs([design], steps=2048).mismatches == 0
    text = design.sources["hq_tree_acc.sv"]
    assert right in text
    broken = {**design.sources, "hq_tree_acc.sv": text.replace(right, wrong)}
    assert verify_designs([Design(design.kernels, broken)], steps=2048).mismatches > 0


def test_a_bit_of_a_ram_that_is_written_in_stalls_is_noticed():
    """What two survivors showed: in a stall the netlist wrote something undefined somewhere."""
    targets = {design.kernels[0].title: design for design, _ in campaign("hq_bucket_ram")}
    design = targets["bucket_portable"]
    mutated = mutate_design(design, count=25, seed=1, blocks=["hq_bucket_ram"])
    write = next(mutant for mutant in mutated.mutants if "proc_memwr" in mutant.cell)
    stuck = replace(write, mode="const1", port="EN", ctrlbit=None)
    mutants = tuple(replace(stuck, index=bit + 1, portbit=bit) for bit in range(10))
    killed = gate.run_mutants(replace(mutated, mutants=mutants), seed=1, steps=STEPS)
    assert killed.keys() == set(range(1, 11))


def run(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments])


KERNEL = ("--weight", "e2m1", "--act", "int4", "--acc", 10, "--overflow", "saturate")


def test_the_command_prints_a_table_or_json():
    options = (*KERNEL, "--length", 64, "--block", "hq_decode", "--mutants", 10, "--steps", 2048)
    shown = run(*options)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0].split() == [
        "block", "kernel", "mutants", "killed", "equivalent", "listed", "survivors",
    ]  # fmt: skip
    record = json.loads(run(*options, "--json").stdout)
    assert (record["mutants"], record["survivors"], record["seed"]) == (10, 0, 1)
    assert [row["block"] for row in record["blocks"]] == ["hq_decode"]
    assert sum(record["killed_first_by"].values()) == record["killed"]


def test_a_survivor_that_is_not_equivalent_is_told_and_exits_with_1():
    done = run(
        *KERNEL,
        "--length",
        64,
        "--block",
        "hq_acc",
        "--steps",
        1,
        "--mutants",
        60,
        "--json",
    )
    assert done.exit_code == 1
    record = json.loads(done.stdout)
    assert record["survivors"] == len(record["failures"]) > 0
    assert all(failure["proof"]["verdict"] == "different" for failure in record["failures"])
    assert "survive and are not equivalent" in done.stderr
    assert "hq_acc.sv:" in done.stderr
    report = gate.mutate(SATURATING, mutants=60, steps=1, blocks=["hq_acc"])
    with pytest.raises(gate.MutationError, match=r"survive; the first:\n.*10-bit"):
        report.raise_for_survivor()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to mutate; give"),
        (("--all", "--block", "hq_acc"), "--all goes without"),
        (("--weight", "int4"), "--weight and --act go together"),
        (("--block", "hq_nothing"), "'hq_nothing', allowed: hq_decode"),
        (("--block", "hq_acc", "--lanes", 2), "--lanes goes with --weight and --act"),
        ((*KERNEL, "--mutants", 0), "mutants 0, allowed 1 or more"),
        ((*KERNEL, "--seed", -1), "seed -1, allowed 0"),
        (("--weight", "int4", "--act", "int4", "--block", "hq_decode"), "only wires"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    done = run(*arguments)
    assert isinstance(done.exception, HwquantError)
    assert message in str(done.exception)


def test_no_kernel_and_an_unknown_block_are_refused():
    with pytest.raises(InputError, match="no kernel was given"):
        gate.mutate([])
    with pytest.raises(InputError, match="'hq_none' is no part of"):
        gate.mutate(SATURATING, blocks=["hq_none"])
