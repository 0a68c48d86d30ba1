# SPDX-License-Identifier: Apache-2.0
"""The generated folder: what ``manifest.json`` says, and how to read it back safely."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hwquant.errors import HwquantError, InputError
from hwquant.formats import Format
from hwquant.mac import MacSpec

__all__ = [
    "MANIFEST",
    "Bundle",
    "check_sealed",
    "format_facts",
    "read_record",
    "seal",
    "sha256_text",
    "spec_from_json",
    "spec_to_json",
]

MANIFEST: Final = "manifest.json"


def spec_to_json(spec: MacSpec) -> dict[str, Any]:
    """Return ``spec`` as JSON-able data; `spec_from_json` reads it back.

    >>> spec_to_json(MacSpec("e2m1", "int8", lanes=4))["act"]
    'int8'
    """
    return {
        "weight": str(spec.weight),
        "act": str(spec.act),
        "lanes": spec.lanes,
        "length": spec.length,
        "acc": spec.acc,
        "overflow": spec.overflow.value,
    }


def spec_from_json(record: Any) -> MacSpec:
    """Rebuild a spec from `spec_to_json`.

    Raises `InputError` for missing or unknown keys and wrong types, `SpecError` or `FormatError`
    for impossible values.
    """
    wanted = {"weight", "act", "lanes", "length", "acc", "overflow"}
    if not isinstance(record, dict) or set(record) != wanted:
        got = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise InputError(f"kernel spec has {got}, needed exactly {sorted(wanted)}")
    for key in ("weight", "act", "overflow"):
        if not isinstance(record[key], str):
            raise InputError(f"kernel spec: {key} is {record[key]!r}, allowed a name")
    for key in ("lanes", "length"):
        if type(record[key]) is not int:
            raise InputError(f"kernel spec: {key} is {record[key]!r}, allowed an integer")
    return MacSpec(**record)


def format_facts(fmt: Format) -> dict[str, Any]:
    """Return what a hardware engineer needs to know of a format's codebook."""
    return {
        "name": str(fmt),
        "bits": fmt.bits,
        "signed": fmt.signed,
        "step_log2": fmt.lsb_exp,
        "min_int": fmt.min_int,
        "max_int": fmt.max_int,
        "codes_without_value": (1 << fmt.bits) - len(fmt.codes),
    }


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text file's bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def seal(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's content, its own seal left out."""
    content = {key: value for key, value in record.items() if key != "seal"}
    return sha256_text(json.dumps(content, sort_keys=True))


@dataclass(frozen=True)
class Bundle:
    """A generated kernel on disk.

    ``folder`` is where it lies, ``name`` the top module, ``files`` the sources in compile order
    (relative to ``folder``, the top last), ``manifest`` the whole record.
    """

    folder: Path
    name: str
    spec: MacSpec
    style: str
    latency_cycles: int
    initiation_interval: int
    files: tuple[str, ...]
    manifest: dict[str, Any]

    @property
    def sources(self) -> tuple[Path, ...]:
        """The source files, in compile order."""
        return tuple(self.folder / name for name in self.files)

    @classmethod
    def load(cls, folder: str | Path) -> Bundle:
        """Read a generated folder and check every file against the manifest's hashes.

        Raises `InputError` when the manifest is missing, damaged or changed, or when a source
        file is missing or differs from what was generated.
        """
        path = Path(folder)
        record = read_record(path / MANIFEST)
        try:
            claimed, hashes, interface = record["seal"], record["sha256"], record["interface"]
            bundle = cls(
                folder=path,
                name=record["name"],
                spec=spec_from_json(record["spec"]),
                style=record["style"],
                latency_cycles=interface["latency_cycles"],
                initiation_interval=interface["initiation_interval"],
                files=tuple(record["files"]),
                manifest=record,
            )
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path / MANIFEST} lacks {error}; generate the kernel again with hwquant rtl"
            ) from error
        except HwquantError as error:
            raise InputError(f"{path / MANIFEST}: {error}") from error
        check_sealed(path, record, claimed, hashes)
        return bundle


def read_record(path: Path) -> dict[str, Any]:
    """Return the content of a manifest file; raises `InputError` when it is none."""
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{path.parent} holds no {MANIFEST}; give a folder written by hwquant rtl"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(
            f"{path} is not valid JSON ({error}); generate the kernel again with hwquant rtl"
        ) from error
    if not isinstance(record, dict):
        raise InputError(f"{path} holds a {type(record).__name__}, needed a JSON object")
    return record


def check_sealed(path: Path, record: dict[str, Any], claimed: str, hashes: dict[str, str]) -> None:
    """Raise `InputError` unless the manifest and every file it lists are as they were written."""
    if claimed != seal(record):
        raise InputError(
            f"{path / MANIFEST} was changed after it was generated (its seal does not match); "
            "generate the kernel again with hwquant rtl"
        )
    for name in record["files"]:
        if name != Path(name).name:
            raise InputError(f"{path / MANIFEST} lists {name!r}, allowed: plain names of files")
        _check_source(path / name, hashes.get(name))


def _check_source(path: Path, wanted: str | None) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if found != wanted:
        raise InputError(
            f"{path} does not match its hash in {MANIFEST} (found {found[:12]}..., "
            f"recorded {str(wanted)[:12]}...); generate the kernel again with hwquant rtl"
        )
