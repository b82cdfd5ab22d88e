# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Samples of categorical variables, with straight-through gradients (Bengio et al. 2013)."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_index(prob: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw classes by inverting the distribution: (..., C) probabilities -> (..., 1) int64."""
    uniform = torch.rand(
        (*prob.shape[:-1], 1), generator=generator, dtype=prob.dtype, device=prob.device
    )
    cumulative = prob.cumsum(dim=-1)
    below = cumulative[..., :-1] <= uniform * cumulative[..., -1:]
    return below.sum(dim=-1, keepdim=True)


def sample_one_hot(log_prob: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one-hot samples whose gradient is that of the probabilities.

    Args:
        log_prob: (..., C) float32, normalised log-probabilities.
        generator: source of randomness.

    Returns:
        (..., C) float32, exactly one-hot in value.
    """
    prob = log_prob.exp()
    index = draw_index(prob.detach(), generator)
    one_hot = torch.zeros_like(prob).scatter_(-1, index, 1.0)
    return one_hot + (prob - prob.detach()) if prob.requires_grad else one_hot
