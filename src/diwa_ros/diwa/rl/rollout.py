# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Collecting chunk steps from an environment, with log-probabilities kept from sampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diwa.policy.actions import executable
from diwa.policy.diffusion import DiffusionPolicy
from diwa.rl.environment import ChunkEnvironment


@dataclass(frozen=True, slots=True)
class Rollout:
    """L chunk steps of N environments."""

    latent: Tensor  # (L, N, F)
    chain: Tensor  # (L, N, K'+1, Tp, A)
    log_prob: Tensor  # (L, N, K')
    value: Tensor  # (L, N)
    next_value: Tensor  # (L, N), of the state after the step, before any reset
    reward: Tensor  # (L, N)
    terminated: Tensor  # (L, N) bool
    truncated: Tensor  # (L, N) bool

    @property
    def ended(self) -> Tensor:
        """(L, N) bool: an episode ended here."""
        return self.terminated | self.truncated


@torch.no_grad()
def collect(
    environment: ChunkEnvironment,
    policy: DiffusionPolicy,
    critic: nn.Module,
    chunks: int,
    generator: torch.Generator,
) -> Rollout:
    """Reset all environments and take `chunks` chunk steps with exploration noise."""
    act_horizon = policy.config.act_horizon
    latent = environment.reset(generator)
    rows: list[tuple[Tensor, ...]] = []
    for _ in range(chunks):
        sampled = policy.sample_chain(latent, generator)
        result = environment.step(executable(sampled.chunk[:, :act_horizon]), generator)
        rows.append(
            (
                latent,
                sampled.chain,
                sampled.log_prob,
                critic(latent),
                critic(result.final_latent),
                result.reward,
                result.terminated,
                result.truncated,
            )
        )
        latent = result.latent
    return Rollout(*[torch.stack(column) for column in zip(*rows, strict=True)])


@torch.no_grad()
def success_rate(
    environment: ChunkEnvironment,
    policy: DiffusionPolicy,
    max_chunks: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Share of one episode per environment that is solved, acting as when served.

    Returns:
        success rate in [0, 1] and the mean number of chunks until success (or the end).
    """
    latent = environment.reset(generator)
    solved = torch.zeros(environment.count, dtype=torch.bool, device=latent.device)
    length = torch.zeros(environment.count, device=latent.device)
    for _ in range(max_chunks):
        chunk = policy.sample(latent, generator)[:, : policy.config.act_horizon]
        result = environment.step(executable(chunk), generator)
        length += ~solved
        solved |= result.terminated
        latent = result.latent
    return float(solved.float().mean()), float(length.mean())
