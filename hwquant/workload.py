# SPDX-License-Identifier: Apache-2.0
"""What a network asks of the hardware: per layer, how many dot products of what length.

The neutral description between a quantized model (or a QONNX file) and the cost model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hwquant.formats import Format, parse

__all__ = ["Layer", "Workload"]


@dataclass(frozen=True)
class Layer:
    """One multiply-accumulate layer.

    ``length`` is the products per output, ``outputs`` the dot products per inference,
    ``weights`` the stored weight codes (0 where both operands are activations), ``acc_bits`` the
    certified accumulator width (sums without and with bias), ``channels`` the output channels.
    """

    name: str
    op: str
    length: int
    outputs: int
    weights: int
    channels: int
    weight: Format
    act: Format
    acc_bits: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates per inference."""
        return self.length * self.outputs

    @property
    def bops(self) -> int:
        """Bit operations per inference: products times the bits of both operands."""
        return self.macs * self.weight.bits * self.act.bits

    @property
    def weight_bits(self) -> int:
        """Bits of weight memory."""
        return self.weights * self.weight.bits

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able record; `from_json` reads it back."""
        return asdict(self) | {"weight": str(self.weight), "act": str(self.act)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Layer:
        """Rebuild a layer from `to_json`."""
        return cls(**(record | {"weight": parse(record["weight"]), "act": parse(record["act"])}))


@dataclass(frozen=True)
class Workload:
    """The layers of a network, in execution order."""

    layers: tuple[Layer, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates per inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bits(self) -> int:
        """Bits of weight memory."""
        return sum(layer.weight_bits for layer in self.layers)
