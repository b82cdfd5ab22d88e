# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The cosine noise schedule of DDPM (Nichol and Dhariwal 2021, equation 17) and its posterior."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class NoiseSchedule(nn.Module):
    """Constants of K denoising steps, index k in [0, K); k = K-1 is the noisiest.

    Buffers of shape (K,), float32, not saved: they follow from K.
    """

    alpha_bar: Tensor  # cumulative signal share after k+1 noising steps
    x0_from_x: Tensor  # x0 = x0_from_x * x - x0_from_eps * eps
    x0_from_eps: Tensor
    mean_from_x0: Tensor  # posterior mean = mean_from_x0 * x0 + mean_from_x * x
    mean_from_x: Tensor
    std: Tensor  # posterior standard deviation; zero at k = 0

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self._plain: dict[str, list[float]] = {}
        points = torch.linspace(0, steps + 1, steps + 1, dtype=torch.float64)
        curve = torch.cos((points / (steps + 1) + 0.008) / 1.008 * math.pi / 2) ** 2
        curve = curve / curve[0]
        beta = (1 - curve[1:] / curve[:-1]).clamp(0, 0.999)
        alpha = 1 - beta
        alpha_bar = torch.cumprod(alpha, dim=0)
        before = torch.cat((torch.ones(1, dtype=torch.float64), alpha_bar[:-1]))
        variance = beta * (1 - before) / (1 - alpha_bar)
        self._constant("alpha_bar", alpha_bar)
        self._constant("x0_from_x", alpha_bar.rsqrt())
        self._constant("x0_from_eps", (1 / alpha_bar - 1).sqrt())
        self._constant("mean_from_x0", beta * before.sqrt() / (1 - alpha_bar))
        self._constant("mean_from_x", (1 - before) * alpha.sqrt() / (1 - alpha_bar))
        self._constant("std", variance.sqrt())

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.float(), persistent=False)
        self._plain[name] = value.float().tolist()  # numbers for one step: no indexing of tensors

    def add_noise(self, clean: Tensor, noise: Tensor, k: Tensor) -> Tensor:
        """Noised sample entering step k: `clean`, `noise` (B, ...), `k` (B,) int64."""
        share = self.alpha_bar[k].reshape(-1, *[1] * (clean.dim() - 1))
        return share.sqrt() * clean + (1 - share).sqrt() * noise

    def posterior_mean(self, x: Tensor, eps: Tensor, k: Tensor | int) -> Tensor:
        """Mean of x_{k-1} given x_k and the predicted noise; x0 is clipped to [-1, 1].

        Args:
            x: (..., Tp, A) float32, the sample entering step k.
            eps: (..., Tp, A) float32, predicted noise.
            k: int, or int64 with the leading axes of `x`.
        """
        if isinstance(k, int):
            share = self._plain["mean_from_x0"][k]  # clipped after scaling: a pass fewer
            x0 = x * (share * self._plain["x0_from_x"][k])
            x0.sub_(eps, alpha=share * self._plain["x0_from_eps"][k]).clamp_(-share, share)
            return x0.add_(x, alpha=self._plain["mean_from_x"][k])
        x0 = self._clean(x, eps, k)
        return self._at(self.mean_from_x0, k) * x0 + self._at(self.mean_from_x, k) * x

    def ddim_steps(self, count: int) -> list[int]:
        """`count` of the K steps, evenly spaced, from the noisiest on ("trailing" spacing)."""
        return [round(self.steps - i * self.steps / count) - 1 for i in range(count)]

    def ddim_step(self, x: Tensor, eps: Tensor, k: int, following: int | None) -> Tensor:
        """The sample entering step `following` (None: the clean one) given that entering step k.

        Deterministic (Song et al. 2021, equation 12 with eta = 0); the noise is recomputed from the
        clipped x0.

        Args:
            x: (..., Tp, A) float32, the sample entering step k.
            eps: (..., Tp, A) float32, predicted noise.
            k: step of `x`.
            following: a less noisy step, or None.
        """
        x0 = self._clean(x, eps, k)
        if following is None:
            return x0
        back, scale = self._plain["x0_from_x"][k], self._plain["x0_from_eps"][k]
        share = self._plain["alpha_bar"][following]
        noise = (x * back).sub_(x0).mul_(math.sqrt(1 - share) / scale)
        return noise.add_(x0, alpha=math.sqrt(share))

    def _clean(self, x: Tensor, eps: Tensor, k: Tensor | int) -> Tensor:
        """Predicted x0, clipped to [-1, 1]; a new tensor."""
        if isinstance(k, int):
            x0 = x * self._plain["x0_from_x"][k]
            return x0.sub_(eps, alpha=self._plain["x0_from_eps"][k]).clamp_(-1, 1)
        return (self._at(self.x0_from_x, k) * x - self._at(self.x0_from_eps, k) * eps).clamp(-1, 1)

    def deviation(self, k: int, floor: float) -> float:
        """Posterior standard deviation of step k, at least `floor`."""
        return max(self._plain["std"][k], floor)

    @staticmethod
    def _at(constants: Tensor, k: Tensor) -> Tensor:
        return constants[k][..., None, None]
