# SPDX-License-Identifier: Apache-2.0
"""Keep what a long step has learned so far, so that the same command goes on after a kill.

Files live in the cache, under a key of everything the result depends on: the networks, the data,
the recipe, the step.  A step that is quicker than `EVERY` seconds writes nothing; one that ends
removes its files.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
import time
import zipfile
from typing import Any, Final

import torch
from torch import Tensor

from hwquant import atomic
from hwquant.cache import content_key, entry_path
from hwquant.errors import InputError
from hwquant.formats import parse
from hwquant.nn.quantizers import act_quantizer, weight_quantizer
from hwquant.progress import note
from hwquant.ptq.insert import ACT_PREFIX
from hwquant.ptq.job import Job
from hwquant.ptq.learn.blocks import Block
from hwquant.ptq.reformat import set_weight_format

__all__ = ["Resume"]

EVERY: Final = 30.0  # seconds between two files
VERSION: Final = 1


class Resume:
    """The blocks one step has finished, and the training under way in the next one."""

    def __init__(self, job: Job, name: str) -> None:
        self.job = job
        self.last = time.monotonic()
        key = content_key(VERSION, name, job.recipe.to_json(), _digest(job))
        self.folder = entry_path("ptq", key, "")
        self.done: dict[str, Any] = self._read("blocks") or {}
        if self.done:
            note(f"{name}: going on behind {len(self.done)} finished blocks")

    def restore(self, block: Block) -> bool:
        """Bring ``block`` to the state stored for it; return whether there was one."""
        stored = self.done.get(block.name)
        if stored is None:
            return False
        for path, state in stored["layers"].items():
            set_weight_format(self.job.model, path, parse(state["format"]))
            layer: Any = self.job.model.get_submodule(path)
            weight_quantizer(layer).set_scale(state["scale"].to(layer.weight.device))
            with torch.no_grad():
                layer.weight.copy_(state["weight"])
                layer.bias.copy_(state["bias"])
        for path, scale in stored["acts"].items():
            act_quantizer(self.job.model.get_submodule(path)).set_scale(scale)
        return True

    def finished(self, block: Block) -> None:
        """Remember ``block`` as it is now."""
        layers = {}
        for site in block.sites:
            layer = self.job.layer(site)
            quantizer = weight_quantizer(layer)
            layers[site.path] = {
                "format": str(quantizer.fmt),
                "scale": quantizer.scale.clone(),
                "weight": layer.weight.detach().clone(),
                "bias": layer.bias.detach().clone(),
            }
        targets = {n.name: str(n.target) for n in self.job.model.graph.nodes}
        paths = {targets[name] for name in block.nodes if name in targets}
        acts = {p: self.job.act(p).scale for p in paths if p.startswith(f"{ACT_PREFIX}.")}
        self.done[block.name] = {"layers": layers, "acts": acts}
        if self._due():
            self._write("blocks", self.done)

    def training(self) -> dict[str, Any] | None:
        """Return the training state stored for the block under way, if any."""
        state: dict[str, Any] | None = self._read("training")
        if state is not None and state["after"] == len(self.done):
            return state
        return None

    def train(self, state: dict[str, Any]) -> None:
        """Store the training state of the block under way, now and then."""
        if self._due():
            self._write("blocks", self.done)
            self._write("training", {**state, "after": len(self.done)})

    def due(self) -> bool:
        """Return whether `train` would store anything now."""
        return time.monotonic() - self.last >= EVERY

    def end(self) -> None:
        """Remove what was stored: the step is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _due(self) -> bool:
        if not self.due():
            return False
        self.last = time.monotonic()
        return True

    def _write(self, name: str, content: Any) -> None:
        try:
            with atomic.atomic_file(self.folder / f"{name}.pt") as temporary:
                torch.save(content, temporary)
        except InputError as error:  # a full or read-only cache costs the resumption, no more
            note(f"what was learned so far could not be stored: {error}")

    def _read(self, name: str) -> Any | None:
        path = self.folder / f"{name}.pt"
        if not path.is_file():
            return None
        try:
            return torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile):
            note(f"{path} is not whole and is not used")
            return None


def _digest(job: Job) -> str:
    """Return the hash of both networks and the data."""
    digest = hashlib.sha256()
    tensors: list[Tensor] = [*job.batches]
    for graph in (job.reference, job.model):
        digest.update(graph.code.encode())
        tensors += [value for value in graph.state_dict().values() if isinstance(value, Tensor)]
    for value in tensors:
        digest.update(f"{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
