# SPDX-License-Identifier: Apache-2.0
"""From specs and bundles to designs: RTL text and the kernels in it, grouped into farms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hw.catalogue import style_name
from hw.generate import kernel_text
from hw.library import source_text
from hw.manifest import MANIFEST, Bundle, seal, spec_from_json
from hw.netlist import cell_models
from hw.style import Style
from hw.styles import STYLES, style_of
from hwquant.errors import InputError
from hwquant.mac import MacSpec

from .kernels import Control, Design, Kernel

__all__ = ["design_of_bundle", "design_of_spec", "design_of_target", "designs_of_specs"]

FARM_KERNELS = 100  # beyond this the compile time of one farm grows faster than its size
FARM_LANES = 512


def design_of_spec(spec: MacSpec, style: str = "plain") -> Design:
    """Return the library's kernel of one spec."""
    return _farm([spec], style_name(style, spec).style)


def designs_of_specs(specs: Sequence[MacSpec], style: str = "plain") -> Iterator[Design]:
    """Yield farms that together hold each of ``specs`` once, of like size within each farm.

    ``style`` is a style's name, or ``auto``: then each kernel has its own (`hw.catalogue`).
    """
    for name, group in by_style(specs, style).items():
        yield from _farms(group, name)


def by_style(specs: Sequence[MacSpec], style: str) -> dict[str, list[MacSpec]]:
    """Return style name -> its specs, each once."""
    groups: dict[str, list[MacSpec]] = {}
    for spec in dict.fromkeys(specs):
        groups.setdefault(style_name(style, spec).style, []).append(spec)
    return groups


def _farms(specs: Sequence[MacSpec], style: str) -> Iterator[Design]:
    def size(spec: MacSpec) -> int:
        return len(spec.weight.codes) * len(spec.act.codes)

    batch: list[MacSpec] = []
    for spec in sorted(specs, key=lambda spec: (size(spec), spec.lanes)):
        lanes = sum(s.lanes for s in batch) + spec.lanes
        if batch and (len(batch) >= FARM_KERNELS or lanes > FARM_LANES):
            yield _farm(batch, style)
            batch = []
        batch.append(spec)
    if batch:
        yield _farm(batch, style)


def library_kernel(spec: MacSpec, name: str, style: Style, title: str = "") -> Kernel:
    """Return the kernel that ``style`` makes of ``spec``, its cycles included."""
    if style.timing is None:
        return Kernel(spec, name, style.latency(spec), title=title)
    timing = style.timing(spec)
    control = Control(
        last=True,
        final=True,
        ready=True,
        gap=timing.gap,
        abort=timing.abort,
        longest=spec.beats,
        holds=False,
        zeroed=False,
    )
    return Kernel(spec, name, timing.latency, control, title)


def _farm(specs: Sequence[MacSpec], style: str) -> Design:
    styles = [style_of(style, spec) for spec in specs]
    kernels = tuple(
        library_kernel(spec, f"kernel_{index}", chosen)
        for index, (spec, chosen) in enumerate(zip(specs, styles, strict=True))
    )
    sources = cell_models(styles[0].primitives)
    sources |= {name: source_text(name) for chosen in styles for name in chosen.sources}
    sources["kernels.sv"] = "\n".join(kernel_text(k.spec, k.name, style) for k in kernels)
    return Design(kernels, sources)


def _style_of_record(record: dict[str, Any]) -> Style:
    """Return the style a manifest names, with the latency that the manifest says."""
    latency = int(record["interface"]["latency_cycles"])
    return replace(STYLES[record["style"]], latency_cycles=latency)


def design_of_bundle(bundle: Bundle | str | Path) -> tuple[Design, list[str]]:
    """Return the kernel in a generated folder, with a warning for each file that was changed.

    The files are taken as they are now: a change is no error, it is what verification is for.
    Raises `InputError` when the manifest or a source is missing or unreadable.
    """
    folder = bundle.folder if isinstance(bundle, Bundle) else Path(bundle)
    record = _manifest(folder)
    try:
        kernel = library_kernel(
            spec_from_json(record["spec"]),
            record["name"],
            _style_of_record(record),
        )
        names, hashes = list(record["files"]), dict(record["sha256"])
        claimed = record["seal"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / MANIFEST} lacks {error}; generate the kernel again with hwquant rtl"
        ) from error
    warnings = []
    if claimed != seal(record):
        warnings.append(f"{folder / MANIFEST} was changed after it was generated")
    sources = {}
    for name in names:
        try:
            raw = (folder / name).read_bytes()
            sources[Path(name).name] = raw.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{folder / name} cannot be read ({error})") from error
        if hashlib.sha256(raw).hexdigest() != hashes.get(name):
            warnings.append(f"{folder / name} differs from what was generated")
    style = STYLES.get(record.get("style", ""))
    cells = {} if style is None else cell_models(style.primitives)
    return Design((kernel,), cells | sources, str(folder)), warnings


def design_of_target(target: Bundle | str | Path) -> tuple[Design, list[str], tuple[str, ...]]:
    """Return the design of a bundle or of an own module's TOML, its warnings, what is untested.

    Raises what `design_of_bundle` and `sim.own_design.design_of_own` raise.
    """
    if not isinstance(target, Bundle) and Path(target).suffix == ".toml":
        from .own_design import design_of_own

        design, untested = design_of_own(target)
        return design, [], untested
    return *design_of_bundle(target), ()


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{folder} holds no readable {MANIFEST} ({error.strerror or error}); "
            "give a folder written by hwquant rtl"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); run hwquant rtl again") from error
    if not isinstance(record, dict):
        raise InputError(f"{path} holds a {type(record).__name__}, needed a JSON object")
    return record
