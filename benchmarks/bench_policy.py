# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling action chunks against diffusers: the scheduler alone, and whole denoising chains."""

from __future__ import annotations

import argparse
from unittest.mock import patch

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from side_by_side import Comparison, compare, keep, threads
from torch import Tensor

from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import EVAL_MIN_STD, DiffusionPolicy

PEER = "diffusers"
FEAT = 2048  # the paper's latent


def paper_policy() -> DiffusionPolicy:
    """The paper's sizes: K = 20, chunks of 4 actions."""
    torch.manual_seed(0)
    return DiffusionPolicy(PolicyConfig(), FEAT).eval()


def their_scheduler(policy: DiffusionPolicy) -> DDPMScheduler:
    """The same noise schedule."""
    curve = torch.cat((torch.ones(1, dtype=torch.float64), policy.schedule.alpha_bar.double()))
    scheduler = DDPMScheduler(
        num_train_timesteps=policy.config.steps,
        trained_betas=(1 - curve[1:] / curve[:-1]).numpy(),
        variance_type="fixed_small",
        clip_sample=True,
    )
    scheduler.set_timesteps(policy.config.steps)
    return scheduler


@torch.no_grad()
def scheduler_alone(batch: int, count: int, *, draw: bool = True) -> Comparison:
    """All steps of a chain, with the network's output given; without `draw` the noise too."""
    policy = paper_policy()
    scheduler = their_scheduler(policy)
    schedule, steps = policy.schedule, policy.config.steps
    start, eps = torch.randn(batch, 4, 7), torch.randn(batch, 4, 7)
    clip, given = policy.config.noise_clip, torch.randn(batch, 4, 7)

    def ours() -> Tensor:
        x = start
        for k in range(steps - 1, -1, -1):
            mean = schedule.posterior_mean(x, eps, k)
            if k:
                noise = (torch.randn(x.shape) if draw else given).clamp(-clip, clip)
                mean = mean.add(noise, alpha=schedule.deviation(k, EVAL_MIN_STD))
            x = mean
        return x

    def theirs() -> Tensor:
        x = start
        for k in scheduler.timesteps:
            x = scheduler.step(eps, k, x).prev_sample
        return x

    name = f"scheduler, {steps} steps, N = {batch}{'' if draw else ', noise given'}"
    source = scheduling_ddpm.randn_tensor if draw else lambda *_, **__: given
    with threads(count), patch.object(scheduling_ddpm, "randn_tensor", source):
        return compare(name, ours, PEER, theirs, "<= 0.3")


def without_drawing(batch: int, count: int) -> Comparison:
    """What a scheduler adds to drawing noise, for which both make the same call."""
    return scheduler_alone(batch, count, draw=False)


@torch.no_grad()
def ddim_scheduler_alone(batch: int, count: int) -> Comparison:
    """All steps of a DDIM chain without noise, with the network's output given."""
    policy = paper_policy()
    schedule, steps = policy.schedule, policy.config.steps
    scheduler = DDIMScheduler.from_config(their_scheduler(policy).config)
    scheduler.set_timesteps(steps)
    start, eps = torch.randn(batch, 4, 7), torch.randn(batch, 4, 7)
    order = schedule.ddim_steps(steps)

    def ours() -> Tensor:
        x = start
        for k, following in zip(order, [*order[1:], None], strict=True):
            x = schedule.ddim_step(x, eps, k, following)
        return x

    def theirs() -> Tensor:
        x = start
        for k in scheduler.timesteps:
            x = scheduler.step(eps, k, x, use_clipped_model_output=True).prev_sample
        return x

    with threads(count), torch.no_grad():
        return compare(f"DDIM scheduler, {steps} steps, N = {batch}", ours, PEER, theirs, "<= 0.3")


@torch.no_grad()
def whole_chain(batch: int, count: int) -> Comparison:
    """Chunks for acting, by the same network."""
    policy = paper_policy()
    scheduler = their_scheduler(policy)
    net = policy.base
    latent = torch.randn(batch, FEAT)

    def theirs() -> Tensor:
        x = torch.randn(batch, 4, 7)
        for k in scheduler.timesteps:
            eps = net(x, net.condition(latent), net.time_table()[k])
            x = scheduler.step(eps, k, x).prev_sample
        return x

    with threads(count), torch.no_grad():
        name = f"denoising chain, K = {policy.config.steps}, N = {batch}"
        return compare(name, lambda: policy.sample(latent), PEER, theirs, "<= 1.0")


def main() -> None:
    """Compare on one and on two threads, for one robot and for many dreams."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = [
        measure(batch, count)
        for count in (1, 2)
        for batch in (1, 500)
        for measure in (scheduler_alone, without_drawing, ddim_scheduler_alone, whole_chain)
    ]
    keep("policy", rows)


if __name__ == "__main__":
    main()
