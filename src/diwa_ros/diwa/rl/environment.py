# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What PPO needs of an environment. The dream and the simulator look alike from here."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class StepResult(NamedTuple):
    """One chunk executed in N environments side by side."""

    latent: Tensor  # (N, F), where each environment now is; after a reset: its new start
    final_latent: Tensor  # (N, F), before any reset; the state to bootstrap from
    reward: Tensor  # (N,) float32
    terminated: Tensor  # (N,) bool, solved
    truncated: Tensor  # (N,) bool, out of time


class ChunkEnvironment(Protocol):
    """N environments that execute action chunks and reset themselves when an episode ends."""

    count: int

    def reset(self, generator: torch.Generator) -> Tensor:
        """Start all episodes anew: latents (N, F)."""
        ...

    def step(self, chunk: Tensor, generator: torch.Generator) -> StepResult:
        """Execute the chunks (N, Ta, A), already executable actions."""
        ...
