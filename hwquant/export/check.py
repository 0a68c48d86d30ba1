# SPDX-License-Identifier: Apache-2.0
"""Execute a QONNX file with qonnx and compare it with the integer reference, code for code."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant.errors import ExportError, InputError
from hwquant.export.block_check import BlockCompare
from hwquant.export.compare import Compare, Row
from hwquant.graph import Graph, load
from hwquant.graph.exact import Array, Exact, Real

__all__ = ["CheckReport", "check_qonnx"]

CHUNK = 32  # inferences executed at once at most: qonnx keeps all their tensors
CHUNK_NUMBERS = 1 << 18  # input numbers executed at once, roughly


@dataclass(frozen=True)
class CheckReport:
    """The result of a check: totals, one `Row` per comparison, float islands and notes.

    ``codes_compared`` and ``differences`` count activation and weight codes and the accumulators
    of layers whose result is not quantized; differences also count channels and scales that are
    not those written at export.  ``failures`` are rows that must be equal and are not.
    """

    path: Path
    images: int
    layers: int
    codes_compared: int
    differences: int
    rows: tuple[Row, ...]
    islands: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def failures(self) -> tuple[Row, ...]:
        """Rows where equality is guaranteed and does not hold."""
        return tuple(row for row in self.rows if row.proven and row.differences)

    @property
    def proven(self) -> bool:
        """Whether equality is guaranteed for every compared number."""
        return all(row.proven for row in self.rows if row.counts)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        return {
            "path": str(self.path),
            "images": self.images,
            "layers": self.layers,
            "codes_compared": self.codes_compared,
            "differences": self.differences,
            "proven": self.proven,
            "failures": [row.layer for row in self.failures],
            "islands": list(self.islands),
            "notes": list(self.notes),
            "rows": [row.to_json() for row in self.rows],
        }


def _scale_crc(scale: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(np.ravel(scale), "<f4").tobytes())


def _fingerprint_rows(graph: Graph) -> Iterator[Row]:
    """Compare the file's weight codes, biases and scales with those written at export."""
    layers = {layer.name: layer for layer in graph.layers()}
    for record in graph.model.metadata.get("layers", []):
        name, told = str(record["name"]), str(record.get("fingerprint", ""))
        found = layers[name].fingerprint if name in layers else ""
        channels = [told[i : i + 8] for i in range(0, len(told), 8)]
        bad = [c for c, t in enumerate(channels) if found[8 * c : 8 * c + 8] != t]
        why = ""
        if name not in layers:
            why, bad = f"layer {name} is gone or no longer quantized", bad or [0]
        elif bad:
            shown = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
            why = f"weight codes or bias of channel {shown} are not those written at export"
        yield Row(name, "fingerprint", max(len(channels), 1), len(bad), proven=True, why=why)
    for tensor, record in graph.model.metadata.get("quantizers", {}).items():
        quantizer = graph.quantizers.get(tensor)
        told = record.get("scale_crc")
        if quantizer is None or (told is not None and told != _scale_crc(quantizer.network_scale)):
            why = "the scale is not the one written at export" if quantizer else "quantizer is gone"
            yield Row(str(record.get("name", tensor)), "fingerprint", 1, 1, proven=True, why=why)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Executor:
    """qonnx, running the file on batches of one size at a time."""

    def __init__(self, path: Path) -> None:
        import onnx

        self.proto = onnx.load(str(path))
        self.batch: int | None = None
        self.model: Any = None

    def _resize(self, batch: int) -> None:
        """Declare another batch size and infer the shapes again."""
        import onnx
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.transformation.infer_shapes import InferShapes

        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        stored = {tensor.name for tensor in proto.graph.initializer}
        for item in (*proto.graph.input, *proto.graph.output):
            dims = item.type.tensor_type.shape.dim
            if len(dims) and item.name not in stored:
                dims[0].dim_value = batch
        kept = [item for item in proto.graph.value_info if item.name in stored]
        del proto.graph.value_info[:]
        proto.graph.value_info.extend(kept)
        self.model = ModelWrapper(proto).transform(InferShapes())
        self.batch = batch

    def run(self, name: str, inputs: NDArray[np.float32]) -> dict[str, Array]:
        """Return every tensor of the execution."""
        from qonnx.core.onnx_exec import execute_onnx

        with _quiet():
            if self.batch != len(inputs):
                self._resize(len(inputs))
            context: dict[str, Array] = execute_onnx(
                self.model, {name: inputs}, return_full_exec_context=True
            )
        return context


def _executed(executor: _Executor, graph: Graph, inputs: NDArray[np.float32]) -> dict[str, Array]:
    try:
        return executor.run(next(iter(graph.model.inputs)), inputs)
    except Exception as error:  # qonnx and onnxruntime raise bare and private classes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"{graph.path}: qonnx cannot execute the graph ({reason[:200]})"
        ) from error


