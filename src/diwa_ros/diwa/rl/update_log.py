# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of one PPO update. They stay on the device until the update has ended."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What one iteration did; vectors per trained denoising step, noisiest first."""

    kl: list[float]
    clip_fraction: list[float]
    log_prob_low: list[float]
    log_prob_high: list[float]
    policy_loss: float
    value_loss: float
    bc_loss: float
    explained_variance: float
    epochs: int


class UpdateLog:
    """Collects figures of minibatches.

    Args:
        count: of trained denoising steps.
        device: of the figures.

    Attributes:
        stopped: 1 when learning has ended early, a scalar on the device; what comes after is not
            counted.
        last_kl: of the newest minibatch.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self.stopped = torch.zeros((), device=device)
        self.last_kl = torch.zeros((), device=device)
        self._count = count
        self._device = device
        self._vectors: list[Tensor] = []  # (4, K'): kl, clip fraction, log-probs' low and high
        self._scalars: list[Tensor] = []  # (3,): policy loss, cloning loss, counted
        self._values: list[Tensor] = []  # (2,): value loss, counted
        self._epochs = torch.zeros((), device=device)

    def actor(
        self, total: Tensor, kl: Tensor, clip_fraction: Tensor, log_prob: Tensor, bc: Tensor
    ) -> None:
        """One step of the actor: scalars, and vectors (K',); `log_prob` (B, K')."""
        extremes = (log_prob.amin(dim=0), log_prob.amax(dim=0))
        self._vectors.append(torch.stack((kl, clip_fraction, *extremes)))
        self._scalars.append(torch.stack((total, bc, 1 - self.stopped)))
        self.last_kl = kl.mean()

    def critic(self, loss: Tensor) -> None:
        """One step of the critic."""
        self._values.append(torch.stack((loss, 1 - self.stopped)))

    def end_epoch(self, target_kl: float | None) -> None:
        """Count the epoch, and stop after it when the policy has moved too far."""
        self._epochs += 1 - self.stopped
        if target_kl is not None:
            self.stopped.copy_(torch.maximum(self.stopped, (self.last_kl > target_kl).float()))

    def result(self, ret: Tensor, advantage: Tensor) -> UpdateResult:
        """All figures; here they leave the device."""
        spread = ret.var(correction=0)
        residual = advantage.var(correction=0)  # ret - value
        vectors = torch.stack(self._vectors).cpu() if self._vectors else torch.zeros(0, 4, 0)
        scalars = torch.stack(self._scalars).cpu() if self._scalars else torch.zeros(0, 3)
        values = torch.stack(self._values).cpu()
        facts = torch.stack((spread, residual, self._epochs)).tolist()
        counted = scalars[:, 2] > 0
        rows = vectors[counted] if len(vectors) else vectors.new_zeros(1, 4, self._count)
        shown = scalars[counted].mean(dim=0).tolist() if len(scalars) else [0.0, 0.0]
        return UpdateResult(
            kl=rows[:, 0].mean(dim=0).tolist(),
            clip_fraction=rows[:, 1].mean(dim=0).tolist(),
            log_prob_low=rows[:, 2].amin(dim=0).tolist(),
            log_prob_high=rows[:, 3].amax(dim=0).tolist(),
            policy_loss=shown[0],
            value_loss=float(values[values[:, 1] > 0, 0].mean()),
            bc_loss=shown[1],
            explained_variance=1 - facts[1] / facts[0] if facts[0] > 0 else 0.0,
            epochs=round(facts[2]),
        )
