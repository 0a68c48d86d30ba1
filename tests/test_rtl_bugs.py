# SPDX-License-Identifier: Apache-2.0
"""Ten hand-made bugs, each caught by the suite and told with the codes it lives in.

Nine are edits of the RTL blocks.  Every edit replaces a text that must stand in its file exactly
once, so a block that changes makes the test fail instead of testing nothing.  All variants are
kernels of one farm, beside kernels without an edit that must pass.

Requantization has no RTL yet.  Its bug, a wrong tie, is put into the two Python requantizers (the
codec on arrays and the thresholds of the graph executor), and caught by the checks that hold them
to the scalar codec.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from hw.generate import kernel_text
from hw.library import source_text
from hw.styles import STYLES
from hwquant import codec, codec_np
from hwquant.formats import Integer, parse
from hwquant.graph import exact
from hwquant.mac import MacSpec
from sim.engine import verify_designs
from sim.kernels import Design, Kernel
from sim.report import Failure, KernelResult
from sim.vectors import product_passes

pytestmark = pytest.mark.sim

STEPS = 4096


def edited(text: str, right: str, wrong: str) -> str:
    """Replace ``right``, which must stand in ``text`` exactly once."""
    assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times, not once"
    return text.replace(right, wrong)


@dataclass(frozen=True)
class Bug:
    """Edits (file, right, wrong) of the blocks under one kernel, and what must come of them.

    ``told`` says whether a failing vector belongs to the bug.  ``codes`` says which rows of the
    products stage (weight codes, act codes, one per lane) fail; None: that stage sees nothing.
    """

    spec: MacSpec
    edits: tuple[tuple[str, str, str], ...]
    told: Callable[[Failure], bool]
    codes: Callable[[tuple[int, ...], tuple[int, ...]], bool] | None = None


def values(failure: Failure) -> list[tuple[int, int]]:
    """Return the decoded integers of each lane."""
    spec = failure.kernel.spec
    return [
        (codec.decode(spec.weight, w), codec.decode(spec.act, a))
        for w, a in zip(failure.weight, failure.act, strict=True)
    ]


def difference(failure: Failure) -> int:
    assert failure.expected is not None
    assert failure.got is not None
    return failure.got - failure.expected


def subnormal(name: str, code: int) -> bool:
    fmt = parse(name)
    magnitude = code & (1 << fmt.exponent_bits + fmt.mantissa_bits) - 1
    return 0 < magnitude < 1 << fmt.mantissa_bits


def zero(name: str, code: int) -> bool:
    return codec.decode(parse(name), code) == 0


def negative(name: str, code: int) -> bool:
    """Return the sign bit, which -0 has too."""
    return bool(code >> parse(name).bits - 1)


def first_of_dot(failure: Failure) -> int:
    """Return the product sum of the first beat of the failing dot product."""
    _, weight, act = failure.rows[0]
    return int(failure.kernel.spec.products(weight, act).sum())


FLOATS = MacSpec("e2m2", "e3m1", 1, 64, "auto", "wrap")
MIXED = MacSpec("e2m1", "int4", 1, 64, "auto", "wrap")
LONG = MacSpec("int4", "int4", 1, 3000, "auto", "wrap")
SAME = MacSpec("int4", "int4", 1, 64, "auto", "wrap")
LANES = MacSpec("e2m1", "int4", 3, 192, "auto", "wrap")
SIGNS = MacSpec("e2m1", "e1m2", 2, 128, "auto", "wrap")
CLAMP = MacSpec("int4", "e2m1", 1, 64, 12, "saturate")
TIGHT = MacSpec("int4", "int4", 4, 64, 9, "saturate")

CLEARED = "else if (en_i && valid_i) acc_q <= acc_d;"
RESULT = "if (en_i && valid_i) acc_o <= acc_d;"
FRESH = """else if (en_i && valid_i && !fresh_q) acc_q <= acc_d;
  end

  logic fresh_q;
  always_ff @(posedge clk_i) begin
    if (en_i) fresh_q <= clear_i;"""
HELD = "else if (en_i && valid_i) valid_o <= 1'b1;"
RAIL = "{wide[WideBits-1], {AccBits - 1{~wide[WideBits-1]}}}"

BUGS = {
    # The carry out of the accumulator's sign is lost: a sum beyond a rail comes back with the
    # other sign instead of being clamped.
    "off-by-one accumulator width": Bug(
        TIGHT,
        (("hq_acc.sv", "(AccBits > SumBits ? AccBits : SumBits) + 1;", "AccBits;"),),
        told=lambda f: f.expected in (-256, 255) and (f.expected < 0) != (f.got < 0),
    ),
    # The accumulator of 3,000 products lacks its top bit, which only the longest dot products of
    # largest products need: anything shorter than 2,048 of them fits.
    "accumulator one bit short of its law": Bug(
        LONG,
        (
            (
                "hq_acc.sv",
                RESULT,
                "if (en_i && valid_i) acc_o <= {acc_d[AccBits-2], acc_d[AccBits-2:0]};",
            ),
        ),
        told=lambda f: f.expected == 2048 * 64 and f.beat == 2047,
    ),
    "missing subnormal": Bug(
        FLOATS,
        (
            (
                "hq_decode.sv",
                "assign sig_o = {normal, code_i[ManBits-1:0]};",
                "assign sig_o = {normal, code_i[ManBits-1:0] & {ManBits{normal}}};",
            ),
        ),
        told=lambda f: f.got == 0,
        codes=lambda w, a: (
            (subnormal("e2m2", w[0]) or subnormal("e3m1", a[0]))
            and not (zero("e2m2", w[0]) or zero("e3m1", a[0]))
        ),
    ),
    # Zero is not inverted, but the carry of its sign is still added.
    "sign of zero": Bug(
        FLOATS,
        (
            (
                "hq_dot.sv",
                "assign term[lane] = mag ^ {ProductBits{neg[lane]}};",
                "assign term[lane] = mag == '0 ? '0 : mag ^ {ProductBits{neg[lane]}};",
            ),
        ),
        told=lambda f: (f.expected, f.got) == (0, 1),
        codes=lambda w, a: (
            (zero("e2m2", w[0]) or zero("e3m1", a[0]))
            and negative("e2m2", w[0]) != negative("e3m1", a[0])
        ),
    ),
    "wrong saturation value": Bug(
        CLAMP,
        (
            (
                "hq_acc.sv",
                RAIL,
                "{wide[WideBits-1], {AccBits - 2{~wide[WideBits-1]}}, 1'b1}",
            ),
        ),
        told=lambda f: (f.expected, f.got) == (-2048, -2047),
    ),
    # Right result for the first beat, but the sum goes on without it.
    "lost first step after clear": Bug(
        MIXED,
        (
            (
                "hq_acc.sv",
                CLEARED,
                FRESH,
            ),
        ),
        told=lambda f: f.beat >= 1 and -difference(f) == first_of_dot(f) != 0,
    ),
    # Lane 0 is inverted for its sign, but the one that makes it a negation is not added.
    "dropped carry": Bug(
        SIGNS,
        (("hq_sum.sv", ".carry_i(low_carry),", ".carry_i(1'b0),"),),
        told=lambda f: difference(f) == -1,
        codes=lambda w, a: negative("e2m1", w[0]) != negative("e1m2", a[0]),
    ),
    "swapped operands of a mixed pair": Bug(
        MIXED,
        (
            ("hq_dot.sv", ".weight_i(weight_i[lane]),", ".weight_i(act_i[lane]),"),
            ("hq_dot.sv", ".act_i(act_i[lane]),", ".act_i(weight_i[lane]),"),
        ),
        told=lambda f: f.got == int(MIXED.products(f.act, f.weight).sum()),
        codes=lambda w, a: int(MIXED.products(a, w)[0]) != int(MIXED.products(w, a)[0]),
    ),
    # The result register takes the sum from before the beat: an old result is drained.
    "stale drain": Bug(
        MIXED,
        (("hq_acc.sv", RESULT, "if (en_i && valid_i) acc_o <= acc_q;"),),
        told=lambda f: f.got == 0 and f.expected == values(f)[0][0] * values(f)[0][1],
        codes=lambda w, a: not (zero("e2m1", w[0]) or zero("int4", a[0])),
    ),
    # valid_o never falls: the last result is drained again and again.
    "stale drain, valid held": Bug(
        MIXED,
        (("hq_acc.sv", "else if (en_i) valid_o <= valid_i;", HELD),),
        told=lambda f: f.expected is None and f.got is not None,
    ),
    "byte order of lanes": Bug(
        LANES,
        (("hq_dot.sv", ".weight_i(weight_i[lane]),", ".weight_i(weight_i[Lanes-1-lane]),"),),
        told=lambda f: f.got == int(LANES.products(f.weight[::-1], f.act).sum()),
        codes=lambda w, a: int(LANES.products(w[::-1], a).sum()) != int(LANES.products(w, a).sum()),
    ),
}  # fmt: skip
HARMLESS = {
    **{f"no edit: {name}": Bug(bug.spec, (), told=lambda _: False) for name, bug in BUGS.items()},
    # Why a mixed pair: with one format for both operands, swapping them changes nothing.
    "swapped operands of one format": Bug(
        SAME, BUGS["swapped operands of a mixed pair"].edits, told=lambda _: False
    ),
}


def variant(bug: Bug, name: str) -> tuple[Kernel, str]:
    """Return the kernel called ``name`` on edited blocks that have names of their own."""
    library = STYLES["plain"]
    texts = {file: source_text(file) for file in library.sources}
    for file, right, wrong in bug.edits:
        texts[file] = edited(texts[file], right, wrong)
    text = "\n".join([*texts.values(), kernel_text(bug.spec, name)])
    return Kernel(bug.spec, name, library.latency_cycles), re.sub(r"\bhq_", f"{name}_", text)


@pytest.fixture(scope="module")
def found() -> dict[str, KernelResult]:
    every = {**BUGS, **HARMLESS}
    built = [variant(bug, f"variant{i}") for i, bug in enumerate(every.values())]
    sources = {f"{kernel.name}.sv": text for kernel, text in built}
    design = Design(tuple(kernel for kernel, _ in built), sources)
    report = verify_designs([design], steps=STEPS)
    return dict(zip(every, report.results, strict=True))


def rows_of_products(spec: MacSpec) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the codes of every row of the products stage, in order."""
    return [
        (tuple(w), tuple(a))
        for block in product_passes(spec)
        for w, a in zip(block.weight[:, 0].tolist(), block.act[:, 0].tolist(), strict=True)
    ]


