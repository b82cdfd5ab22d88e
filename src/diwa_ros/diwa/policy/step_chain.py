# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Denoising chains for one robot: what serving runs on a CPU.

Equation by equation it is `DiffusionPolicy.sample` for a batch of one, with the same random
numbers. What does not depend on the latent is computed once, the rest with as few calls as may be.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from diwa.policy.denoiser import Denoiser, ResidualBlock
from diwa.policy.diffusion import EVAL_MIN_STD, DiffusionPolicy


class StepDenoiser:
    """A denoiser whose table of denoising steps is computed already."""

    def __init__(self, net: Denoiser) -> None:
        self._net = net
        self._table = net.time_table()
        self._first = net.from_chunk.weight
        self._out = (net.out.bias, net.out.weight)
        self._blocks = []
        for block in net.blocks:
            assert isinstance(block, ResidualBlock)
            layers = (block.first, block.second)
            self._blocks.append([(layer.bias, layer.weight) for layer in layers])

    def conditions(self, latent: Tensor) -> tuple[Tensor, ...]:
        """For each denoising step (hidden,): all of the first layer but the chunk's part."""
        return (self._table + self._net.condition(latent)).unbind()

    def predict(self, x: Tensor, condition: Tensor) -> Tensor:
        """Predicted noise (Tp * A,) of a noisy chunk (Tp * A,)."""
        hidden = torch.addmv(condition, self._first, x)
        for (bias, weight), (last_bias, last_weight) in self._blocks:
            inner = torch.addmv(bias, weight, functional.mish(hidden))
            hidden += torch.addmv(last_bias, last_weight, functional.mish(inner, inplace=True))
        bias, weight = self._out
        return torch.addmv(bias, weight, hidden)


class StepChain:
    """Samples chunks.

    Args:
        policy: on the CPU, float32. `refresh` must be called when its weights have changed.
    """

    def __init__(self, policy: DiffusionPolicy) -> None:
        self._policy = policy
        self.refresh()

    @staticmethod
    def fits(policy: DiffusionPolicy) -> bool:
        """Whether this chain is made for `policy`."""
        weight = policy.base.out.weight
        return weight.device.type == "cpu" and weight.dtype == torch.float32

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the policy's weights."""
        self._base = StepDenoiser(self._policy.base)
        tuned = self._policy.tuned
        self._tuned = self._base if tuned is None else StepDenoiser(tuned)

    @torch.no_grad()
    def sample(self, latent: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A chunk for acting: (1, F) -> (1, Tp, A)."""
        assert latent.shape[0] == 1, latent.shape
        config = self._policy.config
        shape = (1, config.pred_horizon, config.action_size)
        x = torch.randn(shape, generator=generator).flatten()
        conditions = {net: net.conditions(latent) for net in {self._base, self._tuned}}
        count = self._policy.serve_steps
        if count is None:
            x = self._ddpm(x, shape, conditions, generator)
        else:
            x = self._ddim(x, conditions, count)
        return x.view(shape)

    def _predict(
        self, x: Tensor, k: int, conditions: dict[StepDenoiser, tuple[Tensor, ...]]
    ) -> Tensor:
        net = self._tuned if k < self._policy.config.finetune_steps else self._base
        return net.predict(x, conditions[net][k])

    def _ddpm(
        self,
        x: Tensor,
        shape: tuple[int, ...],
        conditions: dict[StepDenoiser, tuple[Tensor, ...]],
        generator: torch.Generator | None,
    ) -> Tensor:
        schedule, clip = self._policy.schedule, self._policy.config.noise_clip
        for k in range(self._policy.config.steps - 1, -1, -1):
            mean = schedule.posterior_mean(x, self._predict(x, k, conditions), k)
            if k == 0:
                return mean
            noise = torch.randn(shape, generator=generator).flatten().clamp_(-clip, clip)
            x = mean.add_(noise, alpha=schedule.deviation(k, EVAL_MIN_STD))
        return x

    def _ddim(
        self, x: Tensor, conditions: dict[StepDenoiser, tuple[Tensor, ...]], count: int
    ) -> Tensor:
        schedule = self._policy.schedule
        steps = schedule.ddim_steps(count)
        for k, following in zip(steps, [*steps[1:], None], strict=True):
            x = schedule.ddim_step(x, self._predict(x, k, conditions), k, following)
        return x