def _checked(graph: Graph, inputs: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(inputs, np.float32)
    if not np.isfinite(array).all():
        what = "NaN" if np.isnan(array).any() else "infinity"
        raise InputError(f"the inputs hold {what}, allowed: finite numbers")
    want = next(iter(graph.model.inputs.values()))
    if want is not None and (
        array.ndim != len(want)
        or any(w not in (None, g) for w, g in zip(want[1:], array.shape[1:], strict=True))
        or not len(array)
    ):
        shown = " x ".join("any" if n is None else str(n) for n in ("N", *want[1:]))
        got = " x ".join(map(str, array.shape))
        raise InputError(f"{graph.path}: the inputs have shape {got}, allowed {shown}")
    return array


def _output_row(graph: Graph, mine: Mapping[str, Any], got: list[Array], want: list[Array]) -> Row:
    """Compare the executed output with another forward's; equal where all is proven."""
    executed, other = np.concatenate(got), np.concatenate(want)
    if executed.shape != other.shape:
        raise InputError(
            f"{graph.path}: the reference gives shape {other.shape}, the file {executed.shape}"
        )
    value = mine[graph.model.outputs[0]]
    proven = isinstance(value, Exact | Real) and value.proven
    wrong = int(np.count_nonzero(executed != other))
    why = "" if proven else "float32 rounding depends on the order of summation"
    return Row("output", "outputs", executed.size, wrong, proven=proven, why=why)


def check_qonnx(
    path: str | Path,
    inputs: ArrayLike,
    reference: Callable[[NDArray[np.float32]], ArrayLike] | None = None,
) -> CheckReport:
    """Execute ``path`` with qonnx on ``inputs`` (N, ...) and compare with the integer reference.

    Every quantizer's codes, every weight's codes and every layer's accumulators are compared; each
    layer is computed from the input codes the execution itself had, so one difference does not
    become many.  Equality is guaranteed where scales are powers of two and float32 sums stay
    within 24 bits; elsewhere differences are counted and explained.  A file that carries our
    metadata is also compared with the fingerprints written at export.  ``reference`` (a PyTorch
    forward, say) gives outputs to compare as well.

    Raises `InputError` for unfit or non-finite inputs, `ExportError` for a file that cannot be
    read, is not quantized or does not execute.
    """
    graph = load(path, strict=False)
    array = _checked(graph, inputs)
    fixed = graph.fixed_batch()
    if fixed and len(array) % fixed:  # complete the last batch
        array = np.concatenate([array, np.repeat(array[-1:], fixed - len(array) % fixed, axis=0)])
    compare, executor = Compare(graph), _Executor(Path(path))
    blocks = BlockCompare(graph.model)
    got: list[Array] = []
    want: list[Array] = []
    values: Mapping[str, Any] = {}
    size = fixed or max(1, min(CHUNK, len(array), CHUNK_NUMBERS * len(array) // array.size))
    for start in range(0, len(array), size):
        piece = array[start : start + size]
        context = _executed(executor, graph, piece)
        compare.start(context)
        blocks.start(context)
        values = graph.execute(piece, compare)
        if reference is not None:
            got.append(context[graph.model.outputs[0]])
            want.append(np.asarray(reference(piece)))
    rows = [*compare.finish(), *blocks.rows.values(), *_fingerprint_rows(graph)]
    if reference is not None:
        rows.append(_output_row(graph, values, got, want))
    layers, islands = graph.survey()
    return CheckReport(
        path=Path(path),
        images=len(array),
        layers=len(layers) + len(blocks.layers),
        codes_compared=sum(row.compared for row in rows if row.counts),
        differences=sum(
            row.differences for row in rows if row.counts or (row.proven and row.differences)
        ),
        rows=tuple(rows),
        islands=tuple(f"{i.op} {i.node}: {i.why}" for i in islands),
        notes=tuple(_notes(graph, rows)),
    )


def _notes(graph: Graph, rows: list[Row]) -> Iterator[str]:
    """Say in words what the numbers mean."""
    if not graph.model.metadata:
        yield "the file has no hwquant metadata: weights are taken as they are in the file"
    for row in rows:
        if row.differences and row.proven:
            yield (
                f"{row.layer}: {row.differences} of {row.compared} {row.kind} differ although "
                f"they must be equal{': ' if row.why else ''}{row.why}"
            )
        elif row.differences and row.kind != "accumulators":
            yield f"{row.layer}: {row.differences} of {row.compared} {row.kind} differ ({row.why})"
        elif row.counts and not row.proven:
            yield f"{row.layer}: all {row.compared} {row.kind} equal, not guaranteed ({row.why})"
