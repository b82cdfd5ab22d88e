# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The diffusion policy: pre-training loss, sampling, and log-probabilities of denoising steps.

Only the last K' = `finetune_steps` denoising steps are trained by reinforcement learning; the
noisier ones always use the frozen base denoiser (DiWA section 3.4, DPPO).
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diwa.policy.config import PolicyConfig
from diwa.policy.denoiser import Denoiser
from diwa.policy.fused_denoiser import EXACT, Products, denoise_all
from diwa.policy.schedule import NoiseSchedule

EVAL_MIN_STD = 1e-3  # noise floor when serving; the last step is noiseless
LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class Chain(NamedTuple):
    """A sampled chunk with the part of its denoising chain that PPO trains."""

    chunk: Tensor  # (B, Tp, A), the final sample
    chain: Tensor  # (B, K'+1, Tp, A), from the sample entering k = K'-1 to the final one
    log_prob: Tensor  # (B, K'), mean over Ta and A of the clamped elementwise log-density


class DiffusionPolicy(nn.Module):
    """Samples action chunks (B, Tp, A) in about [-1, 1] for latents (B, F)."""

    def __init__(self, config: PolicyConfig, feat: int) -> None:
        super().__init__()
        self.config = config
        self.feat = feat
        self.schedule = NoiseSchedule(config.steps)
        self.base = Denoiser(config, feat)
        self.tuned: Denoiser | None = None
        self.serve_steps = config.serve_steps

    def start_finetuning(self) -> Denoiser:
        """Freeze the base denoiser and return a trainable copy for the last K' steps."""
        self.tuned = copy.deepcopy(self.base)
        self.base.requires_grad_(False)
        return self.tuned

    def loss(self, latent: Tensor, chunk: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of the predicted noise; `latent` (B, F), `chunk` (B, Tp, A)."""
        batch = chunk.shape[0]
        k = torch.randint(self.config.steps, (batch,), generator=generator, device=chunk.device)
        noise = torch.randn(chunk.shape, generator=generator, device=chunk.device)
        x = self.schedule.add_noise(chunk, noise, k)
        eps = self.base(x, self.base.condition(latent), self.base.time_table()[k])
        return (eps - noise).square().mean()

    @torch.no_grad()
    def sample(self, latent: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A chunk for acting: (B, F) -> (B, Tp, A).

        With `serve_steps` of the K steps by DDIM, deterministic but for where it starts; without,
        all K steps of DDPM with little noise, and none at the last step.
        """
        if self.serve_steps is not None:
            return self._sample_ddim(latent, generator, self.serve_steps)
        return self._denoise(latent, generator, EVAL_MIN_STD, explore=False).chunk

    @torch.no_grad()
    def sample_chain(
        self,
        latent: Tensor,
        generator: torch.Generator | None = None,
        *,
        use_base: bool = False,
    ) -> Chain:
        """A chunk for learning: noise floor `min_sampling_std`, chain and log-probs kept.

        Args:
            latent: (B, F) float32.
            generator: source of randomness.
            use_base: sample with the frozen base policy only.
        """
        floor = self.config.min_sampling_std
        return self._denoise(latent, generator, floor, explore=True, use_base=use_base)

    def log_prob(self, latent: Tensor, chain: Tensor, products: Products = EXACT) -> Tensor:
        """Log-probability of every trained denoising step under the current policy.

        Gradients reach the weights only.

        Args:
            latent: (B, F) float32.
            chain: (B, K'+1, Tp, A) float32, as `sample_chain` returns it.
            products: what matrix products are rounded to.

        Returns:
            (B, K') float32, column i for k = K'-1-i.
        """
        count = self.config.finetune_steps
        assert chain.shape[1] == count + 1, (chain.shape, count)
        k = torch.arange(count - 1, -1, -1, device=chain.device)
        net = self.base if self.tuned is None else self.tuned
        eps = denoise_all(net, chain[:, :-1], latent, net.time_table()[k], products)
        mean = self.schedule.posterior_mean(chain[:, :-1], eps, k)
        std = self.schedule.std[k].clamp_min(self.config.min_sampling_std)
        return self._step_log_prob(chain[:, 1:], mean, std[:, None, None])

    def _step_log_prob(self, sample: Tensor, mean: Tensor, std: Tensor | float) -> Tensor:
        spread = std.log() if isinstance(std, Tensor) else math.log(std)
        element = -0.5 * ((sample - mean) / std).square() - spread - LOG_SQRT_2PI
        executed = element.clamp(-5, 2)[..., : self.config.act_horizon, :]
        return executed.mean(dim=(-2, -1))

    def _sample_ddim(self, latent: Tensor, generator: torch.Generator | None, count: int) -> Tensor:
        shape = (latent.shape[0], self.config.pred_horizon, self.config.action_size)
        x = torch.randn(shape, generator=generator, device=latent.device)
        tuned = self.base if self.tuned is None else self.tuned
        parts = {net: (net.condition(latent), net.time_table()) for net in (self.base, tuned)}
        steps = self.schedule.ddim_steps(count)
        for k, following in zip(steps, [*steps[1:], None], strict=True):
            net = tuned if k < self.config.finetune_steps else self.base
            condition, table = parts[net]
            x = self.schedule.ddim_step(x, net(x, condition, table[k]), k, following)
        return x

    def _denoise(
        self,
        latent: Tensor,
        generator: torch.Generator | None,
        floor: float,
        *,
        explore: bool,
        use_base: bool = False,
    ) -> Chain:
        config = self.config
        shape = (latent.shape[0], config.pred_horizon, config.action_size)
        x = torch.randn(shape, generator=generator, device=latent.device)
        tuned = self.base if self.tuned is None or use_base else self.tuned
        kept: list[Tensor] = []
        log_probs: list[Tensor] = []
        net = self.base
        condition, table = net.condition(latent), net.time_table()
        for k in range(config.steps - 1, -1, -1):
            if k == config.finetune_steps - 1:
                kept.append(x)
                if tuned is not net:
                    net = tuned
                    condition, table = net.condition(latent), net.time_table()
            mean = self.schedule.posterior_mean(x, net(x, condition, table[k]), k)
            std = self.schedule.deviation(k, floor)
            if explore or k > 0:
                noise = torch.randn(shape, generator=generator, device=latent.device)
                noise.clamp_(-config.noise_clip, config.noise_clip)
                x = mean.add(noise, alpha=std)
            else:
                x = mean
            if k < config.finetune_steps:
                kept.append(x)
                if explore:
                    log_probs.append(self._step_log_prob(x, mean, std))
        log_prob = torch.stack(log_probs, dim=1) if log_probs else x.new_zeros(shape[0], 0)
        return Chain(x, torch.stack(kept, dim=1), log_prob)
