# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Dreaming without gradients on a CPU: the same numbers as the plain loop, in half the time.

A sample is an index per variable, so the layer over one-hot samples is a sum of its weights' rows;
the GRU's gates are computed in place. Equation by equation it is `RSSM.imagine_step`.

Matrix products may take bfloat16, as in training, where a processor multiplies it faster; states,
gates, norms and probabilities stay float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from diwa.world_model.sampling import draw_index


class DreamLayers(NamedTuple):
    """The parts of an RSSM that dream."""

    stoch_in: nn.Linear
    in_norm: nn.LayerNorm
    cell: nn.GRUCell
    prior_head: nn.Sequential


@torch.no_grad()
def dream_ahead(
    layers: DreamLayers,
    deter: Tensor,
    stoch: Tensor,
    action_in: Tensor,
    generator: torch.Generator | None,
    products: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Dream through projected actions and return the last state.

    Args:
        layers: of the model.
        deter: (B, D) float32, at the start.
        stoch: (B, S, C) float32, one-hot, at the start.
        action_in: (B, H, hidden) float32, actions after their projection.
        generator: source of randomness.
        products: what the factors of matrix products are rounded to.

    Returns:
        deter (B, D) and stoch (B, S, C) after the last action.
    """
    batch, variables, classes = stoch.shape
    rows = layers.stoch_in.weight.t().contiguous()
    offsets = torch.arange(variables, device=stoch.device) * classes
    sampled = layers.stoch_in(stoch.flatten(1))
    index = offsets.new_empty(0)
    norm, cell = layers.in_norm, layers.cell
    from_input = _Product(cell.weight_ih, cell.bias_ih, products)
    from_memory = _Product(cell.weight_hh, cell.bias_hh, products)
    prior = [
        _Product(layer.weight, layer.bias, products) if isinstance(layer, nn.Linear) else layer
        for layer in layers.prior_head
    ]
    for step in range(action_in.shape[1]):
        hidden = functional.layer_norm(
            sampled.add_(action_in[:, step]),
            norm.normalized_shape,
            norm.weight,
            norm.bias,
            norm.eps,
        )
        deter = _gru(from_input(functional.elu_(hidden)), from_memory(deter), deter)
        logits = deter
        for layer in prior:
            logits = layer(logits)
        prob = functional.softmax(logits.view(batch, variables, classes), dim=-1)
        index = draw_index(prob, generator).squeeze(-1)
        sampled = functional.embedding_bag(index + offsets, rows, mode="sum")
        sampled.add_(layers.stoch_in.bias)
    return deter, functional.one_hot(index, classes).to(deter.dtype)


class _Product:
    """A linear layer whose weights are rounded once; float32 in and out."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self._weight, self._bias = weight.to(dtype).t(), bias
        self._exact = dtype == weight.dtype

    def __call__(self, value: Tensor) -> Tensor:
        if self._exact:
            return torch.addmm(self._bias, value, self._weight)
        return (value.to(self._weight.dtype) @ self._weight).float().add_(self._bias)


def _gru(gates: Tensor, memory: Tensor, deter: Tensor) -> Tensor:
    """(B, 3 D), (B, 3 D), (B, D) -> (B, D), as torch.nn.GRUCell; `gates` is overwritten."""
    size = deter.shape[1]
    both = gates[:, : 2 * size].add_(memory[:, : 2 * size]).sigmoid_()
    reset, update = both[:, :size], both[:, size:]
    new = gates[:, 2 * size :].addcmul_(reset, memory[:, 2 * size :]).tanh_()
    return torch.lerp(new, deter, update)
