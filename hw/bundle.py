# SPDX-License-Identifier: Apache-2.0
"""Read back a generated folder whose spec is of a kind of its own: tile, requantizer, block dot.

`hw.wrapper.write_folder` writes such a folder; a kind adds only how its spec is read from JSON.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from hwquant.errors import HwquantError, InputError

from .manifest import MANIFEST, check_sealed, read_record

__all__ = ["SpecBundle"]

Spec = TypeVar("Spec")


@dataclass(frozen=True)
class SpecBundle(ABC, Generic[Spec]):
    """A generated folder; the fields mean what they mean in `hw.manifest.Bundle`."""

    folder: Path
    name: str
    spec: Spec
    style: str
    latency_cycles: int
    files: tuple[str, ...]
    manifest: dict[str, Any]

    @staticmethod
    @abstractmethod
    def read_spec(record: Any) -> Spec:
        """Rebuild the spec from the manifest's; raises `HwquantError` where that is none."""

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a generated folder and check every file against the manifest's hashes.

        Raises `InputError` when the manifest or a file is missing, damaged or changed.
        """
        path = Path(folder)
        record = read_record(path / MANIFEST)
        try:
            claimed, hashes = record["seal"], record["sha256"]
            bundle = cls(
                path,
                record["name"],
                cls.read_spec(record["spec"]),
                record["style"],
                record["interface"]["latency_cycles"],
                tuple(record["files"]),
                record,
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{path / MANIFEST} lacks {error}; generate it again") from error
        except HwquantError as error:
            raise InputError(f"{path / MANIFEST}: {error}") from error
        check_sealed(path, record, claimed, hashes)
        return bundle