@pytest.mark.parametrize("name", BUGS)
def test_the_bug_is_caught_and_told_with_its_codes(found, name):
    bug, result = BUGS[name], found[name]
    assert result.mismatches > 0
    assert result.failures
    # Without `codes` the bug stays in the accumulator, and later results follow from the first.
    judged = result.failures if bug.codes is not None else result.failures[:1]
    wrong = [f.describe() for f in judged if not bug.told(f)]
    assert not wrong, f"not of this bug: {wrong[0]}"
    stages = {failure.stage for failure in result.failures}
    if bug.codes is None:
        assert "products" not in stages
        return
    # The first failing vectors are the first rows that the bug must break, and no others.
    expected = [row for row in rows_of_products(bug.spec) if bug.codes(*row)]
    assert stages == {"products"}
    assert [(f.weight, f.act) for f in result.failures] == expected[: len(result.failures)]
    assert result.mismatches >= len(expected) > 0


@pytest.mark.parametrize("name", HARMLESS)
def test_without_a_bug_nothing_is_found(found, name):
    assert found[name].mismatches == 0
    assert found[name].failures == ()
    assert found[name].mac_steps >= STEPS


def test_an_edit_that_fits_nowhere_is_an_error():
    with pytest.raises(AssertionError, match="stands 0 times, not once"):
        edited(source_text("hq_acc.sv"), "text of an older block", "")


