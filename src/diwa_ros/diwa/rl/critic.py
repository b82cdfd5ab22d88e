# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The critic: a value for each latent, independent of the denoising step (DPPO)."""

from __future__ import annotations

from torch import Tensor, nn

from diwa.policy.denoiser import ResidualBlock


class Critic(nn.Module):
    """MLP with one residual block."""

    def __init__(self, feat: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(feat, hidden), ResidualBlock(hidden), nn.Mish(), nn.Linear(hidden, 1)
        )

    def forward(self, latent: Tensor) -> Tensor:
        """(..., F) -> (...)."""
        return self.layers(latent).squeeze(-1)
