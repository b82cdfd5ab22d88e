# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stage `policy`: behaviour cloning of the demonstrations on latents (DiWA section 3.2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diwa.data.dataset import Dataset
from diwa.policy.diffusion import DiffusionPolicy
from diwa.train.experiment import ExperimentConfig, PolicyTraining
from diwa.train.labels import demos_of
from diwa.train.latents import filter_episode
from diwa.train.loop import LoopState, Randomness, cosine, run_loop
from diwa.train.models import load_world_model, save_policy
from diwa.train.run import StageContext
from diwa.world_model.model import WorldModel


def chunk_pairs(
    world_model: WorldModel,
    dataset: Dataset,
    config: ExperimentConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Latents (passes, N, F) and the chunks that follow them (N, Tp, A).

    Windows do not reach past the last executed action of a demonstration.
    """
    settings, horizon = config.policy_training, config.policy.pred_horizon
    latents, chunks = [], []
    for demo in demos_of(dataset, config.task, settings.demos):
        feat = filter_episode(world_model, dataset, demo.id, generator, settings.latent_passes)
        action = np.asarray(dataset.array(demo.id, "action"))
        usable = len(action) - horizon  # the last row was never executed
        index = np.arange(usable)[:, None] + np.arange(horizon)
        latents.append(feat[:, :usable])
        chunks.append(torch.from_numpy(action[index]))
    return torch.cat(latents, dim=1), torch.cat(chunks).to(world_model.device)


def train_policy(
    context: StageContext,
    dataset: Dataset,
    config: ExperimentConfig,
    device: torch.device,
    world_model_dir: Path,
) -> dict[str, float]:
    """Fit the denoiser to the demonstrations and save its moving average."""
    settings = config.policy_training
    world_model, meta = load_world_model(world_model_dir, device)
    latents, chunks = chunk_pairs(
        world_model, dataset, config, Randomness(config.seed + 10, device).device
    )
    torch.manual_seed(config.seed + 11)
    policy = DiffusionPolicy(config.policy, world_model.config.feat).to(device)
    average = AveragedModel(
        policy.base, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=False
    )
    optimiser = torch.optim.AdamW(
        policy.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
    )
    random = Randomness(config.seed + 12, device)
    state = LoopState(
        {"policy": policy, "average": average}, {"optimiser": optimiser}, {"random": random}
    )

    def step(index: int) -> dict[str, float]:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(settings, index)
        row = torch.randint(len(chunks), (settings.batch,), generator=random.cpu).to(device)
        version = torch.randint(len(latents), (settings.batch,), generator=random.cpu).to(device)
        loss = policy.loss(latents[version, row], chunks[row], random.device)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if (index + 1) % settings.ema_every == 0:
            average.update_parameters(policy.base)
        if index % 50 and index != settings.steps - 1:
            return {}
        value = float(loss.detach())
        context.metrics.log(index, loss=value)
        return {"loss": value}

    run_loop(context, "diffusion policy", settings.steps, state, step)
    _use_average(policy, average)
    demos = demos_of(dataset, config.task, settings.demos)
    facts = {**meta, "task": config.task, "demos": [demo.id for demo in demos]}
    save_policy(context.directory / "model", policy, facts)
    return {"steps": settings.steps, "demos": len(demos), "chunks": len(chunks)}


def learning_rate(settings: PolicyTraining, index: int) -> float:
    """Of step `index`: growing in a line, then half a cosine."""
    grown = min(1.0, (index + 1) / max(1, settings.warmup_steps))
    return grown * cosine(settings.lr, settings.final_lr, index, settings.steps)


def _use_average(policy: DiffusionPolicy, average: AveragedModel) -> None:
    module = average.module
    assert isinstance(module, nn.Module)
    policy.base.load_state_dict(module.state_dict())