def module_with(module: types.ModuleType, right: str, wrong: str) -> types.ModuleType:
    """Return a copy of a module with one edit of its source."""
    name = f"{module.__name__}_edited"
    copy = types.ModuleType(name)
    sys.modules[name] = copy  # dataclasses look their module up
    try:
        exec(edited(inspect.getsource(module), right, wrong), copy.__dict__)  # noqa: S102
    finally:
        del sys.modules[name]
    return copy


@pytest.mark.parametrize("name", ["int4", "uint3", "e2m1", "e3m2", "ue2m2", "e4m3", "e0m3"])
def test_wrong_tie_in_requantization_python_codec(name):
    """Half away from zero instead of half to even: exactly half of the ties are wrong."""
    fmt = parse(name)
    line = "np.clip(steps, fmt.min_int, fmt.max_int)" if isinstance(fmt, Integer) else None
    right = f"np.rint({line})" if line else "np.rint(np.ldexp(magnitude, -shift))"
    inner = line or "np.ldexp(magnitude, -shift)"
    wrong = f"(np.sign({inner}) * np.floor(np.abs({inner}) + 0.5))"
    bad = module_with(codec_np, right, wrong)

    levels = sorted({codec.value(fmt, code) for code in fmt.codes})
    ties = [(a + b) / 2 for a, b in pairwise(levels)]
    points = np.array([float(x) for x in (*levels, *ties)], np.float32)
    neighbours = [np.nextafter(points, np.float32(end)) for end in (np.inf, -np.inf)]
    x = np.concatenate([points, *neighbours])
    wanted = np.array([codec.encode(fmt, float(v)) for v in x])
    assert np.array_equal(codec_np.encode(fmt, x), wanted)
    differing = {Fraction(float(v)) for v in x[bad.encode(fmt, x) != wanted]}
    even_below = {
        tie
        for tie in ties
        if abs(codec.value(fmt, codec.encode(fmt, tie))) < abs(tie)  # half to even went down
    }
    assert differing == even_below
    assert len(differing) >= len(ties) // 2 - 1 > 0


@pytest.mark.parametrize("name", ["int4", "e2m1", "ue3m2", "e4m3fn"])
def test_wrong_tie_in_requantization_thresholds(name):
    """Every tie goes up: the failing accumulators are exactly the ties that go down."""
    fmt, ratio = parse(name), Fraction(6)
    bad = module_with(exact, "(ceiling == exact and not tie_up)", "0")
    ints = np.arange(-400, 400)
    wanted = codec_np.canonical(fmt, [codec.encode(fmt, int(i) / ratio) for i in ints])
    assert np.array_equal(exact._step_function(fmt, ratio, ints), wanted)
    differing = set(ints[bad._step_function(fmt, ratio, ints) != wanted].tolist())
    levels = sorted({codec.value(fmt, code) for code in fmt.codes})
    ties = {a: (a + b) / 2 * ratio for a, b in pairwise(levels)}
    down = {
        int(tie)
        for below, tie in ties.items()
        if tie.denominator == 1
        and -400 <= tie < 400
        and codec.value(fmt, codec.encode(fmt, tie / ratio)) == below
    }
    assert differing == down
    assert differing
