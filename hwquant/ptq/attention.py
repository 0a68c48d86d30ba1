# SPDX-License-Identifier: Apache-2.0
"""Attention spelled out: projections, two activation products, softmax.

`open_attention` replaces ``nn.MultiheadAttention`` (and ``nn.TransformerEncoderLayer``, which
hides one) by modules a tracer can enter; `open_scaled_dot_product` rewrites calls of
``F.scaled_dot_product_attention``.  Both leave each product visible as ``matmul``.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from hwquant.errors import UnsupportedError
from hwquant.ptq.trace import module_path

__all__ = ["Attention", "open_attention", "open_scaled_dot_product"]


@fx.wrap
def additive_mask(mask: Tensor) -> Tensor:
    """Return ``mask`` as numbers to add to the scores (in torch's layers True means hidden)."""
    if mask.dtype is torch.bool:
        return torch.zeros(mask.shape, dtype=torch.float32).masked_fill(mask, float("-inf"))
    return mask


class Attention(nn.Module):
    """The function of ``nn.MultiheadAttention`` in evaluation mode, from traceable calls.

    Takes and returns what the original does: (output, weights), the weights None unless
    ``need_weights``, averaged over heads unless told otherwise.  Inputs are three-dimensional.
    """

    def __init__(self, source: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.width = source.num_heads, source.embed_dim
        self.batch_first = source.batch_first
        if source.in_proj_weight is not None:
            weights = source.in_proj_weight.detach().chunk(3)
        else:
            parts = (source.q_proj_weight, source.k_proj_weight, source.v_proj_weight)
            weights = tuple(w.detach() for w in parts)
        bias = source.in_proj_bias
        biases = (None, None, None) if bias is None else bias.detach().chunk(3)
        self.q_proj = _linear(weights[0], biases[0])
        self.k_proj = _linear(weights[1], biases[1])
        self.v_proj = _linear(weights[2], biases[2])
        out_bias = source.out_proj.bias
        self.out_proj = _linear(
            source.out_proj.weight.detach(), None if out_bias is None else out_bias.detach()
        )

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,  # noqa: ARG002  torch's signature; a hint beside attn_mask
    ) -> tuple[Tensor, Tensor | None]:
        """Return (output, attention weights or None); ``is_causal`` is only a hint, as in torch."""
        if key_padding_mask is not None:
            raise UnsupportedError("MultiheadAttention with key_padding_mask, allowed: attn_mask")
        if not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        head = self.width // self.heads
        q = self.q_proj(query).unflatten(-1, (self.heads, head)).transpose(1, 2)
        k = self.k_proj(key).unflatten(-1, (self.heads, head)).transpose(1, 2)
        v = self.v_proj(value).unflatten(-1, (self.heads, head)).transpose(1, 2)
        scores = torch.matmul(q, k.transpose(-2, -1)) * head**-0.5
        if attn_mask is not None:
            scores = scores + additive_mask(attn_mask)
        weights = torch.softmax(scores, dim=-1)
        out = self.out_proj(torch.matmul(weights, v).transpose(1, 2).flatten(-2))
        if not self.batch_first:
            out = out.transpose(0, 1)
        if not need_weights:
            return out, None
        return out, weights.mean(1) if average_attn_weights else weights


class EncoderLayer(nn.Module):
    """The function of ``nn.TransformerEncoderLayer`` in evaluation mode."""

    def __init__(self, source: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.self_attn: nn.Module = source.self_attn  # opened before: children come first
        self.linear1, self.linear2 = source.linear1, source.linear2
        self.norm1, self.norm2, self.norm_first = source.norm1, source.norm2, source.norm_first
        self.activation = source.activation

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,  # noqa: ARG002  torch's signature; a hint beside attn_mask
    ) -> Tensor:
        """Return the encoded sequence, shape of ``src``."""
        if self.norm_first:
            src = src + self._attend(self.norm1(src), src_mask, src_key_padding_mask)
            return src + self._feed(self.norm2(src))
        src = self.norm1(src + self._attend(src, src_mask, src_key_padding_mask))
        normed: Tensor = self.norm2(src + self._feed(src))
        return normed

    def _attend(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        out: Tensor = self.self_attn(x, x, x, padding, need_weights=False, attn_mask=mask)[0]
        return out

    def _feed(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.activation(self.linear1(x)))
        return out


class Encoder(nn.Module):
    """The function of ``nn.TransformerEncoder`` in evaluation mode."""

    def __init__(self, source: nn.TransformerEncoder) -> None:
        super().__init__()
        self.layers, self.norm = source.layers, source.norm

    def forward(self, src: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the encoded sequence, shape of ``src``."""
        for layer in self.layers:
            src = layer(src, src_mask=mask)
        return src if self.norm is None else self.norm(src)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def open_attention(model: nn.Module) -> nn.Module:
    """Replace fused attention modules inside ``model``; return it (or its replacement).

    Raises `UnsupportedError` naming the module for options without a plain equivalent.
    """
    for name, child in list(model.named_children()):
        try:
            opened = open_attention(child)
        except UnsupportedError as error:
            raise UnsupportedError(f"{name}.{error}") from error
        if opened is not child:
            setattr(model, name, opened)
    if isinstance(model, nn.TransformerEncoder):
        return Encoder(model)
    if isinstance(model, nn.TransformerEncoderLayer):
        return EncoderLayer(model)
    if isinstance(model, nn.MultiheadAttention):
        if model.bias_k is not None or model.add_zero_attn:
            raise UnsupportedError(
                "MultiheadAttention with add_bias_kv or add_zero_attn, allowed: without them"
            )
        return Attention(model)
    return model


def open_scaled_dot_product(graph_module: fx.GraphModule) -> None:
    """Rewrite ``F.scaled_dot_product_attention(q, k, v)`` as ``softmax(scale q k^T + mask) v``.

    Needs ``node.meta["shape"]``.  Raises `UnsupportedError` naming the module for grouped queries
    or dropout.
    """
    graph = graph_module.graph
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not functional.scaled_dot_product_attention:
            continue
        given: dict[str, Any] = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
        path = module_path(node)
        if given.get("dropout_p"):
            raise UnsupportedError(f"module {path!r}: attention with dropout, allowed: dropout_p=0")
        if given.get("enable_gqa"):
            raise UnsupportedError(
                f"module {path!r}: grouped query attention, allowed: equal heads"
            )
        q, k, v = given["query"], given["key"], given["value"]
        scale = given.get("scale")
        if scale is None:
            scale = q.meta["shape"][-1] ** -0.5
        with graph.inserting_before(node):

            def call(function: Any, *args: Any, at: fx.Node = node) -> fx.Node:
                new = graph.call_function(function, args)
                new.meta["nn_module_stack"] = at.meta.get("nn_module_stack")
                return new

            scores = call(torch.matmul, q, call(torch.transpose, k, -2, -1))
            scores = call(operator.mul, scores, scale)
            if given.get("attn_mask") is not None:
                mask = call(scores_mask, given["attn_mask"])
                scores = call(operator.add, scores, mask)
            if given.get("is_causal"):
                scores = call(hide_future, scores)
            weights = call(torch.softmax, scores, -1)
            result = call(torch.matmul, weights, v)
        node.replace_all_uses_with(result)
        graph.erase_node(node)
    graph.lint()
    graph_module.recompile()


def scores_mask(mask: Tensor) -> Tensor:
    """Return an attention mask as numbers to add (in the function True means visible)."""
    if mask.dtype is torch.bool:
        return torch.zeros(mask.shape, dtype=torch.float32).masked_fill(~mask, float("-inf"))
    return mask


def hide_future(scores: Tensor) -> Tensor:
    """Return scores (..., query, key) with minus infinity where key > query."""
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(hidden, float("-inf"))
