# SPDX-License-Identifier: Apache-2.0
"""What a folder with a taken point says of itself: README, script, CI snippet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from costmodel.explore.certainty import accuracy_interval
from costmodel.explore.hardware_plan import LEVEL, Plan
from costmodel.explore.space import label
from costmodel.explore.take import Taken

__all__ = ["CI", "SCRIPT", "readme"]

SCRIPT: Final = """\
#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Checks this folder again; any mismatch ends it with another exit code than 0.
set -eu
cd "$(dirname "$0")"
junit="${1:-${TMPDIR:-/tmp}/hwquant_verify_again.xml}"
hwquant take --check .
hwquant verify rtl --junit "$junit"
echo "bit-exact; JUnit in $junit"
"""

CI: Final = """\
# Copy to .github/workflows/ and set HARDWARE to where this folder lies in the repository.
# The variable HWQUANT says what pip installs: a release, a wheel, or the address of a checkout.
name: hardware
on: [push, pull_request]
env:
  HARDWARE: hardware
jobs:
  bit-exact:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install "${{ vars.HWQUANT || 'hwquant' }}"
      - run: sh "$HARDWARE/verify.sh" "$PWD/verify.xml"
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: verify
          path: verify.xml
"""

_FILES: Final = (
    ("`model.onnx`", "the network as QONNX, its formats and certificates in the metadata"),
    ("`recipe.toml`", "how it was quantized, for `hwquant quantize --recipe`"),
    ("`rtl/`", ("one folder for each distinct kernel; `layers.json` and `manifest.json` say who "
               "uses which")),
    ("`weights/`", ("for each layer the memory (`.hex`), the codes (`.npy`, channels x products) "
                   "and the bias (`.bias.npy`, integers of the accumulator); `weights.json` is "
                   "the index")),
    ("`cost/`", ("`cost.json` with the interval of the estimate; FINN's files where layers have "
                "kernels of their own")),
    ("`verify.xml`, `verify.json`", "what the proof and the check of the network found"),
    ("`check_inputs.npy`", "the inputs the network was checked on"),
    ("`point.json`", "the point in the run it was taken from"),
    ("`verify.sh`, `ci/`", "the check as a script, and as a job of GitHub Actions"),
    ("`SHA256SUMS`", "a checksum for every file"),
)  # fmt: skip

_LAYOUT: Final = """\
A memory holds one word a line in hexadecimal, for `$readmemh`. With B bits a code, word
`(c / PE) * beats + beat` has the code of channel `c - c % PE + p`, product `beat * SIMD + s` at
bits `(p * SIMD + s) * B` upward; `beats` is the products of the layer over SIMD, rounded up.
Channel `c` runs on kernel `c % PE`. Products are in the order of the ONNX weight tensor (input
channel, row, column); places beyond the last are zero."""


def _cell(value: Any) -> str:
    return str(value).replace("|", r"\|").replace("\n", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _accuracy(metrics: Mapping[str, Any]) -> str:
    if metrics.get("top1") is None:
        return "not measured"
    said = f"{metrics['top1']:.2%} top-1"
    items = metrics.get("test_items")
    if items:
        low, high = accuracy_interval(metrics["top1"], int(items), LEVEL)
        said += f" on {items} test items ({LEVEL:.0%} interval {low:.2%} to {high:.2%})"
    baseline = metrics.get("float_top1")
    return said if baseline is None else f"{said}; float {baseline:.2%}"


def _cost(plan: Plan) -> str:
    kernels, whole = plan.cost["lut_sites_interval"], plan.cost["with_conversion"]
    wide = (
        f" ({plan.cost['interval_level']:.0%} interval {kernels['low']:,} to {kernels['high']:,})"
        if kernels["low"] < kernels["high"]
        else ""
    )
    return (
        f"kernels {kernels['value']:,} LUT6 sites{wide}; with weight memory and requantizers "
        f"{whole['lut_sites']:,} sites, {whole['lutram']:,} LUTs as memory, {whole['ff']:,} "
        f"flip-flops, {whole['dsp']} DSP, {whole['bram18']} block RAMs of 18 kbit, "
        f"{whole['uram']} UltraRAM"
    )


def _facts(record: Mapping[str, Any], taken: Taken, plan: Plan) -> list[tuple[str, str]]:
    check, proof = taken.check, taken.verification
    guaranteed = "must be equal" if check["proven"] else "not all are guaranteed to be equal"
    facts = [
        ("Bit-exact", "yes" if taken.sound else "**NO: see verify.json**"),
        ("Accuracy", _accuracy(record["metrics"])),
        ("Cost", _cost(plan)),
        ("Priced by", str(plan.cost["flow"])),
        ("Folding", f"{plan.folding}; an inference every {plan.cost['interval_cycles']:,} cycles"),
        ("Network", (f"{check['codes_compared']:,} codes and accumulators on {check['images']} "
                    f"test inputs, {check['differences']} differences ({guaranteed})")),
        ("RTL", (f"{proof['kernels']} kernels: {proof['product_checks']:,} products and "
                f"{proof['mac_steps']:,} accumulator steps in Verilator, "
                f"{proof['mismatches']} mismatches")),
        ("Point", (f"`{record['key'][:12]}` of run `{record['run']}`, model `{record['model']}`, "
                  f"seed {record['seed']}, hwquant {record['hwquant']}")),
    ]  # fmt: skip
    if check["islands"]:
        facts.append(("Not integer", "; ".join(check["islands"])))
    return facts


def _notes(plan: Plan, memories: Sequence[Mapping[str, Any]]) -> str:
    notes = [
        (
            "Not in the cost: activation buffers, control, placement and routing "
            "(see the cost model's documentation)."
        )
    ]
    if plan.network is None:
        notes.append(
            "Layers share kernels here, which FINN's files cannot say, so there are none; a "
            "memory's words follow each other layer by layer."
        )
    elif any(m["length"] % m["simd"] for m in memories):
        notes.append(
            "Where SIMD does not divide a layer's products the last beat is padded with zeros; "
            "FINN itself refuses such a folding: take the point with --fps for one that divides."
        )
    return "\n\n".join(notes)


def readme(
    record: Mapping[str, Any], taken: Taken, plan: Plan, memories: Sequence[Mapping[str, Any]]
) -> str:
    """Return the README of a folder: the point, its cost and flow, its files, how to check it."""
    by_layer = {memory["layer"]: memory for memory in memories}
    rows = []
    for unit in plan.units:
        spec, style = plan.kernels[unit.kernel]
        memory = by_layer.get(unit.layer, {})
        width = spec.accumulator.width
        formats = (f"`{spec.weight}`", f"`{spec.act}`", width, unit.pe, unit.simd)
        size = f"{memory['words']} x {memory['word_bits']} bit" if memory else "-"
        rows.append((f"`{unit.layer}`", *formats, unit.cycles, f"`{unit.kernel}` ({style})", size))
    head = ("layer", "weight", "act", "accumulator", "PE", "SIMD", "cycles", "kernel", "memory")
    name, steps = label(record["point"]), record["point"].get("steps", "")
    own = len(record["point"].get("overrides") or ())
    mixed = f", {own} layers with formats of their own" if own else ""
    return f"""\
# {name} on {record["model"]}

A point of a run as hardware: formats {name} (weights/activations){mixed}, recipe `{steps}`.

{_table(("", ""), _facts(record, taken, plan))}

## Files

{_table(("file", "what"), _FILES)}

## Layers

{_table(head, rows)}

{_notes(plan, memories)}

## Weight memories

{_LAYOUT}

## Check it again

With hwquant installed, in this folder:

```sh
hwquant take --check .
hwquant verify rtl --junit verify_again.xml
```

The first compares checksums, reads the weight memories back and runs the network code for code
against exact integers; the second simulates every kernel against the same arithmetic. Both exit
with 1 when anything differs; `sh verify.sh` does both. More:

```sh
hwquant export model.onnx --check --images 32
hwquant cost model.onnx
```

The first checks the network on random inputs, the second prices it for other foldings and parts.
`ci/github-actions.yml` runs `verify.sh` on every push.
"""
