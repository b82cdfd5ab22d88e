# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The denoiser over many chunks and denoising steps, with a backward pass written by hand.

Rows go through all layers in blocks that fit into a processor's cache, the derivative of Mish is
computed beside its value, and products may be rounded to bfloat16, apart for the two directions:
PPO's ratios need an exact forward pass, but its gradients are noisy anyway.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diwa.policy.denoiser import Denoiser, ResidualBlock

BLOCK = 512  # rows that go through the layers together on a CPU
LARGEST = 20.0  # Mish is the identity beyond, to float32's precision


class Products(NamedTuple):
    """What the factors of matrix products are rounded to; None: nothing.

    Where those of the forward pass are rounded, those of the backward pass must be as well.
    """

    forward: torch.dtype | None = None
    backward: torch.dtype | None = None


EXACT = Products()


def denoise_all(
    net: Denoiser, x: Tensor, latent: Tensor, time: Tensor, products: Products = EXACT
) -> Tensor:
    """Predicted noise, as `Denoiser.forward`; `x` and `latent` get no gradient.

    Args:
        net: the denoiser.
        x: (B, K', Tp, A) float32, noisy chunks.
        latent: (B, F) float32.
        time: (K', hidden), rows of `Denoiser.time_table`.
        products: what they are rounded to.

    Returns:
        (B, K', Tp, A) float32.
    """
    layers: list[Tensor] = []
    for block in net.blocks:
        assert isinstance(block, ResidualBlock)
        layers += [block.first.weight, block.first.bias, block.second.weight, block.second.bias]
    ends = (net.from_latent.weight, net.from_latent.bias, net.from_chunk.weight)
    out = (net.out.weight, net.out.bias)
    noise: Tensor = _Denoise.apply(products, x.flatten(2), latent, time, *ends, *out, *layers)
    return noise.view(x.shape)


def mish_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mish, x * tanh(softplus(x)), and its derivative, with one exponential."""
    e = x.clamp_max(LARGEST).exp_()
    n = (e + 2).mul_(e)
    inverse = (n + 2).reciprocal_()
    share = n.mul_(inverse)  # tanh(softplus(x))
    rest = torch.addcmul(e, e, e).mul_(inverse).mul_(inverse).mul_(x)
    return x * share, share.add_(rest, alpha=4)


def _as(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    return value if dtype is None else value.to(dtype)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The layer x W^T + b; `bias` is not rounded, and decides the type of the result."""
    if x.dtype == bias.dtype:
        return torch.addmm(bias, x, weight.t())
    return (x @ weight.t()) + bias


class _Denoise(torch.autograd.Function):
    """(products, x (B, K', X), latent, time, weights...) -> (B, K', X).

    The weights are those of latent, chunk and out with their biases, then of all layers.
    """

    @staticmethod
    def forward(
        ctx: Any, products: Products, x: Tensor, latent: Tensor, time: Tensor, *weights: Tensor
    ) -> Tensor:
        """Go through all layers, block by block, and keep what the backward pass multiplies."""
        assert products.forward is None or products.forward == products.backward, products
        rounded = [_as(w, products.forward) for w in weights]
        known, first, out, layers = rounded[0], rounded[2], rounded[3], rounded[5:]
        condition = _affine(_as(latent, products.forward), known, weights[1])
        block = len(x) if x.is_cuda else max(1, BLOCK // x.shape[1])
        pieces, rows = [], []
        for begin in range(0, len(x), block):
            part = x[begin : begin + block]
            given = condition[begin : begin + block, None] + time
            hidden = (_as(part.flatten(0, 1), products.forward) @ first.t()) + given.flatten(0, 1)
            kept = []
            for index in range(0, len(layers), 4):
                value, slope = mish_and_slope(hidden)
                value = _as(value, products.forward)
                inner = _affine(value, layers[index], weights[6 + index])
                again, inner_slope = mish_and_slope(inner)
                again = _as(again, products.forward)
                hidden = _affine(again, layers[index + 2], weights[8 + index]).add_(hidden)
                tensors = (_as(value, products.backward), _as(again, products.backward))
                kept.append((*tensors, slope, inner_slope))
            noise = _affine(_as(hidden, products.forward), out, weights[4])
            pieces.append(noise.view(part.shape))
            rows.append((part, _as(hidden, products.backward), kept))
        ctx.dtype, ctx.rows, ctx.latent = products.backward, rows, latent
        ctx.save_for_backward(*weights)
        return torch.cat(pieces)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Go back through all layers; gradients of weights add up over the blocks."""
        dtype = ctx.dtype
        rounded = [_as(w, dtype) for w in ctx.saved_tensors]
        total = [torch.zeros_like(w) for w in ctx.saved_tensors]
        d_conditions, d_time, begin = [], grads[0].new_zeros(()), 0
        for part, hidden, kept in ctx.rows:
            d_noise = grads[0][begin : begin + len(part)].flatten(0, 1)
            begin += len(part)
            total[4] += d_noise.sum(0)
            d_noise = _as(d_noise, dtype)
            total[3] += d_noise.t() @ hidden
            d_hidden = (d_noise @ rounded[3]).to(d_time.dtype)
            for index in range(len(rounded) - 4, 4, -4):
                value, again, slope, inner_slope = kept[(index - 5) // 4]
                d_last = _as(d_hidden, dtype)
                total[index + 2] += d_last.t() @ again
                total[index + 3] += d_hidden.sum(0)
                d_inner = (d_last @ rounded[index + 2]) * inner_slope
                total[index + 1] += d_inner.sum(0)
                d_inner = _as(d_inner, dtype)
                total[index] += d_inner.t() @ value
                d_hidden.add_((d_inner @ rounded[index]) * slope)
            total[2] += _as(d_hidden, dtype).t() @ _as(part.flatten(0, 1), dtype)
            shaped = d_hidden.view(*part.shape[:2], -1)
            d_conditions.append(shaped.sum(1))
            d_time = d_time + shaped.sum(0)
        d_condition = torch.cat(d_conditions)
        total[0] += _as(d_condition, dtype).t() @ _as(ctx.latent, dtype)
        total[1] = d_condition.sum(0)
        return (None, None, None, d_time, *total)
