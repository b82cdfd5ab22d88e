# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded episodes as latents of a frozen world model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diwa.data.dataset import Dataset
from diwa.train.windows import Batch, WindowSampler
from diwa.world_model.model import WorldModel


@torch.no_grad()
def filter_episode(
    world_model: WorldModel,
    dataset: Dataset,
    episode_id: str,
    generator: torch.Generator,
    passes: int = 1,
) -> Tensor:
    """Filter a whole episode from its first frame: latents (passes, T, F), freshly sampled."""
    keys = [item.key for item in world_model.config.inputs]
    length = len(dataset.array(episode_id, "action"))
    sampler = WindowSampler(dataset, [episode_id], keys, length)
    zeros = np.zeros(passes, dtype=np.int64)
    batch = sampler.windows(zeros, zeros).to(world_model.device)
    seen = world_model.observe(
        batch.observation, batch.previous_action, batch.is_first, generator=generator
    )
    return seen.state.feat


@torch.no_grad()
def observed_and_dreamed(
    world_model: WorldModel, batch: Batch, context: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Latents of windows: filtered (B, T, F), and dreamed after `context` frames (B, T-context, F).

    The dream follows the recorded actions, so both describe the same moments.
    """
    seen = world_model.observe(
        batch.observation, batch.previous_action, batch.is_first, generator=generator
    )
    dreamed = world_model.rssm.imagine(
        seen.state.at(context - 1), batch.previous_action[:, context:], generator
    )
    return seen.state.feat, dreamed.feat
