# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The denoiser: an MLP with pre-activation residual blocks (DPPO's DiffusionMLP, DiWA appendix).

The first layer is split into what depends on the latent, on the denoising step and on the noisy
chunk, so that sampling a chain computes the first part once and the second from a small table.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from diwa.policy.config import PolicyConfig


class ResidualBlock(nn.Module):
    """x + Linear(Mish(Linear(Mish(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        return x + self.second(functional.mish(self.first(functional.mish(x))))


class Denoiser(nn.Module):
    """Predicts the noise in a chunk from the chunk, the denoising step and a latent."""

    frequencies: Tensor

    def __init__(self, config: PolicyConfig, feat: int) -> None:
        super().__init__()
        self.config = config
        size, width = config.time_embed, config.hidden
        chunk = config.pred_horizon * config.action_size
        half = size // 2
        rate = torch.exp(torch.arange(half) * -(math.log(10_000.0) / max(half - 1, 1)))
        self.register_buffer("frequencies", rate, persistent=False)
        self.time = nn.Sequential(
            nn.Linear(2 * half, 2 * size), nn.Mish(), nn.Linear(2 * size, size)
        )
        self.from_latent = nn.Linear(feat, width)
        self.from_time = nn.Linear(size, width, bias=False)
        self.from_chunk = nn.Linear(chunk, width, bias=False)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(config.blocks)])
        self.out = nn.Linear(width, chunk)

    def condition(self, latent: Tensor) -> Tensor:
        """(..., F) -> (..., hidden): the part of the first layer that stays for a whole chain."""
        return self.from_latent(latent)

    def time_table(self) -> Tensor:
        """(K, hidden): the part of the first layer for each denoising step."""
        steps = torch.arange(self.config.steps, device=self.frequencies.device)
        angle = steps[:, None].float() * self.frequencies
        return self.from_time(self.time(torch.cat((angle.sin(), angle.cos()), dim=-1)))

    def forward(self, x: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        """Predicted noise.

        Args:
            x: (..., Tp, A) float32, noisy chunk.
            condition: (..., hidden) of `condition`.
            time: (..., hidden) or (hidden,), rows of `time_table`.
        """
        hidden = self.from_chunk(x.flatten(-2)) + condition + time
        return self.out(self.blocks(hidden)).reshape(x.shape)
