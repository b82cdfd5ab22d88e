# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Generalised advantage estimation over chunk steps (Schulman et al. 2016).

Unlike DPPO, an episode that was cut short bootstraps from the value of the state in which it was
cut, not from that of the next episode's start.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Advantages and returns.

    Args:
        reward: (L, N) float32.
        value: (L, N) float32, of the state before each step.
        next_value: (L, N) float32, of the state after each step, before any reset.
        terminated: (L, N) bool; nothing follows.
        truncated: (L, N) bool; the episode went on, unseen.
        gamma: discount per step.
        gae_lambda: trace decay.

    Returns:
        advantage (L, N) and ret = advantage + value (L, N).
    """
    assert reward.shape == value.shape == next_value.shape, (reward.shape, next_value.shape)
    delta = reward + gamma * next_value * (~terminated) - value
    carry = gamma * gae_lambda * (~(terminated | truncated))
    advantage = torch.zeros_like(reward)
    running = torch.zeros_like(reward[0])
    for step in range(len(reward) - 1, -1, -1):
        running = delta[step] + carry[step] * running
        advantage[step] = running
    return advantage, advantage + value


class RewardScaler:
    """Divides rewards by the running standard deviation of the discounted return.

    Args:
        gamma: discount of the running return.
        clip: bound on the scaled reward.
        device: of the rewards.
    """

    def __init__(self, gamma: float, clip: float, device: torch.device | None = None) -> None:
        self.gamma = gamma
        self.clip = clip
        self.count = 1e-4
        self.mean = torch.zeros((), dtype=torch.float64, device=device)
        self.variance = torch.ones((), dtype=torch.float64, device=device)

    def __call__(self, reward: Tensor, ended: Tensor) -> Tensor:
        """Update with rewards (L, N) in time order and return them scaled.

        The running return starts at zero with each call and after each ended episode, (L, N) bool.
        """
        running = torch.zeros_like(reward[0])
        returns = torch.empty_like(reward)
        for step in range(len(reward)):
            running = running * self.gamma + reward[step]
            returns[step] = running
            running = running * (~ended[step])
        self._update(returns)
        scale = (self.variance + 1e-8).rsqrt().to(reward.dtype)
        return (reward * scale).clamp(-self.clip, self.clip)

    def _update(self, sample: Tensor) -> None:
        count = sample.numel()
        mean, variance = sample.mean().double(), sample.var(correction=0).double()
        total = self.count + count
        shift = mean - self.mean
        summed = self.variance * self.count + variance * count
        self.variance = (summed + shift**2 * self.count * count / total) / total
        self.mean = self.mean + shift * count / total
        self.count = total

    def state(self) -> dict[str, float]:
        """What a checkpoint needs."""
        return {
            "count": self.count,
            "mean": float(self.mean),
            "variance": float(self.variance),
        }

    def load(self, state: dict[str, float]) -> None:
        """Restore `state`."""
        self.count = float(state["count"])
        self.mean = torch.full_like(self.mean, state["mean"])
        self.variance = torch.full_like(self.variance, state["variance"])
